"""Rows as they come from one place, cleaned and checked against the labels of a task."""

from collections.abc import Iterable
from dataclasses import dataclass

from backbone.dna import normalise
from backbone.errors import InputError
from tasks.task import Example


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


def clean(
    rows: Iterable[tuple[str, object]], labels: tuple[str, ...], where: str, origin: str
) -> Rows:
    """Clean sequences and turn labels into numbers.

    Args:
        rows: Pairs of sequence and label; a label is a class name or its number.
        labels: Class names of the task, in order.
        where: File or data set, for messages.
        origin: See `Rows`.

    Returns:
        The rows.

    Raises:
        InputError: For the first row that cannot be used; rows are counted from 1, without header.
    """
    number = {str(i): i for i in range(len(labels))} | {name: i for i, name in enumerate(labels)}
    examples = []
    ambiguous_letters = 0
    for row, (raw, label) in enumerate(rows, start=1):
        if str(label) not in number:
            declared = ", ".join(f"{i} ({name})" for i, name in enumerate(labels))
            raise InputError(
                f"{where}: row {row} has the label {str(label)!r}, which the task does not "
                f"declare; its labels are {declared}"
            )
        try:
            sequence, ambiguous = normalise(raw.strip(), row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if not sequence:
            raise InputError(f"{where}: row {row} has an empty sequence; remove the row")
        ambiguous_letters += ambiguous
        examples.append(Example(sequence, number[str(label)]))
    if not examples:
        raise InputError(f"{where}: no rows below the header; give a table that has some")
    return Rows(tuple(examples), origin, ambiguous_letters)
