"""Shortcut baselines: the sequence's length, composition and k-mers.

They are fitted on training rows and scored on test rows: a decision tree on lengths or shares of
letters, because classes may have a few exact values in common, and a regression on composition. A
task that length or GC content solves does not test knowledge of DNA, and counts of short k-mers are
the minimum that a model of DNA must beat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backbone.sequence.dna import gc_content
from backbone.sequence.kmers import kmer_frequencies
from tasks.division import canonical_strand
from tasks.kinds import kind_of
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Kind, Splits, Task, label_text, subset, truth

LEARNED, SCORED = 3000, 5000
"""Most rows that a baseline is fitted on, and that it is scored on."""

LABELS = 20
"""Most labels of a multi-label task that are scored."""

KMER = 5
"""Length of the longer k-mers."""

MARGIN = 0.03
"""How far above chance the whole interval of a score must lie to be reported as a shortcut."""

Features = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Shortcut:
    """The score of a baseline on a few features of the sequence.

    Attributes:
        name: The features.
        score: The validation figure of the task's kind, on test rows.
        chance: The score of the most frequent class, or of a constant.
        rows: Test rows that were scored.
    """

    name: str
    score: Estimate
    chance: float
    rows: int

    @property
    def exceeds_chance(self) -> bool:
        """Whether the whole interval lies above chance by `MARGIN`."""
        least = self.score.low if self.score.has_interval else self.score.value
        return least > self.chance + MARGIN


def length(sequences: Sequence[str]) -> np.ndarray:
    """Return the lengths, (N, 1)."""
    return np.array([[len(sequence)] for sequence in sequences], dtype=np.float64)


def gc(sequences: Sequence[str]) -> np.ndarray:
    """Return the GC content, (N, 1)."""
    return np.array([[gc_content(sequence)] for sequence in sequences])


def dinucleotides(sequences: Sequence[str]) -> np.ndarray:
    """Return the frequencies of the 2-mers, reverse complements counted as one, (N, 10)."""
    return kmer_frequencies(sequences, 2)


def kmers(sequences: Sequence[str]) -> np.ndarray:
    """Return the frequencies of the k-mers of length `KMER`, reverse complements as one."""
    return kmer_frequencies(sequences, KMER)


def unknown(sequences: Sequence[str]) -> np.ndarray:
    """Return the share of N, (N, 1)."""
    return np.array([[sequence.count("N") / len(sequence)] for sequence in sequences])


KMERS = f"{KMER}-mers"

FEATURES: dict[str, Features] = {
    "length": length,
    "GC content": gc,
    "N": unknown,
    "dinucleotides": dinucleotides,
    KMERS: kmers,
}


NUMBERS = ("length", "N", "lower case")
"""Features of one number, of which classes may share a few exact values: fitted by a tree."""


def shortcuts(
    task: Task,
    splits: Splits,
    more: dict[str, Features] | None = None,
    only: str | None = None,
) -> list[Shortcut]:
    """Score every set of features, beginning with none: the most frequent class.

    The result depends neither on the order of the rows nor on the strand that is given.

    Args:
        task: Task of the rows.
        splits: The rows.
        more: Further features, by name.
        only: Name of the only features to score, besides none; None for all.

    Returns:
        A score for each set of features in which training rows differ at all.
    """
    train, test = _some(splits.train, LEARNED), _some(splits.test, SCORED)
    learn, asked, kind = truth(train), truth(test), kind_of(task)
    if task.kind == "multi_label":
        learn, asked = _labels_with_both(learn, asked)
    texts, asked_texts = ([example.sequence for example in rows] for rows in (train, test))

    def score(x: np.ndarray, asked_x: np.ndarray, is_number: bool) -> Estimate:
        scores = _scores(task, _model(task.kind, x, is_number), x, learn, asked_x)
        names = tuple(map(str, range(scores.shape[1])))
        return kind.evaluate(asked, scores, names, {})[0][kind.validation]

    constant = score(np.zeros((len(train), 1)), np.zeros((len(test), 1)), True)
    chance = constant.value if kind.chance is None else kind.chance
    found = [Shortcut("majority", constant, chance, len(test))]
    every = FEATURES | (more or {})
    for name, features in every.items() if only is None else [(only, every[only])]:
        x, asked_x = features(texts), features(asked_texts)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        if (scale > 1e-12).any():
            scale = np.where(scale > 1e-12, scale, 1.0)
            one = score((x - mean) / scale, (asked_x - mean) / scale, name in NUMBERS)
            found.append(Shortcut(name, one, chance, len(test)))
    return found


def _some(rows: Sequence[Example], n: int) -> Sequence[Example]:
    """Return at most `n` rows, in an order that depends on their content alone."""
    ordered = sorted(rows, key=lambda e: (canonical_strand(e.sequence), label_text(e.label)))
    return subset(ordered, n, seed=0) if len(rows) > n else ordered


def _labels_with_both(learn: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that some rows have and some lack, in both sets; evenly chosen if many."""
    both = [
        label
        for label in range(learn.shape[1])
        if len(set(learn[:, label])) == len(set(asked[:, label])) == 2
    ]
    chosen = [both[i] for i in np.unique(np.linspace(0, len(both) - 1, LABELS).round().astype(int))]
    return learn[:, chosen], asked[:, chosen]


def _model(kind: Kind, x: np.ndarray, is_number: bool) -> Any:
    """Return the scikit-learn model, not yet fitted, for features (N, F)."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if is_number:
        tree = DecisionTreeRegressor if kind == "regression" else DecisionTreeClassifier
        return tree(min_samples_leaf=max(10, len(x) // 50), random_state=0)
    if kind == "regression":
        return Ridge(alpha=x.shape[1])
    # A stronger penalty for many weights, about what validation rows would choose.
    return LogisticRegression(C=1.0 if x.shape[1] <= 16 else 0.01, max_iter=2000)


def _scores(
    task: Task, model: Any, x: np.ndarray, learn: np.ndarray, asked_x: np.ndarray
) -> np.ndarray:
    """Return scores of the test rows, as `tasks.kinds` has them."""
    if task.kind == "regression":
        return model.fit(x, learn).predict(asked_x)[:, None]
    if task.kind == "multi_label":
        found = [model.fit(x, column).predict_proba(asked_x)[:, 1] for column in learn.T]
        return np.stack(found, axis=1)
    scores = np.full((len(asked_x), len(task.labels)), -50.0)
    model.fit(x, learn)
    scores[:, model.classes_] = np.log(np.maximum(model.predict_proba(asked_x), np.exp(-50)))
    return scores
