"""Rows drawn for tests of audits, and what makes a task of them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.task import Example, Splits, Task, make_splits


def dna(n, length, seed=0, shares=(0.25, 0.25, 0.25, 0.25)):
    """`n` random sequences over ACGT."""
    random = np.random.default_rng(seed)
    return ["".join(row) for row in random.choice(list("ACGT"), size=(n, length), p=shares)]


def labelled(sequences, start=0):
    """Examples whose classes take turns."""
    return tuple(Example(s, (start + i) % 2) for i, s in enumerate(sequences))


def task_of(kind="classes", labels=("no", "yes"), source=None, name="made_up"):
    return Task(name, labels, source or Given(), kind=kind)


def splits_of(train, val, test, task=None):
    return make_splits(task or task_of(), train, val, test, "rows of a test")


@dataclass
class Given:
    """A source of rows that are given, with the tables that they are said to come from."""

    train: tuple[Example, ...] = ()
    val: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    files: list[Path] = field(default_factory=list)

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        return splits_of(self.train, self.val, self.test, task)

    def tables(self, data: Path | None) -> list[tuple[Path, str]]:
        return [(file, "sequence") for file in self.files]
