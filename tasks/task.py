"""A task: labelled DNA in three splits, with its labels declared in order."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from backbone.common.errors import InputError
from tasks.division import stratified_sample

SplitName = Literal["train", "val", "test"]
Kind = Literal["classes", "multi_label", "regression"]
"""Kind of label: one class (single-label), a 0 or 1 per label (multi-label), or a number."""
LabelOrder = Literal["declared", "found"]
"""Where the order of the labels comes from: declared, or found by sorting the values of a file."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled sequence.

    Attributes:
        sequence: Cleaned DNA over ACGTN.
        label: By the kind of its task: the index of a class (int), a 0 or 1 for every label
            (tuple of int), or a number (float).
        name: Its identifier, coordinates or line in the source, for people; it changes no result.
        group: What it belongs to, such as a gene or a donor: no division puts rows of one group
            into two parts. Empty for a row on its own.
    """

    sequence: str
    label: Any
    name: str = field(default="", compare=False)
    group: str = field(default="", compare=False)


@dataclass(frozen=True)
class Splits:
    """The rows of one division of a task.

    Attributes:
        train: Rows to learn from; demonstrations come from here.
        val: Rows to choose settings and epochs by.
        test: Rows to score once, at the end.
        origin: One sentence: which files or data set, and how they were divided.
        sha256: Hash of the cleaned rows of the three splits, in order.
        revision: Commit of the Hub data set, where the rows come from there.
        ambiguous_letters: IUPAC letters of the three splits that were read as N.
        notes: How the files were read, a line each: labels, rows left out, columns not used.
    """

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    origin: str
    sha256: str
    revision: str | None = None
    ambiguous_letters: int = 0
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """Where the rows of a task come from."""

    def splits(self, task: "Task", split_seed: int, data: Path | None) -> Splits:
        """Read or draw the rows of a task and divide them; see `Task.splits`."""
        ...


@dataclass(frozen=True)
class Task:
    """A question about DNA.

    Attributes:
        name: Name in reports: that of the registry, or one that its family gives it.
        labels: Names, in order: the classes, the labels of a multi-label task, or the one number
            that is predicted.
        source: Where the rows come from.
        metric: The metric that its literature reports.
        description: One line for the help.
        citation: Paper or data set to cite.
        licence: Terms of the data, as their publisher states them.
        best_accuracy: Expected accuracy of the best possible classifier, where it is known.
        kind: What a row's label is.
        groups: Labels that are also reported together, by the name of their group.
        flaws: What is known to be wrong with the data, a sentence each, with how to find it again.
        label_order: Where the order of the labels comes from. Only a declared order lets a number
            in a file stand for the class at that position.
    """

    name: str
    labels: tuple[str, ...]
    source: Source
    metric: str = "accuracy"
    description: str = ""
    citation: str = ""
    licence: str = ""
    best_accuracy: float | None = None
    kind: Kind = "classes"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flaws: tuple[str, ...] = ()
    label_order: LabelOrder = "declared"

    def splits(self, split_seed: int, data: Path | None = None) -> Splits:
        """Read the task's rows and divide them.

        Args:
            split_seed: Moves every division that is not the data set's own.
            data: Folder with the task's files, or one table of rows; None asks the Hub.

        Returns:
            The three splits; the same arguments and files give the same rows.

        Raises:
            InputError: If the rows cannot be had or used, with what is wrong and what to do.
        """
        return self.source.splits(self, split_seed, data)

    def split(self, name: SplitName, seed: int, data: Path | None = None) -> tuple[Example, ...]:
        """Return one of the three splits; see `splits`."""
        splits = self.splits(seed, data)
        return {"train": splits.train, "val": splits.val, "test": splits.test}[name]


def data_folder(given: str | None) -> Path | None:
    """Return the folder of the data: the one given, else ICL_DATA; None for the Hub."""
    folder = given or os.environ.get("ICL_DATA")
    return Path(folder).expanduser() if folder else None


def make_splits(
    task: Task,
    train: Sequence[Example],
    val: Sequence[Example],
    test: Sequence[Example],
    origin: str,
    revision: str | None = None,
    ambiguous_letters: int = 0,
    notes: Sequence[str] = (),
) -> Splits:
    """Make splits of three lists of rows, with their hash.

    Raises:
        InputError: If a split has no rows, or lacks a class.
    """
    digest = sha256()
    parts = {"train": train, "val": val, "test": test}
    if task.kind == "classes":
        _check_classes(task.labels, parts, origin)
    for name, rows in parts.items():
        if not rows:
            raise InputError(f"there are no rows in {name}: too few rows ({origin})")
        digest.update(f">{name}\n".encode())
        lines = (f"{label_text(row.label)}\t{row.sequence}\n" for row in rows)
        digest.update("".join(lines).encode())
    return Splits(
        tuple(train), tuple(val), tuple(test), origin, digest.hexdigest(), revision,
        ambiguous_letters, tuple(notes),
    )  # fmt: skip


def _check_classes(
    labels: tuple[str, ...], parts: Mapping[str, Sequence[Example]], origin: str
) -> None:
    counts = {name: Counter(row.label for row in rows) for name, rows in parts.items()}
    for label, text in enumerate(labels):
        total = sum(count[label] for count in counts.values())
        for name, count in counts.items():
            if not count[label]:
                rows = "1 row" if total == 1 else f"{total} rows"
                raise InputError(
                    f"class {text!r} has no rows in {name}: only {rows} of this class in total "
                    f"({origin}); add rows or leave the class out"
                )


def label_text(label: Any) -> str:
    """Return a row's label as text, in one form for every kind: `1`, `0110` or `0.25`."""
    return "".join(map(str, label)) if isinstance(label, tuple) else str(label)


def strata(examples: Sequence[Example]) -> list[int]:
    """Return the class of each of N rows to stratify by; 0 for all where there are no classes."""
    return [int(e.label) if isinstance(e.label, int | np.integer) else 0 for e in examples]


def truth(examples: Sequence[Example]) -> np.ndarray:
    """Return the labels of N rows: classes or numbers (N,), or zeros and ones (N, L)."""
    return np.array([example.label for example in examples])


def subset(examples: Sequence[Example], n: int, seed: int) -> tuple[Example, ...]:
    """Draw `n` rows, stratified by class, and return them in their old order.

    Raises:
        InputError: If there are fewer than `n` rows or more than `n` classes.
    """
    rows = stratified_sample(strata(examples), n, seed)
    return tuple(examples[row] for row in rows)
