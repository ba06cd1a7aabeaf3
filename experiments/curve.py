"""Curves of a folder of runs: a metric against a budget, and what the budget costs.

`python -m experiments.curve runs=DIR` writes three files for each task: curve_TASK_METRIC.png,
.svg and .csv. `pictures=[all]` adds, if the runs allow it, heat maps over two budgets, the Pareto
front and the importance of options. In Python, `draw_curve` draws the curve of a table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import option
from experiments.common.command import run_command
from experiments.common.points import aggregate, prepared, read_runs
from experiments.pictures.curve import AXES, Looks, draw, facts, looks
from experiments.pictures.heat import grids, heat_map
from experiments.pictures.importance import draw_importance, importance, study_of
from experiments.pictures.pareto import COSTS, draw_pareto, pareto
from experiments.pictures.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Options:
    """Options of the command."""

    runs: str = option("runs", "folder of the runs, as out= of python -m icl.run")
    out: str | None = option(None, "folder of the figures; by default that of the runs")
    metric: str = option("accuracy", "any metric of the reports")
    task: str | None = option(None, "draw only this task")
    against: str = option("prompt_tokens", "budget on the horizontal axis", choices=tuple(AXES))
    pictures: list[str] = option(
        ["curve"], "figures to draw", choices=("curve", "heat", "pareto", "importance", "all")
    )
    cost: str = option("seconds", "horizontal axis of the Pareto figure", choices=tuple(COSTS))


def draw_curve(
    table: pd.DataFrame,
    *,
    metric: str = "accuracy",
    against: str = "prompt_tokens",
    task: str | None = None,
    out: str | Path | None = None,
) -> Figure:
    """Draw a metric against a budget, averaged over seeds, with baselines as labelled lines.

    Args:
        table: Runs of one task as `icl.load_results` returns them; controls are left out.
        metric: Name of a metric of the reports.
        against: Budget on the horizontal axis: prompt_tokens, shots or tuning_samples.
        task: The task, where the table holds several.
        out: Folder that receives the picture (PNG and SVG) and its table (CSV), if given.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no run without a control, no such task, metric or budget, or
            the folder cannot be written.

    Example:
        >>> figure = experiments.draw_curve(icl.load_results("runs"))  # doctest: +SKIP
    """
    if against not in AXES:
        raise unknown("budget", against, AXES)
    frame = _of_task(table, task)
    tasks = sorted(frame["task"].unique())
    if not tasks:
        raise InputError("the table has no run without a control")
    if len(tasks) > 1:
        raise InputError(f"the table has several tasks; give task= one of {', '.join(tasks)}")
    points = aggregate(frame, metric)
    figure = draw(points, facts(frame, metric), against)
    if out is not None:
        save(figure, points, f"curve_{tasks[0]}_{metric}", Path(out).expanduser())
    return figure


Drawn = Iterator[tuple[str, "Figure", pd.DataFrame]]
"""For each picture the end of its file names, the picture and its table."""


def _curve(frame: pd.DataFrame, table: pd.DataFrame, options: Options, styles: Looks) -> Drawn:
    yield "", draw(table, facts(frame, options.metric), options.against, styles), table


def _heat(frame: pd.DataFrame, table: pd.DataFrame, options: Options, styles: Looks) -> Drawn:
    for number, (name, rows, across, upwards) in enumerate(grids(table)):
        title = f"{rows['task'].iloc[0]}: {name}"
        end = f"_{rows['method'].iloc[0]}" + (f"_{number}" if rows["variant"].iloc[0] else "")
        yield end, heat_map(rows, across, upwards, title), rows


def _pareto(frame: pd.DataFrame, table: pd.DataFrame, options: Options, styles: Looks) -> Drawn:
    points = pareto(table, options.cost)
    title = f"{table['task'].iloc[0]}: what {options.metric.replace('_', ' ')} costs"
    yield f"_{options.cost}", draw_pareto(points, options.cost, title), points


def _importance(frame: pd.DataFrame, table: pd.DataFrame, options: Options, styles: Looks) -> Drawn:
    for method, runs in frame.groupby("method"):
        try:
            found = importance(study_of(runs, options.metric))
        except InputError as reason:
            print(f"{table['task'].iloc[0]}, {method}: no importance of options: {reason}")
            continue
        title = f"{table['task'].iloc[0]}, {method}: what {options.metric} depends on"
        yield f"_{method}", draw_importance(found, title), found


PICTURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Options, Looks], Drawn]] = {
    "curve": _curve,
    "heat": _heat,
    "pareto": _pareto,
    "importance": _importance,
}
"""Pictures of the runs of one task and their points; looks are those of the whole folder."""


def curves(options: Options) -> list[Path]:
    """Draw every task of a folder of runs and return the paths of the files written.

    Raises:
        InputError: If there are no reports, the task or metric is unknown, or the folder cannot be
            written.
    """
    wanted = list(PICTURES) if "all" in options.pictures else options.pictures
    everything = read_runs(options.runs)[0]
    styles = looks(prepared(everything), options.against)
    frame = _of_task(everything, options.task)
    table = aggregate(frame, options.metric)
    out = Path(options.out or options.runs).expanduser()
    written = []
    for task, rows in table.groupby("task", sort=True):
        runs = frame[frame["task"] == task]
        for kind in wanted:
            for end, figure, points in PICTURES[kind](runs, rows, options, styles):
                written += save(figure, points, f"{kind}_{task}_{options.metric}{end}", out)
        for method in rows.loc[rows["variant"] != "", "method"].unique():
            print(f"{task}, {method}: weights, data or settings differ; drawn as separate lines")
    return written


def _of_task(frame: pd.DataFrame, task: str | None) -> pd.DataFrame:
    frame = frame[frame["control"].isna()]
    if task is None:
        return frame
    known = sorted(frame["task"].unique())
    if task not in known:
        raise unknown("task", task, known)
    return frame[frame["task"] == task]


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command(
        "python -m experiments.curve", Options, curves, arguments, without_arguments="work"
    )


if __name__ == "__main__":
    sys.exit(main())
