"""The kinds of tasks: the form of a label, and with it loss, metrics, probabilities and tables.

One object per kind, found by `kind_of`. Scores are what a method gives to rows: log-probabilities
of C classes (N, C), log-odds of L labels (N, L), or one predicted number (N, 1).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy

from tasks.metrics.bootstrap import Estimate
from tasks.metrics.classification import Ranking, evaluate, gc_matched_accuracy, mean_of_defined
from tasks.metrics.multi_label import evaluate_labels
from tasks.metrics.regression import evaluate_numbers
from tasks.task import Example, Kind, Task, label_text, truth

Metrics = dict[str, Estimate]


class TaskKind(ABC):
    """What a task's kind decides.

    Attributes:
        name: The kind, as tasks and reports carry it.
        description: Ends a sentence that begins "a task ...".
        noun: What the entries of `Task.labels` are.
        metric: Metric of tasks without a metric in the literature, such as your own.
        validation: Metric of the validation rows besides the loss, and of the audit's baselines.
        metrics: Metrics of a short table; runs are compared by the first.
        chance: The validation figure without any knowledge; None if it depends on the rows.
    """

    name: ClassVar[Kind]
    description: ClassVar[str]
    noun: ClassVar[str]
    metric: ClassVar[str]
    validation: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    chance: ClassVar[float | None]

    @abstractmethod
    def validate(self, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return the mean loss of some rows and the figure `validation`.

        Args:
            scores: Scores of N rows.
            labels: Their labels, as `tasks.task.truth` gives them.
        """

    @abstractmethod
    def evaluate(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
    ) -> tuple[Metrics, dict[str, Any]]:
        """Return the metrics of scored rows with 95 % intervals, and details for the report.

        Args:
            labels: Labels of N rows, as `tasks.task.truth` gives them.
            scores: Their scores.
            names: Names of the classes or labels, or of the number.
            groups: Labels that are also averaged by themselves, by the name of their group.
        """

    def measure(
        self, task: Task, examples: Sequence[Example], scores: np.ndarray
    ) -> tuple[Metrics, dict[str, Any]]:
        """Return `evaluate` of rows of a task."""
        return self.evaluate(truth(examples), scores, task.labels, task.groups)

    def gc_matched_accuracy(self, examples: Sequence[Example], scores: np.ndarray) -> Estimate:
        """Return the accuracy when GC content is uninformative about the class."""
        return Estimate.undefined("the task has no classes")

    def unit(self, train: Sequence[Example]) -> tuple[float, float]:
        """Return the mean and standard deviation by which a head's outputs are scaled."""
        return 0.0, 1.0

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities of classes or labels; numbers as they are."""
        return scores

    def log_odds(self, scores: np.ndarray) -> np.ndarray:
        """Return the log-odds of each class against all others, or of each label; numbers as is.

        Args:
            scores: (..., C).
        """
        return scores

    @abstractmethod
    def score_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the columns of a table of test predictions, after row and label."""

    def score_cells(self, labels: Sequence[str], scores: np.ndarray) -> list[str]:
        """Return the cells of one row, with scores (C,), in these columns."""
        return [repr(float(score)) for score in scores]

    def label_cell(self, labels: Sequence[str], label: Any) -> str:
        """Return the label of a row as a table of test predictions shows it."""
        return label_text(label)

    def answer_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the columns of a table of predictions for unlabelled rows."""
        return [f"p_{label}" for label in labels]

    def answer_cells(self, labels: Sequence[str], answer: np.ndarray) -> list[str]:
        """Return the cells of one row, with probabilities (C,), in these columns."""
        return [repr(float(one)) for one in answer]

    def groups(self, task: Task, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """Return (N,) which rows belong to each class; `all` for tasks without classes."""
        return {"all": np.ones(len(examples), dtype=bool)}

    @abstractmethod
    def labels_text(self, task: Task, examples: Sequence[Example]) -> str:
        """Return the distribution of the labels of some rows, as text."""

    def predictions(
        self,
        task: Task,
        examples: Sequence[Example],
        scores: np.ndarray,
        columns: Sequence[str] = (),
    ) -> str:
        """Return scored rows in the split's order as a table.

        Args:
            task: Whose rows they are.
            examples: N rows.
            scores: Their scores.
            columns: Attributes of rows that follow their name, such as `sequence`.

        Returns:
            Columns row, label, `score_columns`, name, then those asked for.
        """
        shown = ("name", *columns)
        lines = ["\t".join(["row", "label", *self.score_columns(task.labels), *shown])]
        for row, (example, values) in enumerate(zip(examples, scores, strict=True)):
            label = self.label_cell(task.labels, example.label)
            cells = [str(row), label, *self.score_cells(task.labels, values)]
            cells += [" ".join(getattr(example, name).split()) for name in shown]
            lines.append("\t".join(cells))
        return "\n".join(lines) + "\n"


class Classes(TaskKind):
    """One of C classes per row."""

    name = "classes"
    description = "a classification task"
    noun = "classes"
    metric = "accuracy"
    validation = "accuracy"
    metrics = ("accuracy", "mcc", "auroc")
    chance = None

    def validate(self, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return mean negative log-likelihood and accuracy."""
        loss = -scores[np.arange(len(labels)), labels].mean()
        return float(loss), float((scores.argmax(axis=1) == labels).mean())

    def evaluate(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
    ) -> tuple[Metrics, dict[str, Any]]:
        """Return the metrics of `tasks.metrics.classification.evaluate`."""
        return evaluate(labels, scores), {}

    def gc_matched_accuracy(self, examples: Sequence[Example], scores: np.ndarray) -> Estimate:
        """Return the accuracy when GC content is uninformative about the class."""
        sequences = [example.sequence for example in examples]
        return gc_matched_accuracy(sequences, truth(examples), scores.argmax(axis=1))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes."""
        return np.exp(scores)

    def log_odds(self, scores: np.ndarray) -> np.ndarray:
        """Return the log-odds of each class against all others."""
        if scores.shape[-1] == 2:
            return scores - scores[..., ::-1]
        others = np.where(np.eye(scores.shape[-1], dtype=bool), -np.inf, scores[..., None, :])
        return scores - scipy.special.logsumexp(others, axis=-1)

    def score_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the predicted class and every class's log-probability."""
        return ["predicted", *(f"log_p_{label}" for label in labels)]

    def score_cells(self, labels: Sequence[str], scores: np.ndarray) -> list[str]:
        """Return the cells of one row."""
        return [labels[int(scores.argmax())], *super().score_cells(labels, scores)]

    def label_cell(self, labels: Sequence[str], label: Any) -> str:
        """Return the name of the class."""
        return labels[label]

    def answer_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the likeliest class and every class's probability."""
        return ["predicted", *super().answer_columns(labels)]

    def answer_cells(self, labels: Sequence[str], answer: np.ndarray) -> list[str]:
        """Return the cells of one row."""
        return [labels[int(answer.argmax())], *super().answer_cells(labels, answer)]

    def groups(self, task: Task, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """Return (N,) which rows belong to each class."""
        labels = truth(examples)
        return {name: labels == i for i, name in enumerate(task.labels)}

    def labels_text(self, task: Task, examples: Sequence[Example]) -> str:
        """Return the rows of each class."""
        rows = self.groups(task, examples)
        return ", ".join(f"{name} {of_class.sum():,}" for name, of_class in rows.items())


class MultiLabel(TaskKind):
    """Each of L labels present or not."""

    name = "multi_label"
    description = "a multi-label task"
    noun = "labels"
    metric = "auroc"
    validation = "auroc"
    metrics = ("auroc", "auprc")
    chance = 0.5

    def validate(self, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return mean negative log-likelihood over rows and labels, and mean AUROC."""
        loss = np.logaddexp(0, np.where(labels == 1, -scores, scores)).mean()
        once = np.ones((1, len(labels)))
        areas = [
            Ranking(score, label == 1).auroc(once)
            for score, label in zip(scores.T, labels.T, strict=True)
        ]
        return float(loss), float(mean_of_defined(areas)[0])

    def evaluate(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
    ) -> tuple[Metrics, dict[str, Any]]:
        """Return areas over all labels and groups; auroc_by_label is a detail.

        Labels without an AUROC are in auroc_not_defined, with the reason.
        """
        metrics, by_label = evaluate_labels(labels, scores, names, groups)
        found = {name: [one.value, one.low, one.high] for name, one in by_label.items()}
        undefined = {name: one.reason for name, one in by_label.items() if not one.is_defined}
        details = {"auroc_by_label": found}
        return metrics, details | ({"auroc_not_defined": undefined} if undefined else {})

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        return 1 / (1 + np.exp(-scores))

    def score_columns(self, labels: Sequence[str]) -> list[str]:
        """Return every label's log-odds."""
        return [f"log_odds_{label}" for label in labels]

    def labels_text(self, task: Task, examples: Sequence[Example]) -> str:
        """Return the mean number of labels per row."""
        return f"{truth(examples).sum(axis=1).mean():.1f} of {len(task.labels)} labels per row"


class Regression(TaskKind):
    """One number per row."""

    name = "regression"
    description = "a regression task"
    noun = "number"
    metric = "pearson"
    validation = "r2"
    metrics = ("pearson", "spearman", "r2")
    chance = 0.0

    def validate(self, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return mean squared error and R2, NaN where all numbers are equal."""
        error = float(((scores[:, 0] - labels) ** 2).mean())
        variance = float(labels.var())
        return error, 1 - error / variance if variance else math.nan

    def evaluate(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
    ) -> tuple[Metrics, dict[str, Any]]:
        """Return correlations, R2 and RMSE."""
        return evaluate_numbers(labels, scores[:, 0]), {}

    def unit(self, train: Sequence[Example]) -> tuple[float, float]:
        """Return the mean and standard deviation of the training rows."""
        numbers = truth(train)
        return float(numbers.mean()), float(numbers.std()) or 1.0

    def score_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the predicted number."""
        return ["predicted"]

    def answer_columns(self, labels: Sequence[str]) -> list[str]:
        """Return the predicted number."""
        return ["predicted"]

    def labels_text(self, task: Task, examples: Sequence[Example]) -> str:
        """Return the range of the numbers."""
        numbers = truth(examples)
        return f"{task.labels[0]} from {numbers.min():.4g} to {numbers.max():.4g}"


TASK_KINDS: dict[Kind, TaskKind] = {
    kind.name: kind for kind in (Classes(), MultiLabel(), Regression())
}


def kind_of(task: Task) -> TaskKind:
    """Return the object of a task's kind."""
    return TASK_KINDS[task.kind]
