"""Estimates with 95 % intervals, and which estimator suits which case.

=================================================  ============================================
What is known                                      Recipe
=================================================  ============================================
one figure of one run, with its rows               `percentile_interval` of `bootstrap_weights`
hits among independent rows or questions           `proportion` (Wilson)
right or wrong for each row of several runs        `hierarchical_bootstrap`, and for a
                                                   difference `hierarchical_difference`
runs on the same rows, only as estimates           `mean_over_runs`
runs on divisions with rows of their own           `mean_over_divisions` (Student's t)
figures of several draws on each of many sets      `nested_bootstrap`
=================================================  ============================================

A figure that is the same in every resample has no interval of width zero: proportions get the
bound that unseen outcomes allow (`interval_without_variation`), all other figures no interval.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from backbone.common.streams import stream

LEVEL = 0.95
"""Coverage of every interval in the project."""

Z = 1.959963984540054
"""Normal quantile of that coverage, as `scipy.special.ndtri` gives it."""

NO_VARIATION = "the same in every resample, so there is no interval"
ONE_RUN = "a single run, so there is no interval"


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure; NaN where it is not defined.
        low: Lower end; NaN where there is no interval.
        high: Upper end; NaN where there is no interval.
        reason: Why the figure or its interval is not defined; empty where both are.
    """

    value: float
    low: float
    high: float
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str) -> "Estimate":
        """Return a figure that is not defined, with the reason."""
        return cls(math.nan, math.nan, math.nan, reason)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Estimate":
        """Return the estimate of a JSON object, whose null (or NaN) is a figure not defined.

        Raises:
            TypeError: If the object is no estimate.
        """
        ends = {name: math.nan if fields[name] is None else fields[name]
                for name in ("value", "low", "high") if name in fields}  # fmt: skip
        return cls(**{**fields, **ends})

    @property
    def is_defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval around the value."""
        return self.is_defined and not math.isnan(self.low)

    def __str__(self) -> str:
        """Return `0.912 [0.880, 0.940]`, the value alone without an interval, or `-`."""
        ends = f" [{as_figure(self.low)}, {as_figure(self.high)}]" if self.has_interval else ""
        return f"{as_figure(self.value)}{ends}"


def as_figure(value: float) -> str:
    """Return a figure as every table, picture and page has it: with three digits, or `-` for NaN.

    It is rounded here alone, from the full value: rounding twice makes 0.606475 0.607.
    """
    return "-" if math.isnan(value) else f"{value:.3f}"


def as_interval(low: float, high: float, digits: int = 3) -> str:
    """Return an interval in the words of sentences and tables: `0.880 to 0.940`, or `-` for NaN."""
    return "-" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def bootstrap_weights(
    n: int, resamples: int, seed: int, at_once: int = 2_000_000
) -> Iterator[np.ndarray]:
    """Resample `n` rows with replacement, many times.

    Args:
        n: Number of rows.
        resamples: Number of resamples in all.
        seed: Seed of the draws.
        at_once: Numbers that one block may hold, which bounds the memory.

    Yields:
        Blocks (r, n): how often each row occurs in each of r resamples.
    """
    random = stream(seed, "bootstrap")
    block = max(1, at_once // n)
    for done in range(0, resamples, block):
        size = min(block, resamples - done)
        drawn = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        yield counts.reshape(size, n).astype(np.float64)


def percentile_interval(value: float, draws: np.ndarray, reason: str = "") -> Estimate:
    """Return a figure with the percentile interval of its bootstrap draws (Efron 1979).

    The interval is widened to hold the value where it does not: resampling shifts figures that
    are biased in small samples, the calibration error above all. Draws that are NaN are left out.

    Args:
        value: The figure; NaN where it is not defined.
        draws: (r,) the figure of each resample.
        reason: Why the figure is not defined, where it is NaN.
    """
    if np.isnan(value):
        return Estimate.undefined(reason)
    draws = draws[~np.isnan(draws)]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(draws) else (0, 0)
    low, high = min(float(low), value), max(float(high), value)
    if not len(draws) or high - low <= 1e-12 * max(1.0, abs(value)):
        return Estimate(float(value), math.nan, math.nan, NO_VARIATION)
    return Estimate(float(value), low, high)


def proportion(hits: int, n: int) -> Estimate:
    """Return a share of independent rows with Wilson's score interval (Wilson 1927).

    Its coverage is near 95 % for few rows too, and for none or all of them right (Brown, Cai and
    DasGupta 2001).

    Args:
        hits: Rows that are right.
        n: Rows in all, 1 or more.
    """
    share, spread = hits / n, Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def interval_without_variation(
    value: float, rows: float, least: float = 0.0, most: float = 1.0
) -> Estimate:
    """Return the interval of a mean over rows that all have the same value.

    Another value that none of `rows` rows has may belong to as many as z^2 / (rows + z^2) of all
    rows, Wilson's bound for 0 hits. For an accuracy of 0 or 1 this is Wilson's interval itself.

    Args:
        value: The value of every row.
        rows: Number of independent rows; for weighted rows Kish's effective number.
        least: Least value that a row can have.
        most: Greatest value that a row can have.
    """
    unseen = Z**2 / (rows + Z**2)
    return Estimate(value, value - unseen * (value - least), value + unseen * (most - value))


def mean_over_divisions(runs: Sequence[Estimate]) -> Estimate:
    """Return the mean of runs on different divisions of the rows, with Student's t interval.

    Each division has test rows of its own, so what rows add to the spread is in it already. Where
    the runs cannot show a spread (one run, or equal values) the mean of their own intervals stands
    for it. Runs whose figure is not defined are left out.

    Raises:
        ValueError: If there is no run.
    """
    defined, mean = _mean(runs)
    if len(set(defined)) < 2:
        return mean
    half = _students_half_width(np.array(defined))
    return Estimate(mean.value, mean.value - half, mean.value + half)


def mean_over_runs(runs: Sequence[Estimate]) -> Estimate:
    """Return the mean of runs on the same rows, with an interval for new seeds and new rows.

    What seeds differ by (Student's t over the runs) and what other rows would differ by (the mean
    half width of the runs' own intervals) add in quadrature. Runs whose figure is not defined are
    left out.

    Raises:
        ValueError: If there is no run.
    """
    defined, mean = _mean(runs)
    if len(set(defined)) < 2:
        return mean
    half = _students_half_width(np.array(defined))
    below, above = (
        math.hypot(half, end) if mean.has_interval else half
        for end in (mean.value - mean.low, mean.high - mean.value)
    )
    return Estimate(mean.value, mean.value - below, mean.value + above)


def _mean(runs: Sequence[Estimate]) -> tuple[list[float], Estimate]:
    """Return the values that are defined, and the mean of values and of their intervals' ends."""
    if not runs:
        raise ValueError("the mean of no runs")
    defined = [one for one in runs if one.is_defined]
    if not defined:
        return [], runs[0]
    values = [one.value for one in defined]
    value = float(np.mean(values))
    with_ends = [one for one in defined if one.has_interval]
    if not with_ends:
        return values, Estimate(value, math.nan, math.nan, defined[0].reason or ONE_RUN)
    below = float(np.mean([one.value - one.low for one in with_ends]))
    above = float(np.mean([one.high - one.value for one in with_ends]))
    return values, Estimate(value, value - below, value + above)


def _students_half_width(values: np.ndarray) -> float:
    """Return half the width of Student's t interval of the mean of two values or more."""
    n = len(values)
    return float(scipy.special.stdtrit(n - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(n))


def hierarchical_bootstrap(
    correct: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the mean accuracy over draws, with an interval for new draws and new rows together.

    A draw is one seed of the prompt, choice of demonstrations, order or division. Rows are
    resampled, the same for all draws that score them, and to each resample a deviate of Student's
    t over draws is added. Resampling the draws themselves would be overconfident: of three draws
    it shows two thirds of their variance, and no heavy tails. What rows do differently to each
    draw is part of how draws vary, so the resamples of rows are shrunk to what the draws have in
    common: with the same rows in all draws the variances are those of a two-way layout (Searle,
    Casella and McCulloch 1992, chapter 4), with no row in two draws the interval is Student's t
    over draws. It is never narrower than that of the rows alone, which is all a single draw has.

    Args:
        correct: (draws, N) whether each draw is right on each row, or one array per draw where
            draws score different rows.
        groups: (N,) names of groups, such as equal sequences, that are resampled as one (cluster
            bootstrap, Davison and Hinkley 1997, section 3.8); each row by itself if not given.
            Where draws score different rows: one array per draw, and the same name in two draws is
            the same group.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If shapes disagree, or there are no rows.
    """
    return _over_draws_and_rows(*_by_group(correct, groups), resamples, seed, least=0.0)


def hierarchical_difference(
    correct_a: np.ndarray | Sequence[np.ndarray],
    correct_b: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the mean accuracy of A minus that of B, for new draws and new test rows together.

    Draw i of A is compared with draw i of B, row by row; see `hierarchical_bootstrap`.

    Args:
        correct_a: As there.
        correct_b: The same for B, or (N,) for a method without draws, beside every draw of A.
        groups: As there.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

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
    return _over_draws_and_rows(*_by_group(values, groups), resamples, seed, least=-1.0)


def nested_bootstrap(
    values: Sequence[np.ndarray], resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Return the mean over sets of a figure, with an interval for new sets and new draws together.

    Sets are resampled, and the draws of each resampled set (Davison and Hinkley 1997, section 3.8).
    What draws differ by is already part of how sets differ, so the interval is never narrower than
    that of the sets alone; with three draws it is a little wider. A difference of two methods is
    the mean of their differences, draw by draw.

    Args:
        values: The figures of each set, one for each of its draws, (draws,).
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there is no set, or a set has no draws.
    """
    counts = np.array([len(one) for one in values])
    if not len(counts) or not counts.all():
        raise ValueError("the mean over no sets, or over a set without draws")
    random = stream(seed, "bootstrap of sets", len(counts))
    sets = random.integers(len(counts), size=(resamples, len(counts)))
    drawn = random.random((*sets.shape, counts.max())) * counts[sets][..., None]
    places = (np.cumsum(counts) - counts)[sets][..., None] + drawn.astype(np.int64)
    counted = np.arange(counts.max()) < counts[sets][..., None]
    resampled = np.concatenate(list(values))[places].mean(axis=2, where=counted).mean(axis=1)
    return percentile_interval(float(np.mean([np.mean(one) for one in values])), resampled)


def _by_group(
    values: np.ndarray | Sequence[np.ndarray],
    groups: np.ndarray | Sequence[np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum of values and number of rows in each group by each draw, both (draws, groups)."""
    if isinstance(values, np.ndarray):
        if values.ndim != 2:
            raise ValueError(f"need values (draws, N), have {values.shape}")
        same = np.arange(values.shape[1]) if groups is None else np.asarray(groups)
        groups = [same] * len(values)
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


def _over_draws_and_rows(
    sums: np.ndarray, rows: np.ndarray, resamples: int, seed: int, least: float
) -> Estimate:
    draws, groups = sums.shape
    means = sums.sum(axis=1) / rows.sum(axis=1)
    value = float(means.mean())
    if np.array_equal(sums, value * rows):
        return interval_without_variation(value, groups, least)
    blocks = bootstrap_weights(groups, resamples, seed)
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
    deviates = scipy.special.stdtrit(draws - 1, (np.arange(resamples) + 0.5) / resamples)
    deviates = stream(seed, "deviates of draws", draws).permutation(deviates)
    spread = means.std(ddof=1) / np.sqrt(draws)
    of_both = percentile_interval(value, value + share * (resampled - value) + spread * deviates)
    ends = [one for one in (of_rows, of_both) if one.has_interval]
    if not ends:
        return of_rows
    return Estimate(value, min(one.low for one in ends), max(one.high for one in ends))
