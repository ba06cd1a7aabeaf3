"""Sequences longer than a run's rows: windows along them, and a track of the run's scores.

Windows begin every `step` bases, and the last one ends with the sequence. In the track a window's
value stands for the bases that are nearest to its centre, so that every base has one value.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from backbone.common.errors import InputError
from backbone.common.files import atomic_write
from backbone.sequence.bed import Interval
from backbone.sequence.fasta import Genome
from backbone.sequence.tracks import BIGWIG, bedgraph_lines, sorted_apart, write_bigwig

CHUNK = 1024
"""Windows that are read together."""


@dataclass(frozen=True)
class ScanWindow:
    """A window, and the bases of its record that its value stands for."""

    at: Interval
    start: int
    end: int


def window_starts(length: int, window: int, step: int) -> np.ndarray:
    """Return where windows of a sequence begin; a shorter sequence is one window.

    Args:
        length: Bases of the sequence.
        window: Bases of a window.
        step: Bases from one window to the next.
    """
    last = max(0, length - window)
    starts = np.arange(0, last + 1, step)
    return starts if starts[-1] == last else np.append(starts, last)


def windows_of(interval: Interval, window: int, step: int) -> Iterator[ScanWindow]:
    """Yield the windows of an interval from its start on, on its strand."""
    length = interval.end - interval.start
    starts = window_starts(length, window, step)
    centres = starts + min(window, length) // 2
    borders = np.concatenate([[0], (centres[:-1] + centres[1:] + 1) // 2, [length]])
    for i, start in enumerate(starts.tolist()):
        first = interval.start + start
        at = replace(interval, start=first, end=first + min(window, length))
        own = interval.start + borders[i : i + 2]
        yield ScanWindow(at, int(own[0]), int(own[1]))


def scan(
    genome: Genome,
    intervals: Sequence[Interval],
    window: int,
    step: int,
    score: Callable[[Sequence[str]], np.ndarray],
) -> Iterator[tuple[list[ScanWindow], list[str], np.ndarray]]:
    """Yield windows of intervals with their sequences and scores, some at a time.

    Windows without a known base are left out.

    Args:
        genome: The genome.
        intervals: In the order in which they are read.
        window: Bases of a window.
        step: Bases from one window to the next.
        score: Returns the scores (N, C) of N sequences.
    """
    some: list[ScanWindow] = []
    texts: list[str] = []
    for interval in intervals:
        for one in windows_of(interval, window, step):
            text = genome.cut(one.at)
            if not text.strip("N"):
                continue
            some.append(one)
            texts.append(text)
            if len(some) == CHUNK:
                yield some, texts, score(texts)
                some, texts = [], []
    if some:
        yield some, texts, score(texts)


def write_scan(
    genome: Genome,
    intervals: Sequence[Interval],
    found: Callable[[Sequence[Interval]], Iterator[tuple[list[ScanWindow], list[str], np.ndarray]]],
    lines: Callable[[Sequence[Interval], Sequence[str], np.ndarray], str],
    header: str,
    column: int,
    table: Path,
    track: Path,
) -> int:
    """Write the windows of intervals as a table, and one of their scores as a track.

    Args:
        genome: The genome.
        intervals: They may not overlap.
        found: Returns `scan` of intervals in an order.
        lines: Returns the table's lines of some windows.
        header: First line of the table.
        column: Which score the track shows.
        table: The table to write.
        track: The track to write.

    Returns:
        The number of windows.

    Raises:
        InputError: If intervals overlap, or a file cannot be written.
    """
    order = {record.name: i for i, record in enumerate(genome.records)}
    in_order = [intervals[i] for i in sorted_apart(intervals, order)]
    count = 0
    with ExitStack() as files:
        names = [files.enter_context(atomic_write(path)) for path in (table, track)]
        rows, values = (files.enter_context(name.open("w", encoding="utf-8")) for name in names)
        rows.write(header)
        for some, texts, scores in found(in_order):
            rows.write(lines([one.at for one in some], texts, scores))
            _write_track(values, some, scores[:, column])
            count += len(some)
        for file in (rows, values):
            file.close()
        if track.suffix.lower() in BIGWIG and count:
            sizes = [(record.name, record.length) for record in genome.records]
            written = names[1].with_suffix(".bw")
            write_bigwig(names[1], sizes, written)
            written.replace(names[1])
    if not count:
        raise InputError("there is no window with a known base")
    return count


def _write_track(file: IO[str], some: Sequence[ScanWindow], values: np.ndarray) -> None:
    """Write lines of bedGraph; windows of one record stand together."""
    for i, one in enumerate(some):
        where = np.array([one.start]), np.array([one.end])
        file.write(bedgraph_lines(one.at.record, *where, values[i : i + 1]))
