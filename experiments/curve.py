"""Reports -> table -> picture: how a metric grows with the number of prompt tokens.

`python -m experiments.curve runs=DIR` writes three files for each task: curve_TASK_METRIC.png,
.svg and .csv.
"""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.errors import InputError
from backbone.options import option
from experiments.command import run_command
from experiments.picture import Facts, draw
from icl.files import written_whole
from icl.results import results
from tasks.metrics import mean_over_draws

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
)
"""The table's columns; `variant` is empty unless one method ran with several weights or data."""

POINT = ["task", "method", "prompt_tokens", "shots", "tuning_samples", "variant"]
"""Reports that agree in all of these differ in their seeds alone and are averaged."""

NOT_SETTINGS = {
    *("task", "k", "prompt_tokens", "shots", "seed", "split_seed", "seeds"),
    *("backbone", "data", "out", "force"),
    *("control", "controls", "other_task"),
}
"""Options that have a column of their own (weights and data count by their sha256) or no effect."""

OF_BACKBONE = {"device", "precision", "batch_size", "verbalizer"}
"""Options without effect on a method that reads the sequence alone."""


@dataclass
class Options:
    """What the command line can set."""

    runs: str = option("runs", "folder of the reports, as out= of python -m icl.run")
    out: str = option("", "folder that receives the files; the folder of the reports if not given")
    metric: str = option("accuracy", "any metric of the reports")
    task: str = option("", "one task alone")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, then all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{hint} known: {', '.join(names)}"


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Names of the metrics that have an interval in a table of results."""
    return [name for name in frame.columns if {f"{name}_low", f"{name}_high"} <= set(frame.columns)]


def aggregate(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Averages over seeds: one row for each point of the curve.

    Runs that differ in more than their seeds (weights, data or the method's settings) are never
    averaged together; the column `variant` says what sets them apart.

    The interval is Student's t at 95 % over seeds. Where there is one run only, or a method that
    gives the same value at every seed, it is the runs' own bootstrap interval over rows.

    Args:
        frame: reports as `icl.results.results` returns them.
        metric: name of a metric.

    Returns:
        A table with the columns COLUMNS, sorted by them. Runs with a control are left out; no
        shots beside prompt tokens and 0 shots are the same.

    Raises:
        InputError: for a metric that no report has.
    """
    frame = frame[frame["control"].isna()]
    without = frame["shots"].isna() & frame["prompt_tokens"].notna()
    frame = frame.assign(shots=frame["shots"].mask(without, 0))
    known = metrics_of(frame)
    if metric not in known:
        raise InputError(f"no report has the metric {metric!r}{_nearest(metric, known)}")
    frame = frame[frame[metric].notna()].assign(variant=variants(frame))
    rows = [_point(runs, metric) for _, runs in frame.groupby(POINT, dropna=False)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(("prompt_tokens", "shots", "tuning_samples"), "Int64"))
    order = ["task", "method", "variant", "tuning_samples", "shots", "prompt_tokens"]
    return table.sort_values(order).reset_index(drop=True)


def _point(runs: pd.DataFrame, metric: str) -> dict[str, object]:
    first = runs.iloc[0]
    values = runs[metric]
    validation = f"validation_{metric}"
    if values.nunique() > 1:
        interval = mean_over_draws(values.tolist())
        low, high = interval.low, interval.high
    else:
        low, high = runs[f"{metric}_low"].mean(), runs[f"{metric}_high"].mean()
    return {
        **{name: first[name] for name in POINT},
        "metric": metric,
        "mean": values.mean(),
        "low": low,
        "high": high,
        "val_mean": runs[validation].mean() if validation in runs else float("nan"),
        "n_seeds": len(runs),
    }


def variants(frame: pd.DataFrame) -> pd.Series:
    """What sets each run apart from the others of its task, beside method, budget and seeds.

    Weights and data are compared within a task, settings within a method. Rows divided by another
    `split_seed` are the same data; other rows at the same `split_seed` are not.

    Args:
        frame: reports as `icl.results.results` returns them.

    Returns:
        One text a run, such as "random:bundled, lr=0.01"; empty where nothing sets it apart.
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
            [_settings(run) for _, run in runs.iterrows()], index=runs.index, dtype=object
        )
        for name in settings.columns:
            if settings[name].map(repr).nunique() > 1:
                for row, value in settings[name].items():
                    parts[row].append(f"{name}={value}")
    return pd.Series({row: ", ".join(part) for row, part in parts.items()}, dtype=object)


def _settings(run: pd.Series) -> dict[str, Any]:
    """The options that must agree between runs that are averaged, the method's own among them."""
    ignored = NOT_SETTINGS if pd.notna(run["weights_sha256"]) else NOT_SETTINGS | OF_BACKBONE
    general = {name: value for name, value in run["config"].items() if name not in ignored}
    own = general.pop("method")
    return general | {n: value for n, value in own.items() if n not in ("name", "tuning_samples")}


def facts(frame: pd.DataFrame, metric: str) -> Facts:
    """Collects what the picture of one task says beside its numbers.

    Args:
        frame: results of one task.
        metric: the metric shown; the reference lines depend on it.
    """
    classes = len(frame["labels"].iloc[0])
    scored = frame["n_test"].where(frame["evaluated_on"] == "test", frame["n_val"])
    best = frame["best_accuracy"].dropna()
    prompted = frame[frame["prompt_tokens"].notna()]
    backbones = (prompted if len(prompted) else frame)["backbone"].dropna().unique()
    return Facts(
        task=frame["task"].iloc[0],
        backbone=" and ".join(backbones) or "none",
        split=" and ".join(sorted(frame["evaluated_on"].unique())),
        rows=" to ".join(f"{rows:,}" for rows in sorted({scored.min(), scored.max()})),
        best=best.iloc[0] if metric == "accuracy" and len(best) else None,
        chance={"accuracy": 1 / classes, "balanced_accuracy": 1 / classes, "auroc": 0.5}.get(
            metric
        ),
    )


def save(table: pd.DataFrame, about: Facts, out: Path) -> list[Path]:
    """Writes one task's picture as PNG and SVG and its table as CSV, each in one step.

    Returns:
        The three paths.

    Raises:
        InputError: if the folder cannot be written.
    """
    import matplotlib

    stem = f"curve_{about.task}_{table['metric'].iloc[0]}"
    with matplotlib.rc_context({"svg.hashsalt": stem, "svg.fonttype": "none"}):
        figure = draw(table, about)
        contents = {}
        for suffix, details in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, bbox_inches="tight", pad_inches=0.15, **details)
            contents[suffix] = buffer.getvalue()
    contents["csv"] = table.to_csv(index=False).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_write(out / f"{stem}.{suffix}", data) for suffix, data in contents.items()]
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> Path:
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def curves(options: Options) -> list[Path]:
    """Draws every task of a folder of reports; returns the paths of the files written.

    Raises:
        InputError: for no reports, an unknown task or metric, or a folder that cannot be written.
    """
    frame = results(Path(options.runs))
    frame = frame[frame["control"].isna()]
    if frame.empty:
        raise InputError(
            f"no report.json under {options.runs} is of a run without a control; runs=DIR must "
            f"name the folder that `python -m icl.run out=DIR` wrote to"
        )
    if options.task:
        known = sorted(frame["task"].unique())
        if options.task not in known:
            raise InputError(
                f"no report of the task {options.task!r}{_nearest(options.task, known)}"
            )
        frame = frame[frame["task"] == options.task]
    table = aggregate(frame, options.metric)
    written = []
    for task, rows in table.groupby("task", sort=True):
        about = facts(frame[frame["task"] == task], options.metric)
        written += save(rows, about, Path(options.out or options.runs))
        for method in rows.loc[rows["variant"] != "", "method"].unique():
            print(f"{task}, {method}: weights, data or settings differ; drawn as separate lines")
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    return run_command("python -m experiments.curve", Options, curves, arguments)


if __name__ == "__main__":
    sys.exit(main())
