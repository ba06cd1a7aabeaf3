"""Coordinates of rows in a genome, where their tables have them, and rows as they were published.

The rows of a task have neither: cleaning makes all letters upper case, and most code needs no
coordinates. Here the tables are read again, and rows are identified by their sequence.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from backbone.sequence.bed import Interval, chromosome
from backbone.sequence.dna import normalise
from tasks.sources.tables import column_names, read_columns
from tasks.task import Example, Task

COLUMNS = ("region", "start", "end")
"""Columns that hold an interval, 0-based and half-open."""

NAMES = ("name", "id")
"""Columns whose text may contain one, such as `chr3:100-200|1` or `CHR13_100_200`."""

_DIGITS = re.compile("[0-9]{1,18}")
_INTERVAL = re.compile(r"\b(?:chr)?([0-9]{1,2}|[XYM]|MT|[IVX]+)[:_]([0-9]+)[-_]([0-9]+)\b", re.I)


@dataclass(frozen=True)
class Place:
    """An interval, 0-based and half-open; its chromosome is named as `chromosome` does."""

    chromosome: str
    start: int
    end: int


@dataclass(frozen=True)
class Published:
    """A row as it is in its table.

    Attributes:
        text: The sequence, uncleaned.
        place: Its coordinates, if known.
    """

    text: str
    place: Place | None


@runtime_checkable
class HasTables(Protocol):
    """A source that reads tables of sequences."""

    def tables(self, data: Path | None) -> Sequence[tuple[Path, str]]:
        """Return the tables that `splits` reads, each with its column of sequences."""
        ...


@runtime_checkable
class HasPlaces(Protocol):
    """A source that cuts its rows out of a genome."""

    def places(self) -> Iterable[tuple[str, Interval]]:
        """Yield each row's sequence and interval."""
        ...


def published(task: Task, data: Path | None) -> list[Published]:
    """Return the rows of a task's tables as they were published; none where there are no tables.

    Raises:
        InputError: If a table cannot be read.
    """
    if isinstance(task.source, HasPlaces):
        return [
            Published(text, _place(at.record, str(at.start), str(at.end)))
            for text, at in task.source.places()
        ]
    if not isinstance(task.source, HasTables):
        return []
    return [row for table in task.source.tables(data) for row in _read(*table)]


def places_of(rows: Sequence[Published]) -> dict[str, Place]:
    """Return the place of each cleaned sequence; of a sequence in several places, the first."""
    places: dict[str, Place] = {}
    for row in rows:
        if row.place is not None:
            places.setdefault(normalise(row.text.strip())[0], row.place)
    return places


def texts_of(rows: Sequence[Published]) -> dict[str, str]:
    """Return the published text of each cleaned sequence; of several spellings, the first."""
    texts: dict[str, str] = {}
    for row in rows:
        texts.setdefault(normalise(row.text.strip())[0], row.text.strip())
    return texts


def overlapping(
    examples: Sequence[Example], others: Sequence[Example], places: dict[str, Place]
) -> np.ndarray:
    """Return the largest share of each row that lies in one of the other rows' intervals, (N,).

    NaN where the row's own place is not known.
    """
    by_chromosome: dict[str, list[Place]] = {}
    for other in others:
        place = places.get(other.sequence)
        if place is not None:
            by_chromosome.setdefault(place.chromosome, []).append(place)
    sorted_places = {name: _sorted(found) for name, found in by_chromosome.items()}
    shares = np.full(len(examples), np.nan)
    for row, example in enumerate(examples):
        place = places.get(example.sequence)
        if place is not None:
            shares[row] = _largest_share(place, sorted_places.get(place.chromosome))
    return shares


def _sorted(found: list[Place]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return starts and ends, sorted by start, and the greatest length."""
    array = np.array(sorted({(place.start, place.end) for place in found}))
    return array[:, 0], array[:, 1], int((array[:, 1] - array[:, 0]).max())


def _largest_share(place: Place, others: tuple[np.ndarray, np.ndarray, int] | None) -> float:
    if others is None:
        return 0.0
    starts, ends, longest = others
    first = np.searchsorted(starts, place.start - longest, side="left")
    last = np.searchsorted(starts, place.end, side="left")
    if first == last:
        return 0.0
    shared = np.minimum(ends[first:last], place.end) - np.maximum(starts[first:last], place.start)
    return max(0.0, float(shared.max()) / (place.end - place.start))


def _read(file: Path, sequence: str) -> list[Published]:
    given = column_names(file)
    names = [name for name in (*COLUMNS, *NAMES) if name in given]
    table = read_columns(file, [sequence, *names])
    if set(COLUMNS) <= set(given):
        found = [
            _place(*interval) for interval in zip(*(table[name] for name in COLUMNS), strict=True)
        ]
    else:
        found = [None] * len(table)
        for name in (name for name in NAMES if name in given):
            named = [_INTERVAL.search(text) for text in table[name]]
            found = [
                _place(*match.groups()) if match and place is None else place
                for match, place in zip(named, found, strict=True)
            ]
    return [Published(text, place) for text, place in zip(table[sequence], found, strict=True)]


def _place(record: str, start: str, end: str) -> Place | None:
    if not (_DIGITS.fullmatch(start) and _DIGITS.fullmatch(end) and int(start) < int(end)):
        return None
    return Place(chromosome(record), int(start), int(end))
