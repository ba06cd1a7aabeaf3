"""Results of the HyenaDNA paper compared with ours, set by set: a table and a figure.

`python -m experiments.paper "tables=[runs/summary.csv]"` reads the tables written by `icl.run` and
`experiments.benchmark`, and compares their results with those of Nguyen et al. 2023 on the same
sets, which are in recipes/paper.csv with their source and table. Without `tables` it uses the
results in the repository, so it needs neither data nor a network. The rows differ: see
docs/how-to/paper.md. The figure shows the sets for which we have a result. The command lists the
other sets, and the table contains them without a result of ours.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.common.command import emit, entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.common.cells import write_tables
from experiments.common.command import run_command
from experiments.common.recipe import RECIPES
from experiments.pictures.paper import MODEL, SET, draw, set_names
from experiments.pictures.style import save_figure

if TYPE_CHECKING:
    import pandas as pd

PAPER = RECIPES / "paper.csv"
OURS = {"f1": "macro_f1"}
"""Our metric for one of the paper, where the names differ."""

KEPT = tuple(
    RECIPES / "results" / name for name in ("benchmark/benchmark.csv", "paper/state_prompt.csv")
)
"""Results on the bundled backbone; a wheel does not have them."""

STEM = "paper_beside_ours"
NEEDED = ("task", "method", "metric", "value", "low", "high", "n_train")


@dataclass
class Options:
    """Options of the command."""

    tables: list[str] = option(
        [],
        "summary.csv or benchmark.csv files of our runs; by default the repository's results",
    )
    out: str = option("runs", "folder of the table (CSV, Markdown) and its figure (PNG, SVG)")


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


def without_ours(table: pd.DataFrame) -> str:
    """Return the sets of the paper's own model without a result of ours, one line per table."""
    own = table[table["model"] == MODEL]
    missing = own[own["ours"].isna()]
    if missing.empty:
        return "We have a result for every set of the paper."
    named = missing.assign(name=set_names(missing)).groupby("table", sort=False)["name"]
    listed = [f"  {source}: {'; '.join(names)}" for source, names in named]
    return "\n".join([f"Not run: {len(missing)} of {len(own.drop_duplicates(SET))} sets", *listed])


def compare(options: Options) -> list[Path]:
    """Write the table, its Markdown and, where there is a figure of ours, the picture.

    Returns:
        Their paths.

    Raises:
        InputError: If a table cannot be read or has other columns.
    """
    import pandas as pd

    found = []
    for name in options.tables or [str(file) for file in KEPT if file.is_file()]:
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
        f"{STEM}.csv": table.to_csv(index=False),
        f"{STEM}.md": markdown(table),
    }
    out = Path(options.out).expanduser()
    written = write_tables(out, contents)
    emit(without_ours(table))
    if table["ours"].notna().any():
        written += save_figure(draw(table), STEM, out)
    return written


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command(
        "python -m experiments.paper", Options, compare, arguments, without_arguments="work"
    )


if __name__ == "__main__":
    sys.exit(main())
