"""Tables of the curve: every run, means over the sets, and paired differences.

A set counts at a number of shots if the channel of every backbone and every Markov chain could run
there, so that all lines are compared on the same sets. Over "all" shots, it counts if it counts at
each number of shots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from experiments.common.cells import Key, Table
from experiments.common.shot_lines import BEST, LIKELIHOODS
from experiments.shots.lines import AUTO, SWAPPED, Line
from icl.reporting.report import Report
from tasks.metrics.bootstrap import Estimate, nested_bootstrap
from tasks.metrics.classification import ONE_PREDICTION

METRICS = ("auroc", "mcc", "clean_auroc", "clean_mcc")
"""Metrics of the scored test rows, and of those without a relative in training rows."""

LINE = ("line", "kind", "backbone", "order", "control")
OVERS = ("each", "all")

Values = dict[Line, dict[int, dict[str, dict[int, float]]]]
"""A metric by line, shots, task and seed, where it is defined."""


def runs_table(finished: Table, left_out: Mapping[Key, str]) -> pd.DataFrame:
    """Return a row for each run, and one for each cell that was left out, with the reason.

    Columns are task, those of LINE, shots, seed, every one of METRICS with the ends of its interval
    over rows, classes, n (scored rows), n_clean, seconds and left_out.
    """
    rows = []
    for key, runs in finished.items():
        rows += [_facts(key) | _run(done.report) | {"left_out": ""} for done in runs]
    rows += [_facts(key) | {"left_out": reason} for key, reason in left_out.items()]
    return pd.DataFrame(rows)


def _facts(key: Key) -> dict[str, Any]:
    task, line, shots = key
    assert isinstance(line, Line)
    return {"task": task} | _columns(line) | {"shots": shots}


def _columns(line: Line) -> dict[str, Any]:
    values = (str(line), line.kind, line.backbone, line.order, line.control)
    return dict(zip(LINE, values, strict=True))


def _run(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": report.setup.seed}
    for name in METRICS:
        metric = measured(report, name)
        found |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
    return found | {
        "classes": len(report.setup.labels),
        "n": report.setup.n_scored,
        "n_clean": report.outcome.n_clean,
        "seconds": report.environment.seconds,
    }


def measured(report: Report, name: str) -> Estimate:
    """Return a metric of a run, by its name in METRICS.

    Where all rows are given one class, the Matthews correlation counts as 0.
    """
    found: Mapping[str, Estimate] | None = report.outcome.metrics
    if name.startswith("clean_"):
        found = report.outcome.clean_metrics
    if found is None:
        return Estimate.undefined("no clean rows")
    metric = found[name.removeprefix("clean_")]
    return Estimate(0.0, nan, nan, metric.reason) if metric.reason == ONE_PREDICTION else metric


def values_of(finished: Table, metric: str) -> Values:
    """Return a metric of all runs, where it is defined."""
    values: Values = {}
    for (task, line, shots), runs in finished.items():
        assert isinstance(line, Line) and isinstance(shots, int)
        seeds = {one.report.setup.seed: measured(one.report, metric).value for one in runs}
        defined = {seed: value for seed, value in seeds.items() if not np.isnan(value)}
        if defined:
            values.setdefault(line, {}).setdefault(shots, {})[str(task)] = defined
    return values


def sets_of(values: Values, over: str) -> dict[int, list[str]]:
    """Return the sets that count at each number of shots, for one of OVERS."""
    references = [line for line in values if line.is_reference] or list(values)
    shots = sorted({one for line in references for one in values[line]})
    fitting = {
        k: set.intersection(*(set(values[line].get(k, {})) for line in references)) for k in shots
    }
    if over == "all":
        throughout = set.intersection(*fitting.values()) if fitting else set()
        fitting = dict.fromkeys(shots, throughout)
    return {k: sorted(sets) for k, sets in fitting.items() if sets}


def means(finished: Table) -> pd.DataFrame:
    """Return a row for each of OVERS, line, metric and shots: the mean over the sets.

    Columns are over, those of LINE, metric, shots, value, low and high (95 % over sets and draws),
    sets, and sets_in_all: where a line has fewer of them, its mean is not comparable.
    """
    rows = []
    for metric in METRICS:
        values = values_of(finished, metric)
        for over in OVERS:
            for shots, sets in sets_of(values, over).items():
                of_shots = list(_means_at(values, shots, sets))
                best = best_order(values, shots, sets)
                if best is not None:
                    same = next(row for row in of_shots if row["line"] == str(best))
                    of_shots.append(same | {"line": BEST})
                base = {"over": over, "metric": metric, "shots": shots, "sets_in_all": len(sets)}
                rows += [base | row for row in of_shots]
    return pd.DataFrame(rows)


def _means_at(values: Values, shots: int, sets: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line, by_shots in values.items():
        draws = [by_shots[shots][one] for one in sets if one in by_shots.get(shots, {})]
        if draws:
            mean = nested_bootstrap([np.array(list(of_set.values())) for of_set in draws])
            yield _columns(line) | _ends(mean) | {"sets": len(draws)}


def _ends(mean: Estimate) -> dict[str, float]:
    return {"value": mean.value, "low": mean.low, "high": mean.high}


def best_order(values: Values, shots: int, sets: Sequence[str]) -> Line | None:
    """Return the Markov chains of the one order that is best over these sets; None without any."""
    orders = {
        line: np.mean([np.mean(list(values[line][shots][one].values())) for one in sets])
        for line in values
        if line.kind == "markov" and line.order != AUTO and line.control is None
    }
    return max(orders, key=lambda line: orders[line]) if orders else None


def pairs(finished: Table) -> pd.DataFrame:
    """Return paired differences of the likelihoods, a row for each of OVERS, metric and shots.

    Columns are over, metric, shots, line, minus, difference, low and high (95 % over sets and
    draws, both lines on the same rows of each), sets. A backbone's channel or memory is compared
    with the best single Markov order, with `auto`, with that of the first backbone, with its own
    other readouts and with nearest neighbours; swapped demonstrations with the mirror image, where
    there are two classes.
    """
    two_classes = {
        str(task) for (task, *_), runs in finished.items() if len(runs[0].report.setup.labels) == 2
    }
    rows = []
    for metric in METRICS:
        values = values_of(finished, metric)
        for over in OVERS:
            for shots, sets in sets_of(values, over).items():
                for line, other in _compared(values, shots, sets):
                    mirrored = line.control == SWAPPED
                    if mirrored and "auroc" not in metric:
                        continue
                    a, b = values[line].get(shots, {}), values[other].get(shots, {})
                    both = [one for one in sets if one in a and one in b]
                    both = [one for one in both if one in two_classes] if mirrored else both
                    gains = [_paired(a[one], b[one], mirrored) for one in both]
                    gains = [gain for gain in gains if len(gain)]
                    if gains:
                        difference = _ends(nested_bootstrap(gains))
                        difference["difference"] = difference.pop("value")
                        rows.append(
                            {"over": over, "metric": metric, "shots": shots, "line": str(line)}
                            | {"minus": f"1 - {other}" if mirrored else str(other)}
                            | difference
                            | {"sets": len(gains)}
                        )
    return pd.DataFrame(rows)


def _paired(a: Mapping[int, float], b: Mapping[int, float], mirrored: bool) -> np.ndarray:
    """Return the differences of the draws that both have; with `mirrored`, to 1 - b."""
    return np.array([a[seed] - (1 - b[seed] if mirrored else b[seed]) for seed in a if seed in b])


def _compared(values: Values, shots: int, sets: Sequence[str]) -> Iterator[tuple[Line, Line]]:
    """Yield the lines that are compared, and with what."""
    plain = [line for line in values if line.kind in LIKELIHOODS and line.control is None]
    best = best_order(values, shots, sets)
    for line in plain:
        first = next(one for one in plain if one.kind == line.kind)
        channel = Line("channel", line.backbone)
        others = (
            best,
            Line("markov", order=AUTO),
            first if line != first else None,
            channel if line != channel else None,
            Line("direct", line.backbone),
            Line("kmer_knn"),
            Line("embedding_knn", line.backbone),
        )
        yield from ((line, other) for other in others if other is not None and other in values)
        swapped = Line(line.kind, line.backbone, control=SWAPPED)
        if swapped in values:
            yield swapped, line
