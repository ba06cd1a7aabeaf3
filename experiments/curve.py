"""Reports -> table -> pictures: how a metric grows with a budget, and what that costs.

`python -m experiments.curve runs=DIR` writes three files for each task: curve_TASK_METRIC.png,
.svg and .csv. `pictures=[all]` adds, where the runs allow them, heat maps over two budgets, the
Pareto front and the importance of options.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.names import suggestion, unknown
from backbone.common.options import option
from experiments.common.command import run_command
from experiments.common.points import aggregate, read_runs
from experiments.pictures.curve import AXES, Facts, draw
from experiments.pictures.heat import grids, heat_map
from experiments.pictures.importance import draw_importance, importance, study_of
from experiments.pictures.pareto import COSTS, draw_pareto, pareto
from experiments.pictures.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Options:
    """What the command line can set."""

    runs: str = option("runs", "folder of the reports, as out= of python -m icl.run")
    out: str = option("", "folder that receives the files; the folder of the reports if not given")
    metric: str = option("accuracy", "any metric of the reports")
    task: str = option("", "one task alone")
    against: str = option("prompt_tokens", "axis: prompt_tokens, shots or tuning_samples")
    pictures: list[str] = option(["curve"], "any of curve, heat, pareto, importance; or [all]")
    cost: str = option("seconds", "of the Pareto picture: also trainable_parameters, prompt_tokens")


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


Drawn = Iterator[tuple[str, "Figure", pd.DataFrame]]
"""For each picture the end of its files' names, the picture and its table."""


def _curve(frame: pd.DataFrame, table: pd.DataFrame, options: Options) -> Drawn:
    yield "", draw(table, facts(frame, options.metric), options.against), table


def _heat(frame: pd.DataFrame, table: pd.DataFrame, options: Options) -> Drawn:
    for number, (name, rows, across, upwards) in enumerate(grids(table)):
        title = f"{rows['task'].iloc[0]}: {name}"
        end = f"_{rows['method'].iloc[0]}" + (f"_{number}" if rows["variant"].iloc[0] else "")
        yield end, heat_map(rows, across, upwards, title), rows


def _pareto(frame: pd.DataFrame, table: pd.DataFrame, options: Options) -> Drawn:
    points = pareto(table, options.cost)
    title = f"{table['task'].iloc[0]}: what {options.metric.replace('_', ' ')} costs"
    yield f"_{options.cost}", draw_pareto(points, options.cost, title), points


def _importance(frame: pd.DataFrame, table: pd.DataFrame, options: Options) -> Drawn:
    for method, runs in frame.groupby("method"):
        try:
            found = importance(study_of(runs, options.metric))
        except InputError as reason:
            print(f"{table['task'].iloc[0]}, {method}: no importance of options: {reason}")
            continue
        title = f"{table['task'].iloc[0]}, {method}: what {options.metric} depends on"
        yield f"_{method}", draw_importance(found, title), found


PICTURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Options], Drawn]] = {
    "curve": _curve,
    "heat": _heat,
    "pareto": _pareto,
    "importance": _importance,
}
"""What can be drawn of one task's runs and their points."""


def curves(options: Options) -> list[Path]:
    """Draws every task of a folder of reports; returns the paths of the files written.

    Raises:
        InputError: for no reports, an unknown task, metric, axis or picture, or a folder that
            cannot be written.
    """
    wanted = list(PICTURES) if options.pictures == ["all"] else options.pictures
    for name, given, known in (
        *(("pictures", one, [*PICTURES, "all"]) for one in wanted),
        ("against", options.against, list(AXES)),
        ("cost", options.cost, list(COSTS)),
    ):
        if given not in known:
            raise InputError(f"{name}={given}: unknown; {suggestion(given, known)}")
    frame = _plain_runs(options)
    table = aggregate(frame, options.metric)
    written = []
    for task, rows in table.groupby("task", sort=True):
        runs = frame[frame["task"] == task]
        for kind in wanted:
            for end, figure, points in PICTURES[kind](runs, rows, options):
                stem = f"{kind}_{task}_{options.metric}{end}"
                written += save(figure, points, stem, Path(options.out or options.runs))
        for method in rows.loc[rows["variant"] != "", "method"].unique():
            print(f"{task}, {method}: weights, data or settings differ; drawn as separate lines")
    return written


def _plain_runs(options: Options) -> pd.DataFrame:
    frame, _ = read_runs(options.runs)
    frame = frame[frame["control"].isna()]
    if not options.task:
        return frame
    known = sorted(frame["task"].unique())
    if options.task not in known:
        raise unknown("task", options.task, known)
    return frame[frame["task"] == options.task]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    return run_command("python -m experiments.curve", Options, curves, arguments)


if __name__ == "__main__":
    sys.exit(main())
