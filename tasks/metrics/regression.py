"""Metrics of regression, each with a bootstrap interval over rows."""

import numpy as np

from tasks.metrics.bootstrap import Estimate, bootstrap_weights, percentile_interval

EQUAL_NUMBERS = "all numbers of the rows are equal"
EQUAL_PREDICTIONS = "all predictions are equal"


def evaluate_numbers(
    true: np.ndarray, predicted: np.ndarray, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Return Pearson, Spearman, R2 and RMSE with 95 % percentile intervals over rows.

    Args:
        true: (N,) true numbers.
        predicted: (N,) predicted ones.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        pearson; spearman (Pearson of mid-ranks); r2 (1 minus the squared error over that of the
        true mean, below 0 for predictions that are worse than it); rmse (in the unit of the
        numbers). Not defined where all true numbers are equal, the correlations also where all
        predictions are.

    Raises:
        ValueError: If shapes disagree, there are no rows, or a prediction is not finite.
    """
    true, predicted = (np.asarray(one, dtype=np.float64) for one in (true, predicted))
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"numbers {true.shape} do not fit predictions {predicted.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("a prediction is not finite")
    value = _metrics(true, predicted, np.ones((1, len(true))))
    draws = [_metrics(true, predicted, w) for w in bootstrap_weights(len(true), resamples, seed)]
    reason = EQUAL_NUMBERS if np.isnan(value["r2"][0]) else EQUAL_PREDICTIONS
    return {
        name: percentile_interval(
            float(one[0]), np.concatenate([draw[name] for draw in draws]), reason
        )
        for name, one in value.items()
    }


def _metrics(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return each metric for each of r weightings (r, N) of the rows, (r,)."""
    rows = weights.sum(axis=1)
    squared_error = weights @ (x - y) ** 2 / rows
    centred = x - (weights @ x / rows)[:, None]
    variance = np.einsum("rn,rn->r", weights, centred**2) / rows
    defined = variance > 1e-12 * (1 + x.mean() ** 2)
    explained = np.divide(squared_error, variance, out=np.full(len(rows), np.nan), where=defined)
    return {
        "pearson": _correlation(np.broadcast_to(x, weights.shape), y[None], weights),
        "spearman": _correlation(_ranks(x, weights), _ranks(y, weights), weights),
        "r2": 1 - explained,
        "rmse": np.sqrt(squared_error),
    }


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of (r, N) numbers that count `weights` times, (r,), or NaN."""
    rows = weights.sum(axis=1, keepdims=True)
    x, y = (one - (weights * one).sum(axis=1, keepdims=True) / rows for one in (x, y))
    covariance, of_x, of_y = (
        np.einsum("rn,rn,rn->r", weights, a, b) for a, b in ((x, y), (x, x), (y, y))
    )
    # A constant minus its mean is exactly 0 only up to rounding.
    spread = np.sqrt(of_x * of_y)
    defined = spread > 1e-12 * rows[:, 0] * (1 + np.abs(x).max() * np.abs(y).max())
    return np.divide(covariance, spread, out=np.full(len(rows), np.nan), where=defined)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return mid-ranks of N values that count `weights` (r, N) times, (r, N); ties share one."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    count = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(count, axis=1) - (count - 1) / 2
    number = np.empty(len(values), dtype=np.int64)
    number[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return middle[:, number]
