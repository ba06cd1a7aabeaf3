"""Estimates with 95 % intervals: over rows (bootstrap), repeated runs (Student's t), or both."""

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


def hierarchical_bootstrap(
    correct: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean accuracy over draws, with an interval for new draws and new test rows together.

    A draw is one prompt seed, choice of demonstrations, order or division. Rows are resampled,
    the same for all draws that score them, and to each resample a deviate of Student's t over
    draws is added. To resample the draws themselves would be too sure: three draws then show two
    thirds of their variance, and no heavy tails. What rows do differently to each draw is part
    of how draws vary, so the resamples of rows are drawn in to what draws have in common: with the
    same rows in all draws the variances are those of a two-way layout (Searle, Casella and
    McCulloch 1992, chapter 4), with no row in two draws the interval is Student's t over draws.
    It is never narrower than that of rows alone, which is all that a single draw has.

    Args:
        correct: (draws, N) whether each draw is right on each row, or one array a draw where
            draws score different rows.
        groups: (N,) names of groups, such as equal sequences, that are resampled as one; each
            row by itself if not given. Where draws score different rows: one array a draw, and
            the same name in two draws is the same group.
        resamples: Bootstrap resamples.
        seed: Moves the resampling.

    Raises:
        ValueError: If shapes disagree, or there are no rows.
    """
    return _over_draws_and_rows(*_by_group(correct, groups), resamples, seed)


def hierarchical_difference(
    correct_a: np.ndarray | Sequence[np.ndarray],
    correct_b: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean accuracy of A minus that of B, for new draws and new test rows together.

    Draw i of A is compared with draw i of B, row by row; see `hierarchical_bootstrap`.

    Args:
        correct_a: As there.
        correct_b: The same for B, or (N,) for a method without draws, beside every draw of A.
        groups: As there.
        resamples: Bootstrap resamples.
        seed: Moves the resampling.

    Raises:
        ValueError: If shapes disagree, or there are no rows.
    """
    if isinstance(correct_b, np.ndarray) and correct_b.ndim == 1:
        correct_b = np.broadcast_to(correct_b, np.shape(correct_a))
    if [len(a) for a in correct_a] != [len(b) for b in correct_b]:
        raise ValueError("A and B are not of the same draws and rows")
    pairs = zip(correct_a, correct_b, strict=True)
    gains = [np.asarray(a, dtype=float) - np.asarray(b, dtype=float) for a, b in pairs]
    values = np.stack(gains) if isinstance(correct_a, np.ndarray) else gains
    return _over_draws_and_rows(*_by_group(values, groups), resamples, seed)


def _by_group(
    values: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of values and number of rows in each group by each draw, both (draws, groups)."""
    if isinstance(values, np.ndarray):
        if values.ndim != 2:
            raise ValueError(f"need values (draws, N), have {values.shape}")
        groups = [np.arange(values.shape[1]) if groups is None else np.asarray(groups)] * len(
            values
        )
    elif groups is None:
        raise ValueError("draws given one by one need groups, which say what rows they share")
    if not len(values) or [np.shape(v) for v in values] != [np.shape(g) for g in groups]:
        raise ValueError("groups are not one name for each row")
    if not all(len(v) for v in values):
        raise ValueError("a draw has no rows")
    names, group = np.unique(np.concatenate(list(groups)), return_inverse=True)
    draw = np.repeat(np.arange(len(values)), [len(v) for v in values])
    cell, shape = draw * len(names) + group, (len(values), len(names))
    size = len(values) * len(names)
    flat = np.concatenate([np.asarray(v, dtype=np.float64) for v in values])
    sums = np.bincount(cell, weights=flat, minlength=size)
    return sums.reshape(shape), np.bincount(cell, minlength=size).reshape(shape).astype(float)


def _over_draws_and_rows(sums: np.ndarray, rows: np.ndarray, resamples: int, seed: int) -> Estimate:
    draws = len(sums)
    means = sums.sum(axis=1) / rows.sum(axis=1)
    value = float(means.mean())
    blocks = bootstrap_weights(sums.shape[1], resamples, seed)
    with np.errstate(invalid="ignore"):  # a resample may hold no row of a draw; it is left out
        resampled = np.concatenate([((w @ sums.T) / (w @ rows.T)).mean(axis=1) for w in blocks])
    of_rows = percentile_interval(value, resampled)
    if draws == 1:
        return of_rows
    # By the influence of each group on the mean of each draw: the variance that rows give to the
    # mean over draws, and the part of it that differs from draw to draw.
    influence = (sums - means[:, None] * rows) / rows.sum(axis=1, keepdims=True)
    shared = (influence.mean(axis=0) ** 2).sum()
    own = ((influence**2).sum(axis=1).mean() - shared) / (draws - 1)
    share = np.sqrt(max(0.0, 1 - own / shared)) if shared else 0.0
    deviates = student_t.ppf((np.arange(resamples) + 0.5) / resamples, draws - 1)
    deviates = np.random.default_rng([seed, draws]).permutation(deviates)
    spread = means.std(ddof=1) / np.sqrt(draws)
    of_both = percentile_interval(value, value + share * (resampled - value) + spread * deviates)
    return Estimate(value, min(of_rows.low, of_both.low), max(of_rows.high, of_both.high))
