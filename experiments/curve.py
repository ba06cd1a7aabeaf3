"""Reports -> table -> picture: how a metric grows with the number of prompt tokens.

`python -m experiments.curve runs=DIR` writes three files for each task: curve_TASK_METRIC.png,
.svg and .csv.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from backbone.errors import InputError
from backbone.options import option
from experiments.command import run_command
from experiments.picture import Facts, draw
from experiments.points import aggregate, nearest
from icl.files import written_whole
from icl.results import results


@dataclass
class Options:
    """What the command line can set."""

    runs: str = option("runs", "folder of the reports, as out= of python -m icl.run")
    out: str = option("", "folder that receives the files; the folder of the reports if not given")
    metric: str = option("accuracy", "any metric of the reports")
    task: str = option("", "one task alone")


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
                f"no report of the task {options.task!r}{nearest(options.task, known)}"
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
