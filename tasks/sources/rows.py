"""Rows as they come from one place, cleaned and checked against the labels of a task."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from backbone.common.errors import InputError
from backbone.sequence.dna import normalise
from tasks.task import Example, Task


@dataclass(frozen=True)
class Rows:
    """Cleaned rows of one file or one split.

    Attributes:
        examples: The rows, in their order.
        origin: What they are, as it reads in the middle of a sentence.
        ambiguous_letters: IUPAC letters that were read as N.
    """

    examples: tuple[Example, ...]
    origin: str
    ambiguous_letters: int


def clean(rows: Iterable[tuple[str, object]], task: Task, where: str, origin: str) -> Rows:
    """Clean sequences and read labels.

    Args:
        rows: Pairs of sequence and label. A label is a class name or its number; for a task of
            several labels a 0 or 1 for each, as a list or as text without blanks; or a number.
        task: Whose labels they are.
        where: File or data set, for messages.
        origin: See `Rows`.

    Returns:
        The rows.

    Raises:
        InputError: For the first row that cannot be used; rows are counted from 1, without header.
    """
    read_label = label_reader(task)
    examples = []
    ambiguous_letters = 0
    for row, (raw, given) in enumerate(rows, start=1):
        try:
            label = read_label(given)
        except InputError as error:
            raise InputError(f"{where}: row {row} has the label {error}") from error
        try:
            sequence, ambiguous = normalise(raw.strip(), row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if not sequence:
            raise InputError(f"{where}: row {row} has an empty sequence; remove the row")
        ambiguous_letters += ambiguous
        examples.append(Example(sequence, label))
    if not examples:
        raise InputError(f"{where}: no rows below the header; give a table that has some")
    return Rows(tuple(examples), origin, ambiguous_letters)


def label_reader(task: Task) -> Callable[[object], Any]:
    """What turns a label as it is written into the label of an `Example`.

    The function raises InputError for a label that does not fit the task; its message begins with
    the label.
    """
    readers = {"classes": _class_reader, "multi_label": _labels_reader}
    return _read_number if task.kind == "regression" else readers[task.kind](task.labels)


def _class_reader(labels: tuple[str, ...]) -> Callable[[object], int]:
    number = {name: i for i, name in enumerate(labels)}
    if not any(name.isdecimal() for name in labels):  # else a number is a name, and nothing more
        number |= {str(i): i for i in range(len(labels))}

    def read(given: object) -> int:
        if str(given) not in number:
            declared = ", ".join(f"{i} ({name})" for i, name in enumerate(labels))
            raise InputError(
                f"{str(given)!r}, which the task does not declare; its labels are {declared}"
            )
        return number[str(given)]

    return read


def _labels_reader(labels: tuple[str, ...]) -> Callable[[object], tuple[int, ...]]:
    value: dict[object, int] = {"0": 0, "1": 1, 0: 0, 1: 1}  # signs of a table, numbers of the Hub

    def read(given: object) -> tuple[int, ...]:
        signs = list(given) if isinstance(given, Iterable) else [given]
        if len(signs) != len(labels) or any(sign not in value for sign in signs):
            shown = "".join(map(str, signs))
            shown = shown if len(shown) <= 20 else f"{shown[:20]}..."
            raise InputError(
                f"{shown!r} of {len(signs)} signs; the task has {len(labels)} labels, each 0 or 1"
            )
        return tuple(value[sign] for sign in signs)

    return read


def _read_number(given: object) -> float:
    try:
        number = float(str(given))
    except ValueError as error:
        raise InputError(f"{str(given)!r}, which is no number") from error
    if not math.isfinite(number):
        raise InputError(f"{str(given)!r}; numbers must be finite")
    return number
