"""Many tasks beside each other: every method on every task, official and clean test rows.

`python -m experiments.benchmark recipe=benchmark data=DIR` runs the methods on one task after the
other, each with the same budget of labelled rows, and writes benchmark.csv and a picture. Rows
whose relatives are in train are scored in the same run and left out of the clean figures. Finished
runs are not repeated: with `minutes` it stops before a run that would begin later.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import option, read_options
from experiments.common.command import exit_code
from experiments.common.own_options import print_help, read_words
from experiments.common.run_all import Planned, run_planned
from experiments.pictures.benchmark import draw
from experiments.pictures.style import save
from icl.config.options import RunConfig, entry, resolve
from icl.methods.catalog import METHODS
from icl.reporting.report import Report
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate, mean_over_runs
from tasks.registry import build_task, default_options
from tasks.task import data_folder

COMMAND = "python -m experiments.benchmark"
EXAMPLES = (("METHOD.NAME=VALUE", "an option of a method, as soft_prompt.epochs=10"),)
COLUMNS = (
    "task", "kind", "method", "metric", "value", "low", "high", "clean_value", "clean_low",
    "clean_high", "seeds", "n_train", "n_val", "n_test", "n_clean", "split_origin", "seconds",
)  # fmt: skip
"""A row a task, method and metric; the columns clean_ are empty where no clean row is left."""


@dataclass
class Options:
    """What the command line can set, beside `METHOD.NAME=VALUE`."""

    recipe: str | None = option(None, "a kept command line, such as benchmark")
    tasks: list[str] = option(["synthetic_easy", "synthetic_hard"], "the tasks")
    methods: list[str] = option(["majority", "gc_only", "kmer_logreg"], "the methods")
    seeds: int = option(3, "of training, of demonstrations and of the subset, seed=0, 1, ...")
    n_train: int = option(2000, "training rows at most")
    prompt_tokens: int = option(16, "learned vectors of methods with that budget")
    shots: int = option(2, "demonstrations per class of methods with that budget")
    truncate: str = option("none", "rows too long for the backbone: none, left, right, center")
    max_bases: int | None = option(None, "with truncate: bases of a row at most")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    runs: str = option("runs-benchmark", "folder of the runs")
    out: str | None = option(None, "folder of the picture and its table; by default that of runs")
    backbone: str = option("bundled", "a checkpoint's name, or a folder")
    minutes: float | None = option(None, "begin no further run after so long")
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(2, "threads of the arithmetic")


def planned_runs(options: Options, own: Mapping[str, Sequence[str]]) -> list[Planned]:
    """Every run: task by task, all methods that suit it, seed by seed.

    Args:
        options: What the command line set.
        own: For a method its own options, as `name=value`.

    Raises:
        InputError: For options that no run can have, or a task whose data cannot be had.
    """
    if not options.tasks or not options.methods:
        raise InputError("give at least one of tasks and methods")
    for name in ("seeds", "n_train"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)}: must be 1 or more")
    for name in own:
        if name not in options.methods:
            raise InputError(f"{name}.: no method of this run; methods={options.methods}")
    planned = []
    for name in options.tasks:
        configs = [_config(options, name, one, own.get(one, ())) for one in options.methods]
        task = build_task(configs[0].task)
        rows = len(task.splits(0, data_folder(configs[0].data)).train)
        for config in configs:
            if task.kind not in entry(config).kinds:
                print(f"left out: {config.method.name} does not suit {task.name}")
                continue
            # All rows, drawn in their own order, where there are fewer: no seed moves them.
            config = replace(config, n_train=options.n_train if options.n_train < rows else None)
            for seed in range(options.seeds):
                title = f"{task.name}, {config.method.name}, seed {seed}"
                single = replace(config, seed=seed)
                planned.append(Planned(f"{task.name} {config.method.name}", title, single))
    return planned


def _config(options: Options, task: str, method: str, own: Sequence[str]) -> RunConfig:
    made = METHODS.get(method)
    shared = ("truncate", "max_bases", "data", "backbone", "device", "threads")
    return resolve(
        RunConfig(
            task=default_options(TASKS.get(task).name),
            method=replace(read_options(made.config, own), name=method),
            k=None if made.budget is None else getattr(options, made.budget),
            out=options.runs,
            **{name: getattr(options, name) for name in shared},
        )
    )


def tabulate(finished: Sequence[Finished]) -> pd.DataFrame:
    """A row for each task, method and metric, with the columns COLUMNS.

    The interval is `mean_over_runs`: for new seeds and new test rows together.
    """
    groups: dict[tuple[str, str], list[Report]] = {}
    for done in finished:
        groups.setdefault((done.report.setup.task, done.report.setup.method), []).append(
            done.report
        )
    rows = []
    for (task, method), reports in groups.items():
        first = reports[0]
        cleans = [one.outcome.clean_metrics for one in reports if one.outcome.clean_metrics]
        for metric in first.outcome.metrics:
            official = _over_seeds([report.outcome.metrics[metric] for report in reports])
            clean = _over_seeds([found[metric] for found in cleans])
            values = (
                task, first.setup.kind, method, metric, *official, *clean, len(reports),
                first.setup.n_train, first.setup.n_val, first.setup.n_test,
                first.outcome.n_clean, first.setup.split_origin,
                sum(report.environment.seconds for report in reports) / len(reports),
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _over_seeds(values: Sequence[Estimate]) -> tuple[float, float, float]:
    """Mean, and the ends of its interval; nothing of no values."""
    if not values:
        return nan, nan, nan
    mean = mean_over_runs(values)
    return mean.value, mean.low, mean.high


def benchmark(options: Options, own: Mapping[str, Sequence[str]]) -> list[Path]:
    """Does the runs, writes the table and the picture, and returns their paths.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    finished = run_planned(planned_runs(options, own), minutes=options.minutes)
    table = tabulate(finished)
    figure = draw(table, options.backbone)
    return save(figure, table, "benchmark", Path(options.out or options.runs).expanduser())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print_help(Options, COMMAND, EXAMPLES)
        return 0
    return exit_code(lambda: benchmark(*read_words(Options, arguments)))


if __name__ == "__main__":
    sys.exit(main())
