"""A benchmark: every method on every task, on all and on clean test rows.

`python -m experiments.benchmark recipe=benchmark data=DIR` runs the methods on one task after the
other, each with the same number of labelled rows, and writes benchmark.csv and a figure. The clean
metrics leave out test rows that have a relative in train. Finished runs are not repeated. `minutes`
sets the time after which no new run starts; call the command again to continue.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import ClassVar

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.common.cells import (
    Cell,
    CellOptions,
    Table,
    configuration,
    mean_seconds,
    run_cells,
)
from experiments.common.command import MethodOptions, run_with_methods
from experiments.pictures.benchmark import draw
from experiments.pictures.style import save
from icl.config.options import RunConfig, entry, resolve
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate, mean_over_runs
from tasks.registry import build_task, default_options
from tasks.task import data_folder

COLUMNS = (
    "task", "kind", "method", "metric", "value", "low", "high", "clean_value", "clean_low",
    "clean_high", "seeds", "n_train", "n_val", "n_test", "n_clean", "split_origin", "seconds",
)  # fmt: skip
"""A row for each task, method and metric; columns clean_ are empty where no clean row is left."""


@dataclass
class Options(CellOptions):
    """Options of the command."""

    folder: ClassVar[str] = "runs-benchmark"
    tasks: list[str] = option(["synthetic_easy", "synthetic_hard"], "names of tasks")
    methods: list[str] = option(["majority", "gc_only", "kmer_logreg"], "names of methods")
    seeds: int = option(3, "runs with seed=0, 1, ... of training, draws and subset", least=1)
    n_train: int = option(2000, "maximum number of training rows", least=1)
    prompt_tokens: int = option(16, "learned vectors, for methods with that budget", least=0)
    shots: int = option(2, "demonstrations per class, for methods with that budget", least=0)
    truncate: str = option(
        "none",
        "which end to cut if a row is too long for the backbone",
        choices=("none", "left", "right", "center"),
    )
    max_bases: int | None = option(None, "with truncate: maximum length of a row in bases", least=1)


def cells(options: Options, words: MethodOptions) -> list[Cell]:
    """Return every run: task by task, all methods that suit it, seed by seed.

    Args:
        options: Options of the command.
        words: Options of each method, as `NAME=VALUE`.

    Raises:
        InputError: If no run can have these options, or the data of a task are missing.
    """
    if not options.tasks or not options.methods:
        raise InputError("give at least one of tasks and methods")
    found = []
    for name in options.tasks:
        configs = [_config(options, name, one, words.get(one, ())) for one in options.methods]
        task = build_task(configs[0].task)
        rows = len(task.splits(0, data_folder(options.data)).train)
        for config in configs:
            if task.kind not in entry(config).kinds:
                print(f"left out: {config.method.name} does not support {task.name}")
                continue
            # Where there are fewer rows, all are used in their own order, whatever the seed.
            config = replace(config, n_train=options.n_train if options.n_train < rows else None)
            key = (task.name, config.method.name)
            found += [Cell(key, replace(config, seed=seed)) for seed in range(options.seeds)]
    return found


def _config(options: Options, task: str, method: str, words: Sequence[str]) -> RunConfig:
    budgets = {"prompt_tokens": options.prompt_tokens, "shots": options.shots}
    name = TASKS.get(task).name
    config = configuration(
        options, default_options(name), method, words, budgets, backbone=options.backbone
    )
    return resolve(replace(config, truncate=options.truncate, max_bases=options.max_bases))


def tabulate(finished: Table) -> pd.DataFrame:
    """Return a row for each task, method and metric, with the columns COLUMNS.

    Intervals are those of `mean_over_runs`, for new seeds and new test rows together.
    """
    rows = []
    for (task, method), runs in finished.items():
        reports = [done.report for done in runs]
        first = reports[0]
        cleans = [one.outcome.clean_metrics for one in reports if one.outcome.clean_metrics]
        for metric in first.outcome.metrics:
            official = _mean([report.outcome.metrics[metric] for report in reports])
            clean = _mean([found[metric] for found in cleans])
            values = (
                task, first.setup.kind, method, metric, *official, *clean, len(reports),
                first.setup.n_train, first.setup.n_val, first.setup.n_test,
                first.outcome.n_clean, first.setup.split_origin, mean_seconds(runs),
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mean(values: Sequence[Estimate]) -> tuple[float, float, float]:
    """Return the mean and the ends of its interval; NaN where there is no value."""
    if not values:
        return nan, nan, nan
    mean = mean_over_runs(values)
    return mean.value, mean.low, mean.high


def benchmark(options: Options, words: MethodOptions) -> list[Path]:
    """Do the runs, write the table and the picture, and return their paths.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    table = tabulate(run_cells(cells(options, words), minutes=options.minutes))
    return save(draw(table, options.backbone), table, "benchmark", options.out_folder)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    forms = ("method.NAME=VALUE", "method.METHOD.NAME=VALUE")
    name = "python -m experiments.benchmark"
    return run_with_methods(name, Options, benchmark, arguments, forms=forms)


if __name__ == "__main__":
    sys.exit(main())
