"""The curve as text: means by shots, paired differences, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.common.shot_lines import BEST
from tasks.metrics.bootstrap import as_figure, as_interval

TITLES = {
    "auroc": "AUROC",
    "mcc": "Matthews correlation",
    "clean_auroc": "AUROC, clean rows",
    "clean_mcc": "Matthews correlation, clean rows",
}


def markdown(runs: pd.DataFrame, mean: pd.DataFrame, paired: pd.DataFrame, command: str) -> str:
    """Return the tables of `experiments.shots.table` as Markdown.

    Args:
        runs: As `runs_table` returns it.
        mean: As `means` returns it.
        paired: As `pairs` returns it.
        command: The command that made them.
    """
    lines = [f"Made by `{command}`.", ""]
    if not len(mean):
        return "\n".join([*lines, "No set has runs of all lines yet.", *_left_out(runs), ""])
    for metric, title in TITLES.items():
        lines += _means(mean[(mean["over"] == "each") & (mean["metric"] == metric)], title)
    lines += [
        "Means over the sets that fit at these shots, intervals in shots_mean.csv; a star marks a",
        "mean over fewer sets. The best order is chosen on the rows that it is compared on.",
        "",
        "Paired differences, with 95 % over sets and draws:",
        "",
        *map(_sentence, paired[paired["over"] == "each"].to_dict("records") if len(paired) else []),
        *_left_out(runs),
        "",
    ]
    return "\n".join(lines)


def _means(table: pd.DataFrame, title: str) -> Iterator[str]:
    """Yield a table with a line for each line and a column for each number of shots."""
    if not len(table):
        return
    shots = sorted(table["shots"].unique())
    yield f"| {title} | {' | '.join(map(str, shots))} |"
    yield "|---" * (1 + len(shots)) + "|"
    sets = table.groupby("shots")["sets_in_all"].max()
    yield f"| sets | {' | '.join(str(sets[k]) for k in shots)} |"
    for name, rows in table.groupby("line", sort=False):
        by_shots = {row["shots"]: row for row in rows.to_dict("records")}
        yield f"| {name} | {' | '.join(_cell(by_shots.get(k), name) for k in shots)} |"
    yield ""


def _cell(row: dict | None, name: object) -> str:
    if row is None:
        return "-"
    order = f" ({row['order']})" if name == BEST else ""
    return f"{as_figure(row['value'])}{order}{'*' if row['sets'] < row['sets_in_all'] else ''}"


def _sentence(row: dict) -> str:
    ends = as_interval(row["low"], row["high"])
    return (
        f"- {row['shots']} shots, {TITLES[row['metric']]}: {row['line']} minus {row['minus']} "
        f"{row['difference']:+.3f} ({ends}), {row['sets']} sets"
    )


def _left_out(runs: pd.DataFrame) -> Iterator[str]:
    """Yield the number of sets that each line leaves out at each number of shots."""
    missing = runs[runs["left_out"] != ""] if len(runs) else runs
    if not len(missing):
        return
    yield ""
    yield "Left out, because the demonstrations do not fit or a class has too few rows:"
    yield ""
    for name, rows in missing.groupby("line", sort=False):
        counts = rows.groupby("shots")["task"].nunique()
        parts = [f"{count} sets at {shots}" for shots, count in counts.items()]
        yield f"- {name}: {', '.join(parts)} shots"
