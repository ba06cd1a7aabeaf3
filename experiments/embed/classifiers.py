"""Classifiers on given features: layers of a frozen model, counts of k-mers, length and GC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backbone.sequence.dna import gc_content
from backbone.sequence.kmers import kmer_frequencies
from icl.baselines.linear import choose_logistic
from tasks.metrics.bootstrap import mean_over_divisions
from tasks.metrics.classification import evaluate
from tasks.task import Task

KMERS = (3, 4, 5)
"""Lengths of counted k-mers, between which validation chooses."""

KMER_COUNTS, LENGTH_AND_GC = "k-mer counts", "length and GC"

Labelled = tuple[np.ndarray, np.ndarray]
"""Features (N, F) and labels (N,)."""


def logistic(
    train: Labelled, val: Labelled, test: np.ndarray, n_classes: int, seed: int
) -> np.ndarray:
    """Return log-probabilities (N, C) by logistic regression; validation chooses the penalty.

    Args:
        train: Features and labels to fit; features are standardised.
        val: Features and labels that choose.
        test: Features (N, F) of the rows that are scored.
        n_classes: C.
        seed: scikit-learn's random_state.
    """
    return choose_logistic(train, val, n_classes=n_classes, seed=seed).model.scores(test)


def boosting(
    train: Labelled, val: Labelled, test: np.ndarray, n_classes: int, seed: int
) -> np.ndarray:
    """Return log-probabilities (N, C) by histogram gradient boosting.

    The rounds with the least loss on validation are kept. Arguments are those of `logistic`.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=5,
        early_stopping=True, n_iter_no_change=20, scoring="loss", random_state=seed,
    )  # fmt: skip
    model.fit(*train, X_val=val[0], y_val=val[1])
    found = np.full((len(test), n_classes), -np.inf)
    with np.errstate(divide="ignore"):
        found[:, model.classes_.astype(int)] = np.log(model.predict_proba(test))
    return found


CLASSIFIERS: dict[str, Callable[[Labelled, Labelled, np.ndarray, int, int], np.ndarray]] = {
    "logistic": logistic,
    "boosting": boosting,
}
"""The classifiers by name."""


@dataclass(frozen=True)
class Pool:
    """All rows of a task, each once, and the split of each row in every division.

    Attributes:
        sequences: (N,) distinct pairs of sequence and class.
        labels: (N,) classes.
        divisions: Row numbers of train, val and test in each division.
        origin: Source of the rows of the first division.
    """

    sequences: list[str]
    labels: np.ndarray
    divisions: list[dict[str, np.ndarray]]
    origin: str


def pool_of(task: Task, data: Path | None, divisions: int) -> Pool:
    """Return the rows of several divisions as one pool."""
    place: dict[tuple[str, int], int] = {}
    found = []
    origin = ""
    for seed in range(divisions):
        splits = task.splits(seed, data)
        origin = origin or splits.origin
        parts = {"train": splits.train, "val": splits.val, "test": splits.test}
        found.append(
            {
                name: np.array([place.setdefault((r.sequence, r.label), len(place)) for r in rows])
                for name, rows in parts.items()
            }
        )
    sequences, labels = zip(*place, strict=True)
    return Pool(list(sequences), np.array(labels), found, origin)


def f1_table(
    features: Mapping[str, Sequence[np.ndarray]],
    pool: Pool,
    classifiers: Sequence[str],
    classes: int,
    seed: int,
) -> pd.DataFrame:
    """Return the macro-F1 of classifiers on features, on the test rows of every division.

    Args:
        features: By name one table (N, F) of the pool's rows, or several; the validation rows of
            each division choose between them.
        pool: The rows.
        classifiers: Names of classifiers.
        classes: Number of classes.
        seed: Seed of the classifiers.

    Returns:
        A row for each name and classifier: features, classifier, f1, low, high, accuracy,
        validation_f1, divisions. The interval is Student's t over divisions; of one division it is
        the bootstrap over its test rows.
    """
    rows = []
    for name, tables in features.items():
        for classifier in classifiers:
            found = [
                _scored(tables, pool, d, CLASSIFIERS[classifier], classes, seed)
                for d in pool.divisions
            ]
            f1 = mean_over_divisions([metrics["macro_f1"] for _, metrics in found])
            rows.append(
                {
                    "features": name,
                    "classifier": classifier,
                    "f1": f1.value,
                    "low": f1.low,
                    "high": f1.high,
                    "accuracy": float(np.mean([m["accuracy"].value for _, m in found])),
                    "validation_f1": float(np.mean([validation for validation, _ in found])),
                    "divisions": len(found),
                }
            )
    return pd.DataFrame(rows)


def _scored(
    tables: Sequence[np.ndarray],
    pool: Pool,
    division: Mapping[str, np.ndarray],
    fit: Any,
    classes: int,
    seed: int,
) -> tuple[float, dict[str, Any]]:
    """Return validation F1 and test metrics of the table that is best on validation."""
    train, val, test = (division[name] for name in ("train", "val", "test"))
    best: tuple[float, dict[str, Any]] | None = None
    for table in tables:
        learned = (table[train], pool.labels[train]), (table[val], pool.labels[val])
        scores = fit(*learned, table[np.concatenate([val, test])], classes, seed)
        validation = evaluate(pool.labels[val], scores[: len(val)], resamples=1)["macro_f1"].value
        if best is None or validation > best[0]:
            best = validation, evaluate(pool.labels[test], scores[len(val) :])
    assert best is not None
    return best


def baselines(sequences: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Return features that need no backbone: counts of k-mers, and length with GC content alone."""
    simple = np.array([[np.log(len(s)), gc_content(s)] for s in sequences])
    counts = [kmer_frequencies(sequences, kmer) for kmer in KMERS]
    return {KMER_COUNTS: counts, LENGTH_AND_GC: [simple]}
