"""What scores mean for each kind of task, what validation says of them, and what is written.

Scores are what a method gives to rows: log-probabilities of C classes, log-odds of L labels, or
one predicted number; (N, C), (N, L) or (N, 1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.metrics.bootstrap import Estimate
from tasks.metrics.classification import Ranking, evaluate, gc_matched_accuracy, mean_of_defined
from tasks.metrics.multi_label import evaluate_labels
from tasks.metrics.regression import evaluate_numbers
from tasks.task import Example, Kind, Task, label_text, truth

VALIDATION: dict[Kind, str] = {"classes": "accuracy", "multi_label": "auroc", "regression": "r2"}
"""What the validation rows say beside the loss, by kind."""

SHOWN: dict[Kind, tuple[str, ...]] = {
    "classes": ("accuracy", "mcc", "auroc"),
    "multi_label": ("auroc", "auprc"),
    "regression": ("pearson", "spearman", "r2"),
}
"""The metrics of a short table; the first is what runs are compared by."""

UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def validate(kind: Kind, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss and the figure of `VALIDATION` of some rows.

    Args:
        kind: Of the task.
        scores: Of N rows.
        labels: As `tasks.task.truth` gives them.

    Returns:
        The mean negative log-likelihood of the class or of each label, or the mean squared error;
        and accuracy, mean AUROC or R2.
    """
    if kind == "classes":
        loss = -scores[np.arange(len(labels)), labels].mean()
        return float(loss), float((scores.argmax(axis=1) == labels).mean())
    if kind == "multi_label":
        loss = np.logaddexp(0, np.where(labels == 1, -scores, scores)).mean()
        once = np.ones((1, len(labels)))
        areas = [
            Ranking(score, label == 1).auroc(once)
            for score, label in zip(scores.T, labels.T, strict=True)
        ]
        return float(loss), float(mean_of_defined(areas)[0])
    error = float(((scores[:, 0] - labels) ** 2).mean())
    variance = float(labels.var())
    return error, 1 - error / variance if variance else float("nan")


def unit_of(kind: Kind, train: Sequence[Example]) -> tuple[float, float]:
    """Mean and standard deviation in which a head speaks of numbers; 0 and 1 of anything else."""
    if kind != "regression":
        return 0.0, 1.0
    numbers = truth(train)
    return float(numbers.mean()), float(numbers.std()) or 1.0


def measured(
    task: Task, examples: Sequence[Example], scores: np.ndarray
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """The metrics of scored rows with 95 % intervals, and facts for the report's details."""
    labels = truth(examples)
    if task.kind == "classes":
        return evaluate(labels, scores), {}
    if task.kind == "regression":
        return evaluate_numbers(labels, scores[:, 0]), {}
    metrics, by_label = evaluate_labels(labels, scores, task.labels, task.groups)
    found = {name: [one.value, one.low, one.high] for name, one in by_label.items()}
    return metrics, {"auroc_by_label": found}


def probabilities(kind: Kind, scores: np.ndarray) -> np.ndarray:
    """What scores say in plain terms: probabilities of classes or labels; numbers as they are."""
    if kind == "classes":
        return np.exp(scores)
    return 1 / (1 + np.exp(-scores)) if kind == "multi_label" else scores


def uncalibrated(examples: Sequence[Example], scores: np.ndarray | None) -> dict[str, Any]:
    """How well calibrated scores of classes (N, C) were before; nothing where there are none."""
    if scores is None:
        return {}
    return {"ece_before_calibration": evaluate(truth(examples), scores)["ece"].value}


def gc_matched(task: Task, examples: Sequence[Example], scores: np.ndarray) -> Estimate:
    """Accuracy when GC content says nothing about the class; NaN for tasks without classes."""
    if task.kind != "classes":
        return UNDEFINED
    sequences = [example.sequence for example in examples]
    return gc_matched_accuracy(sequences, truth(examples), scores.argmax(axis=1))


def predictions(task: Task, examples: Sequence[Example], scores: np.ndarray) -> str:
    """Rows in the split's order as a table.

    Columns are row and label, then for classes predicted and every class's log-probability, for
    several labels every label's log-odds, for a number predicted.
    """
    names = {
        "classes": ["predicted", *(f"log_p_{name}" for name in task.labels)],
        "multi_label": [f"log_odds_{name}" for name in task.labels],
        "regression": ["predicted"],
    }[task.kind]
    lines = ["\t".join(["row", "label", *names])]
    for row, (example, values) in enumerate(zip(examples, scores, strict=True)):
        cells = [repr(float(value)) for value in values]
        label = label_text(example.label)
        if task.kind == "classes":
            label, cells = task.labels[example.label], [task.labels[values.argmax()], *cells]
        lines.append("\t".join([str(row), label, *cells]))
    return "\n".join(lines) + "\n"
