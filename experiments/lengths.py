"""Accuracy against the length of the sequence: methods on windows of growing length.

`python -m experiments.lengths recipe=species data=DIR` runs every method on every length and random
split (`seed` and `split_seed` change together) and plots the finished runs. Finished runs are not
repeated. `minutes` sets the time after which no new run starts; call the command again to continue.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option, read_options
from experiments.common.cells import (
    Cell,
    CellOptions,
    Table,
    configuration,
    mean_seconds,
    run_cells,
)
from experiments.common.command import MethodOptions, run_with_methods
from experiments.pictures.lengths import draw
from experiments.pictures.style import save
from icl.config.options import resolve
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import mean_over_divisions
from tasks.registry import options_class

COLUMNS = (
    "method", "length", "accuracy", "low", "high", "divisions", "n_train", "n_test", "classes",
    "seconds",
)  # fmt: skip


@dataclass
class Options(CellOptions):
    """Options of the command."""

    folder: ClassVar[str] = "runs-lengths"
    task: str = option("species", "name of a task with the option length")
    lengths: list[int] = option([250, 500, 1000, 2000, 4000, 8000], "bases", least=1)
    methods: list[str] = option(["kmer_logreg", "linear_probe", "soft_prompt"], "names of methods")
    divisions: int = option(3, "runs with seed=split_seed=0, 1, ...", least=1)
    k: int = option(16, "prompt tokens, or shots, of methods with a budget", least=0)


def cells(options: Options, words: MethodOptions) -> list[Cell]:
    """Return every run: division by division, lengths from short to long, all methods.

    Args:
        options: Options of the command.
        words: Options of the task ("task") and of each method, as `NAME=VALUE`.

    Raises:
        InputError: If no run can have these options.
    """
    if not options.lengths or not options.methods:
        raise InputError("give at least one of lengths and methods")
    schema = options_class(options.task)
    if "length" not in schema.__dataclass_fields__:
        raise InputError(f"task={options.task} has no option length; species has")
    name = TASKS.get(options.task).name
    task: Any = replace(read_options(schema, words.get("task", ())), name=name)
    budgets = {"prompt_tokens": options.k, "shots": options.k}
    found = []
    for division in range(options.divisions):
        for length in sorted(options.lengths):
            at_length = replace(task, length=length)
            for method in options.methods:
                given = words.get(method, ())
                config = configuration(
                    options, at_length, method, given, budgets, backbone=options.backbone
                )
                config = resolve(replace(config, seed=division, split_seed=division))
                found.append(Cell((method, length), config))
    return found


def tabulate(finished: Table) -> pd.DataFrame:
    """Return a row for each method and length, with the columns COLUMNS.

    Intervals are those of `mean_over_divisions`, cut off where no accuracy can be: each division
    has test windows of its own.
    """
    rows = []
    for (method, length), runs in finished.items():
        reports = [done.report for done in runs]
        setup = reports[0].setup
        accuracy = mean_over_divisions([report.outcome.metrics["accuracy"] for report in reports])
        values = (
            method, length, accuracy.value, max(accuracy.low, 0.0), min(accuracy.high, 1.0),
            len(reports), setup.n_train, setup.n_test, len(setup.labels), mean_seconds(runs),
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["method", "length"])


def lengths(options: Options, words: MethodOptions) -> list[Path]:
    """Do the runs, write the table and the picture, and return their paths.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    finished = run_cells(cells(options, words), minutes=options.minutes)
    table = tabulate(finished)
    labels = next(iter(finished.values()))[0].report.setup.labels
    figure = draw(table, options.task, labels, options.backbone)
    return save(figure, table, f"lengths_{options.task}", options.out_folder)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_with_methods("python -m experiments.lengths", Options, lengths, arguments)


if __name__ == "__main__":
    sys.exit(main())
