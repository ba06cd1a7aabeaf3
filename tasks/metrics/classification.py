"""Metrics of classification over a whole test set, each with a bootstrap interval.

A metric is computed from how often each row counts: once each for the value, as drawn for each
bootstrap resample. So value and interval come from the same lines.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from backbone.sequence.dna import gc_content
from tasks.metrics.bootstrap import (
    Estimate,
    bootstrap_weights,
    mean_over_draws,
    paired_difference,
    percentile_interval,
)
from tasks.metrics.ranking import Ranking, mean_of_defined

__all__ = ["Estimate", "evaluate", "gc_matched_accuracy", "mean_over_draws", "paired_difference"]

CALIBRATION_BINS = 15
GC_BIN_WIDTH = 0.02


def evaluate(
    labels: np.ndarray, scores: np.ndarray, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """All metrics of the scores, with 95 % percentile intervals over rows.

    Args:
        labels: (N,) true classes.
        scores: (N, C) log-probabilities; only differences within a row matter.
        resamples: Bootstrap resamples.
        seed: Moves the resampling.

    Returns:
        accuracy; balanced_accuracy (mean recall over the classes present); mcc (Gorodkin 2004 for
        more than two classes); macro_f1 (over classes present or predicted); auroc (two classes:
        of the log-odds; more: mean of one class against the rest);
        ece (Guo et al. 2017, bins of equal mass, rows of equal confidence in one bin).

    Raises:
        ValueError: If shapes disagree, a label is no class, or a score is NaN.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ValueError(f"labels {labels.shape} do not fit scores {scores.shape}")
    if labels.min() < 0 or labels.max() >= scores.shape[1] or np.isnan(scores).any():
        raise ValueError("a label is no class of the scores, or a score is NaN")
    scored = _Scored(labels, scores)
    value = scored.metrics(np.ones((1, len(labels))))
    draws = [scored.metrics(w) for w in bootstrap_weights(len(labels), resamples, seed)]
    return {
        name: percentile_interval(float(one[0]), np.concatenate([draw[name] for draw in draws]))
        for name, one in value.items()
    }


class _Scored:
    """What of labels and scores does not depend on how often a row counts."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        n, self.classes = scores.shape
        cells = labels * self.classes + scores.argmax(axis=1)
        # Only the cells of the confusion matrix that hold a row at all.
        self.cells, cell_of_row = np.unique(cells, return_inverse=True)
        self.in_cell = np.eye(len(self.cells))[cell_of_row]
        # Rounded, so that rows whose scores differ by arithmetic alone are ties.
        log_p = np.round(scores - logsumexp(scores, axis=1, keepdims=True), 12)
        if self.classes == 2:
            self.rankings = [Ranking(scores[:, 1] - scores[:, 0], labels == 1)]
        else:
            self.rankings = [Ranking(log_p[:, c], labels == c) for c in range(self.classes)]
        confidence = np.exp(log_p.max(axis=1))
        rank = np.searchsorted(np.sort(confidence), confidence)
        _, bin_of_row = np.unique(rank * CALIBRATION_BINS // n, return_inverse=True)
        excess = confidence - (scores.argmax(axis=1) == labels)
        self.excess_in_bin = np.eye(bin_of_row.max() + 1)[bin_of_row] * excess[:, None]

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric for each of r weightings (r, N) of the rows, (r,)."""
        confusion = np.zeros((len(weights), self.classes**2))
        confusion[:, self.cells] = weights @ self.in_cell
        metrics = _of_confusion(confusion.reshape(-1, self.classes, self.classes))
        metrics["auroc"] = mean_of_defined([ranking.auroc(weights) for ranking in self.rankings])
        metrics["ece"] = np.abs(weights @ self.excess_in_bin).sum(axis=1) / weights.sum(axis=1)
        return metrics


def _of_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices (r, C true, C predicted)."""
    total = confusion.sum(axis=(1, 2))
    right = np.einsum("rcc->rc", confusion)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / true
        f1 = 2 * right / (true + predicted)
        covariance = right.sum(axis=1) * total - (true * predicted).sum(axis=1)
        spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
        mcc = np.where(spread > 0, covariance / np.sqrt(spread), 0.0)
    return {
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": mean_of_defined(list(recall.T)),
        "mcc": mcc,
        "macro_f1": mean_of_defined(list(f1.T)),
    }


def gc_matched_accuracy(
    sequences: Sequence[str],
    labels: np.ndarray,
    predictions: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Accuracy when GC content says nothing about the class.

    Rows are put into bins of GC content, two percent wide. In each bin every class gets the
    weight of its rarest class, so a bin that lacks a class does not count.

    Args:
        sequences: N cleaned sequences.
        labels: (N,) true classes; the classes are those that occur.
        predictions: (N,) predicted classes.
        resamples: Bootstrap resamples over rows.
        seed: Moves the resampling.

    Returns:
        The accuracy with its interval; NaN where no bin has all classes.
    """
    gc = np.array([gc_content(sequence) for sequence in sequences])
    _, bins = np.unique(np.floor(gc / GC_BIN_WIDTH + 1e-9).astype(int), return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    right = (np.asarray(labels) == np.asarray(predictions)).astype(int)
    shape = (bins.max() + 1, len(classes), 2)
    counts = np.bincount(
        np.ravel_multi_index((bins, label, right), shape), minlength=np.prod(shape)
    )
    # Rows of one bin, class and outcome are alike: resampling rows is a multinomial draw of cells.
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(gc), counts / len(gc), size=resamples)
    value = _gc_matched(counts.reshape(1, *shape))[0]
    return percentile_interval(float(value), _gc_matched(drawn.reshape(-1, *shape)))


def _gc_matched(counts: np.ndarray) -> np.ndarray:
    """Matched accuracy of counts (r, bins, classes, wrong and right), (r,)."""
    rows = counts.sum(axis=3)
    weight = rows.min(axis=2)
    accuracy = np.divide(counts[..., 1], rows, out=np.zeros(rows.shape), where=rows > 0)
    weighted = (weight * accuracy.mean(axis=2)).sum(axis=1)
    total = weight.sum(axis=1)
    return np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)
