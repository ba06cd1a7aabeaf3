"""Estimates with 95 % intervals: bootstrap over rows, and Student's t over repeated runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

LEVEL = 0.95
"""Coverage of every interval in the project."""


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def bootstrap_weights(
    n: int, resamples: int, seed: int, at_once: int = 2_000_000
) -> Iterator[np.ndarray]:
    """Resample `n` rows with replacement, many times.

    Args:
        n: Rows.
        resamples: How many resamples in all.
        seed: Moves the draws.
        at_once: Numbers that one block may hold, to bound memory.

    Yields:
        Blocks (r, n), how often each row is in each of r resamples.
    """
    random = np.random.default_rng(seed)
    block = max(1, at_once // n)
    for done in range(0, resamples, block):
        size = min(block, resamples - done)
        drawn = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        yield counts.reshape(size, n).astype(np.float64)


def percentile_interval(value: float, draws: np.ndarray) -> Estimate:
    """The value with the percentile interval of its bootstrap draws (Efron 1979).

    The interval is widened to hold the value where it does not: resampling shifts what is biased
    in small samples, the calibration error above all. Draws that are NaN are left out.
    """
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(draws):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def paired_difference(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Accuracy of A minus accuracy of B on the same rows, bootstrapped over groups of rows.

    Rows of a group are drawn together or not at all (cluster bootstrap, Davison and Hinkley 1997,
    section 3.8): rows that are the same sequence do not count as independent.

    Args:
        correct_a: (N,) whether A is right on each row.
        correct_b: (N,) the same for B, in the same order.
        groups: (N,) numbers or names of groups; each row is one of its own if not given.
        resamples: Bootstrap resamples.
        seed: Moves the resampling.

    Raises:
        ValueError: If the arrays are not of the same rows, or there are none.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    groups = np.arange(len(a)) if groups is None else np.asarray(groups)
    if a.shape != b.shape or a.shape != groups.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"need the same rows, have shapes {a.shape}, {b.shape}, {groups.shape}")
    _, group = np.unique(groups, return_inverse=True)
    gained = np.bincount(group, weights=a.astype(int) - b.astype(int))
    # Groups of equal size and gain are alike, and resampling groups draws them multinomially.
    alike, counts = np.unique([gained, np.bincount(group)], axis=1, return_counts=True)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(gained), counts / len(gained), size=resamples)
    gain, rows = alike @ drawn.T
    return percentile_interval(float(gained.sum() / len(a)), gain / rows)


def mean_over_draws(values: Sequence[float]) -> Estimate:
    """Mean of repeated runs (seeds, divisions) with Student's t interval; NaN ends for one run.

    Raises:
        ValueError: If there is no value.
    """
    draws = np.asarray(values, dtype=np.float64)
    if not len(draws):
        raise ValueError("the mean of no values")
    mean = float(draws.mean())
    if len(draws) == 1:
        return Estimate(mean, float("nan"), float("nan"))
    half = student_t.ppf((1 + LEVEL) / 2, len(draws) - 1) * draws.std(ddof=1) / np.sqrt(len(draws))
    return Estimate(mean, mean - float(half), mean + float(half))
