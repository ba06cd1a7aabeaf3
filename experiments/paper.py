"""Figures of the HyenaDNA paper beside ours, set by set.

`python -m experiments.paper "tables=[runs/summary.csv]"` reads the tables that `icl.run` and
`experiments.benchmark` write and puts each of their figures beside those of Nguyen et al. 2023 on
the same set, which are in recipes/paper.csv with their source and table. The rows differ: see
docs/how-to/paper.md. Sets of the paper that no table has are listed without a figure of ours.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.common.cells import write_tables
from experiments.common.command import run_command
from experiments.common.recipe import RECIPES

if TYPE_CHECKING:
    import pandas as pd

PAPER = RECIPES / "paper.csv"
OURS = {"f1": "macro_f1"}
"""Our metric for one of the paper, where the names differ."""

NEEDED = ("task", "method", "metric", "value", "low", "high", "n_train")
MODEL = "HyenaDNA"
"""The paper's model that ours stands beside; paper.csv has its baselines too."""


@dataclass
class Options:
    """Options of the command."""

    tables: list[str] = option([], "summary.csv or benchmark.csv files of our runs")
    out: str = option("runs", "folder of paper_beside_ours.csv and .md")


def beside(paper: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's figures with those of each of our methods on the same set and metric.

    Args:
        paper: As paper.csv.
        ours: A row for each task, method and metric, with the columns NEEDED; values are shares.

    Returns:
        The columns of `paper` with `method`, `ours`, `low`, `high` in percent and `n_train`; a row
        for each of our methods, or one without where there is none.
    """
    named = paper.assign(metric=paper["metric"].replace(OURS))
    found = ours[list(NEEDED)].rename(columns={"value": "ours"})
    if "control" in ours:
        found = found[ours["control"].isna()]
    found = found.assign(**{name: 100 * found[name] for name in ("ours", "low", "high")})
    return named.merge(found, on=["task", "metric"], how="left")


def markdown(table: pd.DataFrame) -> str:
    """Return the rows of the paper's own model as a Markdown table, our methods in columns."""
    own = table[table["model"] == MODEL]
    methods = list(dict.fromkeys(own["method"].dropna()))
    head = ["table", "set", "metric", f"paper, {MODEL}", *methods, "our training rows"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    keys = ["table", "name", "metric", "context", "percent"]
    for (source, name, metric, context, percent), rows in own.groupby(
        keys, sort=False, dropna=False
    ):
        figures = {row.method: _percent(row) for row in rows.itertuples()}
        counts = rows["n_train"].dropna()
        trained = f"{int(counts.max()):,}" if len(counts) else ""
        at = f", {context}" if isinstance(context, str) else ""
        cells = [str(source), f"{name}{at}", str(metric), f"{percent:.1f}"]
        cells += [figures.get(method, "") for method in methods]
        lines.append("| " + " | ".join([*cells, trained]) + " |")
    return "\n".join(lines) + "\n"


def _percent(row: Any) -> str:
    """Return one of our figures with its interval; empty where there is none."""
    if math.isnan(row.ours):
        return ""
    ends = "" if math.isnan(row.low) else f" [{row.low:.1f}, {row.high:.1f}]"
    return f"{row.ours:.1f}{ends}"


def compare(options: Options) -> list[Path]:
    """Write the table and its Markdown, and return their paths.

    Raises:
        InputError: If a table cannot be read or has other columns.
    """
    import pandas as pd

    found = []
    for name in options.tables:
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"tables={name}: there is no such file")
        one = pd.read_csv(path)
        lacking = [column for column in NEEDED if column not in one.columns]
        if lacking:
            raise InputError(f"tables={name}: has no column {lacking[0]}")
        found.append(one)
    ours = pd.concat(found) if found else pd.DataFrame(columns=list(NEEDED))
    table = beside(pd.read_csv(PAPER), ours)
    contents = {
        "paper_beside_ours.csv": table.to_csv(index=False),
        "paper_beside_ours.md": markdown(table),
    }
    return write_tables(Path(options.out).expanduser(), contents)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.paper", Options, compare, arguments)


if __name__ == "__main__":
    sys.exit(main())
