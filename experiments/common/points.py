"""The points of a curve: runs that differ only in their seeds are averaged."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import as_text
from experiments.common.settings import compared_options
from icl.results import load_results
from tasks.metrics.bootstrap import Estimate, mean_over_runs

COLUMNS = (
    "task",
    "method",
    "prompt_tokens",
    "shots",
    "metric",
    "mean",
    "low",
    "high",
    "val_mean",
    "n_seeds",
    "variant",
    "tuning_samples",
    "trainable_parameters",
    "seconds",
)
"""The table's columns; `variant` is empty unless one method ran with several weights or data."""

POINT = ["task", "method", "prompt_tokens", "shots", "tuning_samples", "variant"]
"""Reports that agree in all of these differ in their seeds alone and are averaged."""

WHOLE = ("prompt_tokens", "shots", "tuning_samples", "trainable_parameters")


def read_runs(folder: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the runs below a folder; name damaged reports on standard error, a line each.

    Args:
        folder: Folder of runs.

    Returns:
        The table of `icl.results.load_results`; and a line for each damaged report, with its path
        below the folder.

    Raises:
        InputError: If there is no such folder, or no run without a control in it.
    """
    path = Path(folder).expanduser()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        frame = load_results(path)
    damaged = [" ".join(str(w.message).split()) for w in caught if w.category is UserWarning]
    for line in damaged:
        print(f"left out: {line}", file=sys.stderr)
    if frame["control"].isna().sum() == 0:
        raise InputError(
            f"no report.json under {folder} is of a run without a control; runs=DIR must name the "
            "folder that `python -m icl.run out=DIR` wrote to"
        )
    return frame, [line.replace(f"{path}/", "") for line in damaged]


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Return the names of the metrics that have an interval in a table of results."""
    return [name for name in frame.columns if {f"{name}_low", f"{name}_high"} <= set(frame.columns)]


def aggregate(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Average over seeds: return one row for each point of the curve.

    Runs that differ in more than their seeds (weights, data or the method's settings) are never
    averaged together; the column `variant` says what sets them apart.

    The interval is `mean_over_runs`: for new seeds and new test rows together. Where there is one
    run, or the same value at every seed, it is the runs' own interval over rows.

    Args:
        frame: Reports as `icl.results.load_results` returns them.
        metric: Name of a metric.

    Returns:
        A table with the columns COLUMNS, sorted by task, method, variant and budgets. Runs with a
        control are left out; no shots besides prompt tokens and 0 shots are the same.

    Raises:
        InputError: If no report has the metric.
    """
    return averaged(prepared(frame), metric)


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs without a control, with `variant`, and 0 shots where a prompt has none."""
    frame = frame[frame["control"].isna()]
    without = frame["shots"].isna() & frame["prompt_tokens"].notna()
    frame = frame.assign(shots=frame["shots"].mask(without, 0))
    return frame.assign(variant=variants(frame))


def averaged(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Do as `aggregate` for runs that are `prepared`, which any number of metrics can share.

    Raises:
        InputError: If no report has the metric.
    """
    known = metrics_of(frame)
    if metric not in known:
        raise unknown("metric", metric, known)
    groups = frame[frame[metric].notna()].groupby(POINT, dropna=False)
    table = pd.DataFrame([_point(runs, metric) for _, runs in groups], columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(WHOLE, "Int64"))
    order = ["task", "method", "variant", "tuning_samples", "shots", "prompt_tokens"]
    return table.sort_values(order).reset_index(drop=True)


def _point(runs: pd.DataFrame, metric: str) -> dict[str, object]:
    first = runs.iloc[0]
    ends = (runs[f"{metric}{end}"] for end in ("", "_low", "_high"))
    mean = mean_over_runs([Estimate(*one) for one in zip(*ends, strict=True)])
    validation = f"validation_{metric}"
    return {
        **{name: first[name] for name in POINT},
        "metric": metric,
        "mean": mean.value,
        "low": mean.low,
        "high": mean.high,
        "val_mean": runs[validation].mean() if validation in runs else float("nan"),
        "n_seeds": len(runs),
        "trainable_parameters": runs["trainable_parameters"].max(),
        "seconds": runs["seconds"].mean(),
    }


def variants(frame: pd.DataFrame) -> pd.Series:
    """Return how each run differs from the others of its task, besides method, budget and seeds.

    Weights and data are compared within a task, settings within a method. Rows divided by another
    `split_seed` are the same data; other rows at the same `split_seed` are not.

    Args:
        frame: Reports as `icl.results.load_results` returns them.

    Returns:
        A text for each run, such as "random:bundled, lr=0.01"; empty where nothing sets it apart.
    """
    parts: dict[Hashable, list[str]] = {row: [] for row in frame.index}
    for _, runs in frame.groupby("task"):
        used = runs[runs["weights_sha256"].notna()]
        if used["weights_sha256"].nunique() > 1:
            named = used.groupby("backbone")["weights_sha256"].nunique().max() == 1
            for row, name, weights in zip(
                used.index, used["backbone"], used["weights_sha256"], strict=True
            ):
                parts[row].append(name if named else f"weights {weights[:8]}")
        if runs.groupby("split_seed")["data_sha256"].nunique().max() > 1:
            for row, data in runs["data_sha256"].items():
                parts[row].append(f"data {data[:8]}")
    for _, runs in frame.groupby(["task", "method"]):
        settings = pd.DataFrame(
            [compared_options(run) for _, run in runs.iterrows()], index=runs.index, dtype=object
        )
        for name in settings.columns:
            if settings[name].map(repr).nunique() > 1:
                for row, value in settings[name].items():
                    parts[row].append(f"{name.removeprefix('method.')}={as_text(value)}")
    return pd.Series({row: ", ".join(part) for row, part in parts.items()}, dtype=object)
