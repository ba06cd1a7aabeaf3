"""How well a score ranks the rows of a class above the rest, for many weightings of the rows."""

from collections.abc import Sequence

import numpy as np


class Ranking:
    """One class against the rest, by a score: rows sorted by it once, ties found once.

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
        """Probability that a positive ranks above a negative, ties one half, (r,); else NaN.

        Args:
            weights: (r, N) how often each row counts.
        """
        positive, negative = self._at_each_score(weights)
        up_to = np.cumsum(negative, axis=1)
        pairs = positive.sum(axis=1) * up_to[:, -1]
        above = np.einsum("rn,rn->r", positive, up_to - negative / 2)
        return np.divide(above, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)

    def auprc(self, weights: np.ndarray) -> np.ndarray:
        """Average precision over the positives from the highest score down, (r,), or NaN.

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
        """Positives and negatives at each different score, upwards, both (r, scores)."""
        ranked = weights[:, self.order]
        positive = ranked * self.positive
        negative = ranked - positive
        if len(self.starts) < len(self.order):
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return positive, negative


def mean_of_defined(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Mean of C arrays (r,), leaving out NaN; NaN where all are."""
    stacked = np.array(values)
    defined = ~np.isnan(stacked)
    count = defined.sum(axis=0)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
