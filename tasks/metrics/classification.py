"""Metrics of classification over a whole test set, each with a 95 % interval.

A metric is a function of how often each row counts: once each for the value, as drawn for each
bootstrap resample. So value and interval come from the same lines.
"""

from collections.abc import Sequence

import numpy as np
import scipy

from backbone.common.streams import stream
from backbone.sequence.dna import gc_content
from tasks.metrics.bootstrap import (
    Estimate,
    bootstrap_weights,
    interval_without_variation,
    percentile_interval,
    proportion,
)

CALIBRATION_BINS = 15
GC_BIN_WIDTH = 0.02

ONE_CLASS = "all rows are of one class"
ONE_PREDICTION = "all predictions are of one class"
NO_COMMON_BIN = "no bin of GC content holds rows of every class"


def evaluate(
    labels: np.ndarray, scores: np.ndarray, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Return all metrics of the scores, with 95 % intervals over rows.

    The accuracy has Wilson's interval, all else the percentile interval of the bootstrap.

    Args:
        labels: (N,) true classes.
        scores: (N, C) log-probabilities; only differences within a row matter.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        accuracy; balanced_accuracy (mean recall over the classes present); mcc (Gorodkin 2004 for
        more than two classes; not defined where rows or predictions are of one class); macro_f1
        (over classes present or predicted); auroc (two classes: of the log-odds; more: mean of one
        class against the rest; not defined where rows are of one class); ece (Guo et al. 2017,
        bins of equal mass, rows of equal confidence in one bin).

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
    counts = np.bincount(labels)
    reason = ONE_CLASS if (counts > 0).sum() == 1 else ONE_PREDICTION
    found = {
        name: percentile_interval(
            float(one[0]), np.concatenate([draw[name] for draw in draws]), reason
        )
        for name, one in value.items()
    }
    hits = int((scores.argmax(axis=1) == labels).sum())
    found["accuracy"] = proportion(hits, len(labels))
    of_class = counts[counts > 0]
    found["balanced_accuracy"] = _at_the_edge(
        found["balanced_accuracy"], 1 / np.repeat(of_class, of_class)
    )
    return found


def _at_the_edge(accuracy: Estimate, weights: np.ndarray) -> Estimate:
    """Return an accuracy of weighted rows with an interval also where all or none are right.

    Args:
        accuracy: Weighted mean of rows that are right or wrong.
        weights: (N,) weight of each row; Kish's effective number of rows follows from them.
    """
    if accuracy.has_interval or accuracy.value not in (0.0, 1.0):
        return accuracy
    rows = weights.sum() ** 2 / (weights**2).sum()
    return interval_without_variation(accuracy.value, float(rows))


class _Scored:
    """What of labels and scores does not depend on how often a row counts."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        n, self.classes = scores.shape
        cells = labels * self.classes + scores.argmax(axis=1)
        # Only the cells of the confusion matrix that hold a row at all.
        self.cells, cell_of_row = np.unique(cells, return_inverse=True)
        self.in_cell = np.eye(len(self.cells))[cell_of_row]
        # Rounded, so that rows whose scores differ by arithmetic alone are ties.
        log_p = np.round(scores - scipy.special.logsumexp(scores, axis=1, keepdims=True), 12)
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
        """Return each metric for each of r weightings (r, N) of the rows, (r,)."""
        confusion = np.zeros((len(weights), self.classes**2))
        confusion[:, self.cells] = weights @ self.in_cell
        metrics = _of_confusion(confusion.reshape(-1, self.classes, self.classes))
        metrics["auroc"] = mean_of_defined([ranking.auroc(weights) for ranking in self.rankings])
        metrics["ece"] = np.abs(weights @ self.excess_in_bin).sum(axis=1) / weights.sum(axis=1)
        return metrics


def _of_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return metrics of confusion matrices (r, C true, C predicted)."""
    total = confusion.sum(axis=(1, 2))
    right = np.einsum("rcc->rc", confusion)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / true
        f1 = 2 * right / (true + predicted)
        covariance = right.sum(axis=1) * total - (true * predicted).sum(axis=1)
        spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
        mcc = np.where(spread > 0, covariance / np.sqrt(spread), np.nan)
    return {
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": mean_of_defined(list(recall.T)),
        "mcc": mcc,
        "macro_f1": mean_of_defined(list(f1.T)),
    }


class Ranking:
    """How well a score ranks one class above the rest: rows sorted once, ties found once.

    Args:
        score: (N,); higher for rows of the class.
        positive: (N,) whether a row is of the class.
    """

    def __init__(self, score: np.ndarray, positive: np.ndarray) -> None:
        """Sort the rows."""
        self.order = np.argsort(score, kind="stable")
        self.positive = positive[self.order].astype(np.float64)
        ranked = score[self.order]
        # Not a difference: two scores of minus infinity are equal.
        self.starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Return the probability that a positive ranks above a negative, (r,); NaN without either.

        Ties count one half.

        Args:
            weights: (r, N) how often each row counts.
        """
        positive, negative = self._at_each_score(weights)
        up_to = np.cumsum(negative, axis=1)
        pairs = positive.sum(axis=1) * up_to[:, -1]
        above = np.einsum("rn,rn->r", positive, up_to - negative / 2)
        return np.divide(above, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)

    def auprc(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision from the highest score down, (r,); NaN without positives.

        Rows of equal score are taken together, as in scikit-learn's `average_precision_score`.

        Args:
            weights: (r, N) how often each row counts.
        """
        positive, negative = (part[:, ::-1] for part in self._at_each_score(weights))
        found = np.cumsum(positive, axis=1)
        taken = found + np.cumsum(negative, axis=1)
        precision = np.divide(found, taken, out=np.zeros(found.shape), where=taken > 0)
        total = found[:, -1]
        area = np.einsum("rn,rn->r", positive, precision)
        return np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0)

    def _at_each_score(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positives and negatives at each distinct score, ascending, both (r, scores)."""
        ranked = weights[:, self.order]
        positive = ranked * self.positive
        negative = ranked - positive
        if len(self.starts) < len(self.order):
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return positive, negative


def mean_of_defined(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the mean of C arrays (r,), leaving out NaN; NaN where all are."""
    stacked = np.array(values)
    defined = ~np.isnan(stacked)
    count = defined.sum(axis=0)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def gc_matched_accuracy(
    sequences: Sequence[str],
    labels: np.ndarray,
    predictions: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the accuracy on rows weighted so that GC content is uninformative about the class.

    Rows are put into bins of GC content, two percent wide. In each bin every class gets the
    weight of its rarest class, so a bin that lacks a class does not count.

    Args:
        sequences: N cleaned sequences.
        labels: (N,) true classes; the classes are those that occur.
        predictions: (N,) predicted classes.
        resamples: Number of bootstrap resamples over rows.
        seed: Seed of the resampling.

    Returns:
        The accuracy with its interval; not defined where no bin has all classes.
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
    random = stream(seed, "bootstrap of GC bins")
    drawn = random.multinomial(len(gc), counts / len(gc), size=resamples)
    value = float(_gc_matched(counts.reshape(1, *shape))[0])
    estimate = percentile_interval(value, _gc_matched(drawn.reshape(-1, *shape)), NO_COMMON_BIN)
    rows = counts.reshape(shape).sum(axis=2)
    return _at_the_edge(
        estimate, (rows.min(axis=1, keepdims=True) / np.maximum(rows, 1))[bins, label]
    )


def _gc_matched(counts: np.ndarray) -> np.ndarray:
    """Return the matched accuracy of counts (r, bins, classes, wrong and right), (r,)."""
    rows = counts.sum(axis=3)
    weight = rows.min(axis=2)
    accuracy = np.divide(counts[..., 1], rows, out=np.zeros(rows.shape), where=rows > 0)
    weighted = (weight * accuracy.mean(axis=2)).sum(axis=1)
    total = weight.sum(axis=1)
    return np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)
