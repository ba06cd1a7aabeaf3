"""Accuracy against the length of the sequence: methods on windows of growing length.

`python -m experiments.lengths recipe=species data=DIR` runs every method on every length and
division (`seed` and `split_seed` move together) and draws what there is. Finished runs are not
repeated: with `minutes` it stops before a run that would begin later, and goes on the next time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import option, read_options
from experiments.common.command import exit_code
from experiments.common.own_options import print_help, read_words
from experiments.common.run_all import Planned, run_planned
from experiments.pictures.lengths import draw
from experiments.pictures.style import save
from icl.config.options import RunConfig, resolve
from icl.methods.catalog import METHODS
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import mean_over_divisions
from tasks.registry import TaskConfig, options_class

COMMAND = "python -m experiments.lengths"
EXAMPLES = (
    ("task.NAME=VALUE", "an option of the task, as task.train_rows=200"),
    ("METHOD.NAME=VALUE", "an option of a method, as soft_prompt.epochs=60"),
)
COLUMNS = (
    "method", "length", "accuracy", "low", "high", "divisions", "n_train", "n_test", "classes",
    "seconds",
)  # fmt: skip


@dataclass
class Options:
    """What the command line can set, beside `task.NAME=VALUE` and `METHOD.NAME=VALUE`."""

    recipe: str | None = option(None, "a kept command line, such as species")
    task: str = option("species", "a task with the option length")
    lengths: list[int] = option([250, 500, 1000, 2000, 4000, 8000], "bases")
    methods: list[str] = option(["kmer_logreg", "linear_probe", "soft_prompt"], "the methods")
    divisions: int = option(3, "seed=split_seed=0, 1, ...")
    k: int = option(16, "prompt tokens, or shots, of methods with a budget")
    data: str | None = option(None, "folder of genomes; falls back to the variable ICL_DATA")
    runs: str = option("runs-lengths", "folder of the runs")
    out: str | None = option(None, "folder of the picture and its table; by default that of runs")
    backbone: str = option("bundled", "a checkpoint's name, or a folder")
    minutes: float | None = option(None, "begin no further run after so long")
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(2, "threads of the arithmetic")


def planned_runs(options: Options, own: Mapping[str, Sequence[str]]) -> list[Planned]:
    """Every run: division by division, lengths from short to long, all methods.

    Args:
        options: What the command line set.
        own: For the task ("task") and for a method its own options, as `name=value`.

    Raises:
        InputError: For options that no run can have.
    """
    if options.divisions < 1 or not options.lengths or not options.methods:
        raise InputError("give at least one of lengths and methods, and divisions=1 or more")
    for name in own:
        if name not in ("task", *options.methods):
            raise InputError(f"{name}.: no method of this run; methods={options.methods}")
    schema = options_class(options.task)
    if "length" not in schema.__dataclass_fields__:
        raise InputError(f"task={options.task} has no option length; species has")
    name = TASKS.get(options.task).name
    task: Any = replace(read_options(schema, own.get("task", ())), name=name)
    planned = []
    for division in range(options.divisions):
        for length in sorted(options.lengths):
            at_length: TaskConfig = replace(task, length=length)
            for method in options.methods:
                title = f"{method}, {length:,} bases, division {division}"
                config = _config(options, at_length, method, own.get(method, ()), division)
                planned.append(Planned(f"{method} {length}", title, config))
    return planned


def _config(
    options: Options, task: TaskConfig, method: str, own: Sequence[str], division: int
) -> RunConfig:
    entry = METHODS.get(method)
    config = RunConfig(
        task=task,
        method=replace(read_options(entry.config, own), name=method),
        k=None if entry.budget is None else options.k,
        seed=division,
        split_seed=division,
        backbone=options.backbone,
        data=options.data,
        out=options.runs,
        device=options.device,
        threads=options.threads,
    )
    return resolve(config)


def tabulate(finished: Sequence[Finished]) -> pd.DataFrame:
    """A row for each method and length, with the columns COLUMNS.

    The interval is Student's t over divisions, whose test windows are other windows, cut off where
    no accuracy can be; of one division it is the bootstrap over its rows.
    """
    groups: dict[tuple[str, int], list[Finished]] = {}
    for done in finished:
        length = int(done.report.setup.config["task"]["length"])
        groups.setdefault((done.report.setup.method, length), []).append(done)
    rows = []
    for (method, length), runs in groups.items():
        reports = [done.report for done in runs]
        accuracy = mean_over_divisions([report.outcome.metrics["accuracy"] for report in reports])
        first = reports[0].setup
        values = (
            method, length, accuracy.value, max(accuracy.low, 0.0), min(accuracy.high, 1.0),
            len(reports), first.n_train, first.n_test, len(first.labels),
            sum(report.environment.seconds for report in reports) / len(reports),
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["method", "length"])


def lengths(options: Options, own: Mapping[str, Sequence[str]]) -> list[Path]:
    """Does the runs, writes the table and the picture, and returns their paths.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    finished = run_planned(planned_runs(options, own), minutes=options.minutes)
    table = tabulate(finished)
    labels = finished[0].report.setup.labels
    figure = draw(table, options.task, labels, options.backbone)
    out = Path(options.out or options.runs).expanduser()
    return save(figure, table, f"lengths_{options.task}", out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print_help(Options, COMMAND, EXAMPLES)
        return 0
    return exit_code(lambda: lengths(*read_words(Options, arguments)))


if __name__ == "__main__":
    sys.exit(main())
