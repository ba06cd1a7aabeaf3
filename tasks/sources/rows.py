"""Rows as they come from one place, cleaned and checked against the labels of a task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backbone.common.errors import InputError
from backbone.sequence.dna import normalise
from tasks.sources.labels import LabelReader, is_missing
from tasks.task import Example, Task

Missing = Literal["error", "drop"]
"""What happens to a row without a sequence or a label."""


@dataclass(frozen=True)
class PartRows:
    """Cleaned rows of one file or one split.

    Attributes:
        examples: The rows, in their order.
        origin: What they are, as a phrase for the middle of a sentence.
        ambiguous_letters: IUPAC letters that were read as N.
        labels_read: How the labels were read, in words.
        notes: What else was read in another way than written, a line each.
    """

    examples: tuple[Example, ...]
    origin: str
    ambiguous_letters: int
    labels_read: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class _Lacking:
    """Rows without a label or a sequence: how many, and where the first one stands."""

    first: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, place: str) -> None:
        """Count one row."""
        self.first.setdefault(what, place)
        self.counts[what] = self.counts.get(what, 0) + 1

    def text(self) -> str:
        """Return the counts as text."""
        return " and ".join(
            f"{count} {'row' if count == 1 else 'rows'} without a {what} (first: "
            f"{self.first[what]})"
            for what, count in self.counts.items()
        )


def clean(
    rows: Iterable[tuple[object, object]],
    task: Task,
    where: str,
    origin: str,
    *,
    places: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    missing: Missing | None = None,
    notes: Sequence[str] = (),
) -> PartRows:
    """Clean sequences and read labels.

    Args:
        rows: Pairs of sequence and label, as `LabelReader` takes it.
        task: Whose labels they are.
        where: File or data set, for messages.
        origin: See `PartRows`.
        places: Where each row stands, as "line 2"; None counts rows from 1.
        names: Name of each row; by default its place.
        groups: Group of each row; empty for a row on its own.
        missing: What happens to a row without a sequence or a label; None is an error, for a task
            that has no such option.
        notes: See `PartRows`.

    Raises:
        InputError: For the first row that cannot be used, or with the number of rows that lack a
            label or a sequence.
    """
    read_label = LabelReader(task)
    examples: list[Example] = []
    lacking = _Lacking()
    ambiguous_letters = 0
    unsure: list[str] = []
    for row, (given, label) in enumerate(rows, start=1):
        place = f"row {row}" if places is None else places[row - 1]
        sequence = given.strip() if isinstance(given, str) else given or ""
        if not isinstance(sequence, str):
            raise InputError(f"{where}: {place} has {str(given)[:20]!r} as its sequence")
        if not sequence or is_missing(label):
            lacking.add("label" if sequence else "sequence", place)
            continue
        try:
            value = read_label(label)
        except InputError as error:
            raise InputError(f"{where}: {place} has the label {error}") from error
        if sequence.upper() in ("NA", "NAN"):
            unsure.append(place)
        bases, ambiguous = _bases(sequence, where, place)
        ambiguous_letters += ambiguous
        name = "" if names is None else names[row - 1].strip()
        group = "" if groups is None else groups[row - 1].strip()
        examples.append(Example(bases, value, name or place, group))
    if lacking.counts and missing != "drop":
        hint = "fill them in or remove the rows"
        if missing is not None:
            hint = "fill them in, or give task.missing=drop to leave these rows out"
        raise InputError(f"{where}: {lacking.text()}; {hint}")
    if not examples:
        raise InputError(f"{where}: no rows below the header; give a table that has some")
    said = list(notes)
    if lacking.counts:
        said.append(f"{lacking.text()} dropped from {origin}")
    if unsure:
        said.append(f"{len(unsure)} sequences NA or NAN of {origin} read as DNA ({unsure[0]})")
    return PartRows(
        tuple(examples), origin, ambiguous_letters, read_label.summary(), tuple(said)
    )  # fmt: skip


def _bases(sequence: str, where: str, place: str) -> tuple[str, int]:
    """Return the cleaned sequence and the number of letters read as N."""
    try:
        return normalise(sequence)
    except InputError as error:
        raise InputError(f"{where}: {place}{str(error).removeprefix('row 0')}") from error
