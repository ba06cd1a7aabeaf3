"""Tracks: numbers along a genome, as bedGraph text or as BigWig.

Coordinates are 0-based and half-open in both formats (UCSC Genome Browser, "BedGraph Track
Format"). BigWig is written through pyBigWig, which `pip install 'genomic-icl[tracks]'` brings.
"""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from backbone.common.errors import InputError
from backbone.common.files import atomic_write
from backbone.sequence.bed import Interval

BEDGRAPH, BIGWIG = (".bedgraph", ".bdg", ".bg"), (".bw", ".bigwig")
"""Ends of the names of tracks, by format."""

ENTRIES = 1 << 16
"""Lines that are handed to a BigWig file at once."""


def check_track(path: str, option: str = "track") -> None:
    """Refuse a track whose format cannot be told or written.

    Raises:
        InputError: If the name ends in neither format's way, its folder is missing, or pyBigWig is.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (*BEDGRAPH, *BIGWIG):
        raise InputError(f"{option}={path}: the name must end in .bedgraph or .bw")
    if not Path(path).expanduser().parent.is_dir():
        raise InputError(f"{option}={path}: there is no folder {Path(path).parent}")
    if suffix in BIGWIG and importlib.util.find_spec("pyBigWig") is None:
        raise InputError(
            f"{option}={path} needs pyBigWig: pip install 'genomic-icl[tracks]', or write .bedgraph"
        )


def sorted_apart(intervals: Sequence[Interval], order: Mapping[str, int]) -> list[int]:
    """Return the order of intervals along the genome, for tracks, in which none may overlap.

    Args:
        intervals: N intervals.
        order: Position of each record among all.

    Returns:
        The N numbers of the intervals in that order.

    Raises:
        InputError: If two intervals overlap; names both.
    """

    def place(number: int) -> tuple[int, int]:
        return order[intervals[number].record], intervals[number].start

    numbers = sorted(range(len(intervals)), key=place)
    for one, other in zip(numbers, numbers[1:], strict=False):
        a, b = intervals[one], intervals[other]
        if a.record == b.record and b.start < a.end:
            raise InputError(f"intervals {a} and {b} overlap: a track has one value at a place")
    return numbers


def bedgraph_lines(record: str, starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> str:
    """Return lines of bedGraph for N stretches of a record, without those whose value is NaN."""
    kept = np.flatnonzero(~np.isnan(values))
    return "".join(f"{record}\t{starts[i]}\t{ends[i]}\t{values[i]:.5g}\n" for i in kept)


def write_bigwig(bedgraph: Path, sizes: Iterable[tuple[str, int]], out: Path) -> None:
    """Write a sorted bedGraph file as BigWig.

    Args:
        bedgraph: The file, in the order of `sizes`.
        sizes: Names and lengths of the records.
        out: The file to write.

    Raises:
        InputError: If it cannot be written.
    """
    import pyBigWig

    with atomic_write(out) as temporary, bedgraph.open(encoding="utf-8") as lines:
        track = pyBigWig.open(str(temporary), "w")
        track.addHeader(list(sizes))
        while some := list(islice(lines, ENTRIES)):
            records, starts, ends, values = zip(*(line.split("\t") for line in some), strict=True)
            track.addEntries(
                list(records),
                list(map(int, starts)),
                ends=list(map(int, ends)),
                values=list(map(float, values)),
            )
        track.close()
