"""Genomes as pools of windows: places in a record, in a genome, or anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backbone.common.errors import InputError
from backbone.pretraining.windows import Division
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.dna import DNA
from backbone.sequence.fasta import LOWER, Genome, Region

_UNKNOWN = ord(DNA.unknown)
ATTEMPTS = 20


class Runs:
    """Some positions of a region, as runs: what a repeat takes is one number, however long."""

    def __init__(self, starts: np.ndarray, ends: np.ndarray) -> None:
        """Keep the runs.

        Args:
            starts: (R,) first positions, ascending.
            ends: (R,) the positions after the last ones; runs do not touch.
        """
        self.starts, self.ends = starts, ends
        self._before = np.concatenate([[0], np.cumsum(ends - starts)])

    @classmethod
    def where(cls, chosen: np.ndarray) -> "Runs":
        """Return the positions at which an array (L,) bool is true."""
        edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0))
        return cls(edges[::2], edges[1::2])

    def __len__(self) -> int:
        """Return the number of positions."""
        return int(self._before[-1])

    def __getitem__(self, number: int) -> int:
        """Return a position by its number among them."""
        run = int(np.searchsorted(self._before, number, side="right")) - 1
        return int(self.starts[run] + number - self._before[run])

    def within(self, start: int, end: int) -> int:
        """Return how many of them lie in an interval."""
        return self._until(end) - self._until(start)

    def others(self, length: int) -> "Runs":
        """Return the other positions of a region of that length."""
        starts, ends = np.append(0, self.ends), np.append(self.starts, length)
        return Runs(starts[starts < ends], ends[starts < ends])

    def _until(self, position: int) -> int:
        """Return how many lie before a position."""
        run = int(np.searchsorted(self.starts, position))
        cut = max(0, int(self.ends[run - 1]) - position) if run else 0
        return int(self._before[run]) - cut


NOWHERE = Runs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Stretch:
    """A region of a genome in memory.

    Attributes:
        genome: Name of its genome.
        letters: (L,) uint8, ASCII codes of capitals; N where nothing may be drawn.
        masked: Positions in lower case in the FASTA file, which marks repeats.
    """

    genome: str
    letters: np.ndarray
    masked: Runs = field(default=NOWHERE)


class Genomes:
    """Regions of several genomes, from which windows are drawn."""

    def __init__(self, stretches: Sequence[Stretch], max_unknown: float = 0.1) -> None:
        """Keep the regions.

        Args:
            stretches: The regions.
            max_unknown: Windows with a larger share of N are drawn again.

        Raises:
            InputError: If there is no region, or all of them are N.
        """
        self.stretches, self.max_unknown = list(stretches), max_unknown
        known = [int((s.letters != _UNKNOWN).sum()) for s in self.stretches]
        if not sum(known):
            raise InputError("the genomes contain no A, C, G or T that may be drawn")
        self._shares = np.array(known) / sum(known)
        self.names = sorted({s.genome for s in self.stretches})

    def stretch(self, random: np.random.Generator, genome: str | None = None) -> Stretch:
        """Draw a region by its number of bases, of one genome or of all."""
        shares = self._shares
        if genome is not None:
            shares = shares * [s.genome == genome for s in self.stretches]
        return self.stretches[int(random.choice(len(shares), p=shares / shares.sum()))]

    def window(
        self,
        random: np.random.Generator,
        stretch: Stretch,
        length: int,
        span: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Draw a window inside a region, or inside a span of it.

        A window with too many N is drawn again, at most 20 times; a region shorter than the window
        is returned whole.
        """
        low, high = span or (0, len(stretch.letters))
        last = max(low, high - length)
        window = stretch.letters[low : low + length]
        for _ in range(ATTEMPTS):
            start = int(random.integers(low, last + 1))
            window = stretch.letters[start : min(start + length, high)]
            if self.is_known(window):
                break
        return window

    def is_known(self, window: np.ndarray) -> bool:
        """Return whether a window has no more N than may be drawn."""
        return bool((window == _UNKNOWN).sum() <= self.max_unknown * len(window))

    def anywhere(self, random: np.random.Generator, length: int, genome: str | None) -> np.ndarray:
        """Draw a window of one genome, or of all."""
        return self.window(random, self.stretch(random, genome), length)

    def some_genome(self, random: np.random.Generator) -> str:
        """Draw a genome, each with the same probability."""
        return self.names[int(random.integers(len(self.names)))]


def read_genomes(
    divisions: Mapping[str, Division],
    part: str,
    exclude: Sequence[str] = (),
    max_unknown: float = 0.1,
) -> Genomes | None:
    """Read the regions of some genomes into memory.

    Args:
        divisions: Each genome's division, by its name.
        part: "train" or "valid".
        exclude: BED files of intervals that become N, such as those of labelled rows.
        max_unknown: See `Genomes`.

    Returns:
        The genomes; None if there is no such region.

    Raises:
        InputError: If a file cannot be read or names none of the records, or an interval ends
            after its record.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for path in exclude:
        for interval in _known(read_bed(path), path, divisions):
            spans.setdefault(interval.record, []).append((interval.start, interval.end))
    stretches = [
        _stretch(name, division.genome, region, spans.get(region.record.name, []))
        for name, division in divisions.items()
        for region in (division.train if part == "train" else division.valid)
    ]
    return Genomes(stretches, max_unknown) if stretches else None


def _stretch(
    name: str, genome: Genome, region: Region, spans: Sequence[tuple[int, int]]
) -> Stretch:
    cased = genome.stretch(region.record, region.start, region.end, keep_case=True)
    letters = cased & ~LOWER
    for start, end in spans:
        letters[max(0, start - region.start) : max(0, end - region.start)] = _UNKNOWN
    return Stretch(name, letters, Runs.where(cased >= ord("a")))


def _known(
    intervals: Sequence[Interval], path: str, divisions: Mapping[str, Division]
) -> list[Interval]:
    """Return the intervals on records of the genomes; a file may name those of other genomes."""
    lengths = {r.name: r.length for division in divisions.values() for r in division.genome.records}
    known = [interval for interval in intervals if interval.record in lengths]
    if not known:
        raise InputError(
            f"exclude: no genome has a record that {path} names, such as {intervals[0].record!r}"
        )
    for interval in known:
        if interval.end > lengths[interval.record]:
            raise InputError(
                f"{interval.where}: {interval} ends beyond its record, which has "
                f"{lengths[interval.record]} bases"
            )
    return known
