"""Intervals on the records of a genome, and BED files of them.

Coordinates are 0-based and half-open everywhere, as in BED.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from backbone.common.errors import InputError
from backbone.common.files import READ_ERRORS, open_text

_COORDINATE = re.compile("[0-9]{1,18}")  # `int` would take 1_0, blanks and other scripts' digits
_HEADERS = ("track", "browser")


@dataclass(frozen=True)
class Interval:
    """A stretch of a record.

    Attributes:
        record: Name of the record.
        start: First base, counted from 0.
        end: The base after the last one.
        name: Fourth column of BED.
        strand: "+" or "-".
        columns: All columns of its line in a BED file.
        where: File and line, for messages.
    """

    record: str
    start: int
    end: int
    name: str = ""
    strand: str = "+"
    columns: tuple[str, ...] = field(default=(), compare=False, repr=False)
    where: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        """Return the interval as genome browsers write it, with BED coordinates."""
        return f"{self.record}:{self.start}-{self.end}"


def chromosome(name: str) -> str:
    """Return a chromosome's name as all naming styles share it: "1" of chr1 and CHR1, "M" of MT."""
    bare = re.sub("^chr(omosome)?(?=.)", "", name, flags=re.IGNORECASE).upper()
    return "M" if bare == "MT" else bare


def read_bed(path: str | Path) -> list[Interval]:
    """Read a BED file: record, start, end and, if there, name (4th) and strand (6th column).

    The file may be gzipped. Columns are separated by tabs, or in a line without tabs by blanks;
    blank lines, comments (#) and `track` and `browser` lines hold no interval.

    Raises:
        InputError: If the file is missing, damaged or without intervals, or a line is wrong; names
            the first such line.
    """
    intervals = []
    try:
        with open_text(Path(path)) as file:
            for number, line in enumerate(file, start=1):
                columns = _columns(line.rstrip("\n"))
                if columns and not _is_header(columns):
                    intervals.append(_interval(columns, f"{path}, line {number}"))
    except FileNotFoundError as error:
        raise InputError(f"no BED file at {str(path)!r}") from error
    except READ_ERRORS as error:
        raise InputError(f"cannot read the BED file {path}: {error}") from error
    if not intervals:
        raise InputError(f"the BED file {path} contains no interval")
    return intervals


def _columns(line: str) -> tuple[str, ...]:
    if not line.strip():
        return ()
    return tuple(line.split("\t") if "\t" in line else line.split())


def _is_header(columns: tuple[str, ...]) -> bool:
    """Whether a line is a comment or a browser's line; a record may be called `track`, too."""
    if columns[0].startswith("#"):
        return True
    is_interval = len(columns) > 2 and all(map(_COORDINATE.fullmatch, columns[1:3]))
    return columns[0].split(" ")[0] in _HEADERS and not is_interval


def _interval(columns: tuple[str, ...], where: str) -> Interval:
    if len(columns) < 3:
        raise InputError(f"{where}: needs three columns (record, start, end), has {len(columns)}")
    record, *ends = columns[:3]
    if not record.strip():
        raise InputError(f"{where}: has no record name")
    for text in ends:
        if not _COORDINATE.fullmatch(text):
            raise InputError(f"{where}: start and end must be whole numbers, not {text[:20]!r}")
    start, end = map(int, ends)
    if start >= end:
        raise InputError(f"{where}: needs 0 <= start < end, has {start} and {end}")
    strand = columns[5] if len(columns) > 5 else "+"
    if strand not in ("+", "-", "."):
        raise InputError(f"{where}: strand must be +, - or ., is {strand!r}")
    name = columns[3] if len(columns) > 3 else ""
    return Interval(record, start, end, name, "-" if strand == "-" else "+", columns, where)
