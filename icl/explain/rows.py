"""The rows that are explained: of a task, or of FASTA files, where their coordinates are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.fasta import Genome, find_fasta
from icl.config.options import from_dict
from icl.predict import cut_of_run, interval_read
from icl.reporting.report import Report
from icl.rows import divided, rows_of
from tasks.kinds import TASK_KINDS, kind_of
from tasks.registry import build_task, default_options
from tasks.sets.synthetic import planted_bases
from tasks.task import Example, Task, label_text, subset


@dataclass(frozen=True)
class Rows:
    """Some sequences with what is known about them.

    Attributes:
        names: (N,) the row's number among the test rows, or its record's name.
        sequences: (N,) over ACGTN, as the run reads them.
        labels: (N,) texts; empty where they are not known.
        intervals: (N,) where they lie; empty where that is not known.
        planted: (N, L) which bases carry a planted signal; None where that is not known.
        source: Where they come from, for tables and pictures.
    """

    names: Sequence[str]
    sequences: Sequence[str]
    labels: Sequence[str]
    intervals: Sequence[Interval]
    planted: np.ndarray | None
    source: str


def task_of(report: Report, name: str | None) -> Task:
    """Return the task whose rows are explained: the run's own, or another one of its kind.

    Raises:
        InputError: If the name is unknown, or rows of the task are none that the run can read.
    """
    own = from_dict(report.setup.config).task
    task = build_task(own if name in (None, own.name) else default_options(str(name)))
    if task.kind != report.setup.kind:
        raise InputError(
            f"task={task.name} is {kind_of(task).description}, and the run's task is "
            f"{TASK_KINDS[report.setup.kind].description}"
        )
    return task


def rows_of_task(report: Report, task: Task, data: str | None, count: int, seed: int) -> Rows:
    """Return some test rows of a task, equally drawn from its classes, as a run reads them.

    Args:
        report: Of the run.
        task: The run's own task or another one.
        data: Folder of tables; None takes the run's own.
        count: How many rows; all if there are fewer.
        seed: Decides which.

    Raises:
        InputError: If the rows cannot be had.
    """
    config = from_dict(report.setup.config)
    config = replace(config, data=data or config.data, strict=False)
    if task.name != report.setup.task:
        config = replace(config, split="official")
    splits = divided(config, task)
    test = splits.test if len(splits.test) <= count else subset(splits.test, count, seed)
    number = {id(example): row for row, example in enumerate(splits.test)}
    cut = cut_of_run(report)
    sequences = [e.sequence if cut is None else cut.text(e.sequence) for e in test]
    named = report.setup.kind == "classes"
    return Rows(
        [str(number[id(example)]) for example in test],
        sequences,
        [task.labels[e.label] if named else label_text(e.label) for e in test],
        [],
        planted_bases(task, sequences),
        f"{len(test)} test rows of {task.name}",
    )


def splits_of(
    report: Report, data: str | None
) -> tuple[Sequence[Example], Sequence[Example], Sequence[Example]]:
    """Return the training, validation and scored rows of a run, as it reads them.

    Raises:
        InputError: If they cannot be had.
    """
    config = from_dict(report.setup.config)
    config = replace(config, data=data or config.data)
    rows, cut = rows_of(config, divided(config, build_task(config.task))), cut_of_run(report)
    parts = (rows.train, rows.val, rows.evaluated)
    train, val, test = parts if cut is None else map(cut.rows, parts)
    return train, val, test


def rows_of_fasta(report: Report, fasta: str, bed: str | None) -> Rows:
    """Return the records of FASTA files, or intervals of them, as a run reads them.

    Raises:
        InputError: If a file cannot be read, or an interval does not lie on its record.
    """
    genome = Genome(find_fasta([fasta]))
    if bed is None:
        intervals = [Interval(r.name, 0, r.length, r.name) for r in genome.records]
    else:
        intervals = read_bed(Path(bed).expanduser())
    for interval in intervals:
        genome.check(interval)
    cut = cut_of_run(report)
    if cut is not None:
        intervals = [interval_read(interval, cut) for interval in intervals]
    sequences = [genome.cut(interval) for interval in intervals]
    names = [interval.name or str(interval) for interval in intervals]
    return Rows(names, sequences, [], intervals, None, f"{len(sequences)} sequences of {fasta}")


def output_of(report: Report, name: str | None) -> int | None:
    """Return which output of a run is explained; None for the likeliest one of each row.

    By default that is the second of two classes.

    Raises:
        InputError: If the run has no class or label of that name.
    """
    labels = report.setup.labels
    if name is None:
        return 1 if report.setup.kind == "classes" and len(labels) == 2 else None
    if name not in labels:
        raise unknown("class", name, labels)
    return labels.index(name)
