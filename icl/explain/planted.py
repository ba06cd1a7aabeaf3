"""The score of an explanation where the truth is known: are important bases in the motif?

Importances of dinucleotide-shuffled rows, in which nothing is planted, are the control: a base is
called important if it exceeds 95 % of theirs.
"""

from collections.abc import Callable, Sequence

import numpy as np

from icl.explain.attribution import Attribution
from tasks.metrics.bootstrap import Estimate, bootstrap_weights, percentile_interval

MOST_IMPORTANT = 10
"""Bases of each row whose place is looked at."""

CONTROL_SHARE = 0.05
"""Share of the control's bases that are called important."""

RESAMPLES = 2000


def planted_scores(
    found: Sequence[Attribution], planted: np.ndarray, control: Sequence[Attribution]
) -> dict[str, Estimate | int]:
    """Score importances against the bases of a planted motif.

    Args:
        found: Explanations of N rows of one length.
        planted: (N, L) which bases belong to the motif.
        control: Explanations of shuffled rows; without any, precision and recall are left out.

    Returns:
        The number of rows with the motif and without it; over each of both, the mean share of the
        MOST_IMPORTANT bases that lie in a motif; over the rows with it that share by chance (the
        share of all bases in the motif), precision and recall of the bases called important, and
        average precision. All with intervals over rows.
    """
    importance = np.array([one.importance for one in found])
    with_motif = planted.any(axis=1)
    top = np.argsort(-importance, axis=1, kind="stable")[:, :MOST_IMPORTANT]
    hits = np.take_along_axis(planted, top, axis=1).mean(axis=1)
    scores: dict[str, Estimate | int] = {
        "rows_with": int(with_motif.sum()),
        "rows_without": int((~with_motif).sum()),
        "top_ten_with": mean_over_rows(hits[with_motif]),
        "top_ten_without": mean_over_rows(hits[~with_motif]),
        "chance": mean_over_rows(planted[with_motif].mean(axis=1)),
        "average_precision": mean_over_rows(
            np.array(
                [
                    _average_precision(*pair)
                    for pair in zip(importance[with_motif], planted[with_motif], strict=True)
                ]
            )
        ),
    }
    if control:
        null = np.concatenate([one.importance for one in control])
        called = importance > np.quantile(null, 1 - CONTROL_SHARE)
        right = (called & planted)[with_motif].sum(axis=1)
        of_called, of_motif = called[with_motif].sum(axis=1), planted[with_motif].sum(axis=1)
        scores["precision"] = _ratio(right, of_called, "no base is called important")
        scores["recall"] = _ratio(right, of_motif, "no row has the motif")
    return scores


def mean_over_rows(values: np.ndarray) -> Estimate:
    """Return the mean of values (N,) with a bootstrap interval over rows; NaN are left out."""
    values = values[~np.isnan(values)]
    return _over_rows(
        len(values), lambda weights: weights @ values / weights.sum(axis=1), "there is no such row"
    )


def _ratio(counted: np.ndarray, total: np.ndarray, reason: str) -> Estimate:
    """Return the sum of counts (N,) over that of others, with an interval over rows."""

    def figure(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return weights @ counted / (weights @ total)

    return _over_rows(len(counted), figure, reason)


def _over_rows(rows: int, figure: Callable[[np.ndarray], np.ndarray], reason: str) -> Estimate:
    if not rows:
        return Estimate.undefined(reason)
    value = float(figure(np.ones((1, rows)))[0])
    draws = [figure(weights) for weights in bootstrap_weights(rows, RESAMPLES, seed=0)]
    return percentile_interval(value, np.concatenate(draws), reason)


def _average_precision(importance: np.ndarray, planted: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(planted, importance))
