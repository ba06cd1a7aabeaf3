"""The division of genomes into training and held-out regions, and windows drawn from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.bed import read_bed
from backbone.sequence.dna import DNA, Alphabet
from backbone.sequence.fasta import LOWER, Genome, Record, Region, find_fasta

SPLITS = ("train", "valid", "test")
ATTEMPTS = 200


@dataclass(frozen=True)
class Division:
    """A genome, its regions for training, and those held out for validation."""

    genome: Genome
    train: tuple[Region, ...]
    valid: tuple[Region, ...]


def divide(
    fasta: Sequence[str],
    valid_fasta: Sequence[str] = (),
    holdout: Sequence[str] = (),
    bed: str | None = None,
    alphabet: Alphabet = DNA,
) -> Division:
    """Divide FASTA files into training and validation regions that share no position.

    Args:
        fasta: Files, folders or globs to train on.
        valid_fasta: Files, folders or globs held out; a file that is in both is held out.
        holdout: Names of records in `fasta` that are held out.
        bed: Intervals with train, valid or test in the fourth column; nothing else is used then,
            and test is left alone. Excludes `valid_fasta` and `holdout`.
        alphabet: The alphabet of the files.

    Raises:
        InputError: If a file cannot be read, a name is unknown, an interval lies outside its
            record or in two splits, or nothing is left to train on.
    """
    if bed is not None:
        if valid_fasta or holdout:
            raise InputError("bed= already divides the genome; drop valid_fasta= and holdout=")
        genome = Genome(find_fasta(fasta), alphabet)
        regions = _regions_of_bed(genome, bed)
    else:
        held_files = {path.resolve(): path for path in find_fasta(valid_fasta)}
        files = [path for path in find_fasta(fasta) if path.resolve() not in held_files]
        genome = Genome([*files, *held_files.values()], alphabet)
        held = {genome.record(name) for name in holdout}
        held.update(r for r in genome.records if r.path.resolve() in held_files)
        regions = {"train": [], "valid": []}
        for record in genome.records:
            split = "valid" if record in held else "train"
            regions[split].append(Region(record, 0, record.length))
    if not regions["train"]:
        raise InputError("nothing is left to train on; hold out less")
    return Division(genome, tuple(regions["train"]), tuple(regions["valid"]))


def _regions_of_bed(genome: Genome, bed: str) -> dict[str, list[Region]]:
    regions: dict[str, list[Region]] = {split: [] for split in SPLITS}
    for interval in read_bed(bed):
        if interval.name not in SPLITS:
            raise InputError(
                f"{interval.where}: the fourth column must be train, valid or test, "
                f"not {interval.name!r}"
            )
        region = Region(genome.check(interval), interval.start, interval.end)
        regions[interval.name].append(region)
    _refuse_overlap(regions, bed)
    return {split: _joined(some) for split, some in regions.items()}


def _joined(regions: Sequence[Region]) -> list[Region]:
    """Join regions that touch or overlap, so that windows may cross and no base counts twice."""
    joined: list[Region] = []
    for region in sorted(regions, key=lambda r: (str(r.record.path), r.record.name, r.start)):
        last = joined[-1] if joined else None
        if last and last.record == region.record and region.start <= last.end:
            joined[-1] = Region(last.record, last.start, max(last.end, region.end))
        else:
            joined.append(region)
    return joined


def _refuse_overlap(regions: dict[str, list[Region]], bed: str) -> None:
    """Raise InputError if two splits share a position of a record."""
    order = sorted(
        ((region, split) for split, some in regions.items() for region in some),
        key=lambda item: (str(item[0].record.path), item[0].record.name, item[0].start),
    )
    reach: dict[tuple[Record, str], int] = {}
    for region, split in order:
        for other in SPLITS:
            if other != split and reach.get((region.record, other), 0) > region.start:
                raise InputError(
                    f"{bed}: {region.record.name}:{region.start}-{region.end} ({split}) "
                    f"overlaps an interval of {other}"
                )
        key = region.record, split
        reach[key] = max(reach.get(key, 0), region.end)


class Windows:
    """Windows of regions, as ASCII codes; draws are functions of their arguments alone."""

    def __init__(
        self,
        genome: Genome,
        regions: Sequence[Region],
        max_unknown: float = 0.1,
        max_soft_masked: float = 1.0,
        keep_case: bool = False,
    ) -> None:
        """Read the regions into memory.

        Args:
            genome: The genome of the regions.
            regions: Every window lies inside one of them.
            max_unknown: Windows with a larger share of N are passed over; 1 keeps all.
            max_soft_masked: Windows with a larger share of lower-case letters are passed over.
            keep_case: Whether soft-masked letters stay in lower case.
        """
        self.max_unknown, self.max_soft_masked = max_unknown, max_soft_masked
        self.alphabet = genome.alphabet
        self._unknown = ord(genome.alphabet.unknown)
        self._regions = [
            genome.stretch(
                region.record, region.start, region.end, keep_case=keep_case or max_soft_masked < 1
            )
            for region in regions
        ]
        self._starts = lru_cache(maxsize=None)(self._count_starts)
        self._usable = lru_cache(maxsize=None)(self._find_usable)

    @property
    def bases(self) -> int:
        """Bases in all regions, including N."""
        return sum(map(len, self._regions))

    def _count_starts(self, length: int) -> np.ndarray:
        """Return the running sum, over the regions, of the places where a window can start."""
        lengths = np.array([len(region) for region in self._regions], dtype=np.int64)
        starts = np.cumsum(np.maximum(lengths - length + 1, 0))
        if len(starts) == 0 or starts[-1] == 0:
            longest = int(lengths.max(initial=0))
            raise InputError(
                f"no region is long enough for a window of {length} bases "
                f"(the longest has {longest}); lower max_seq_len"
            )
        return starts

    def draw(
        self, length: int, seed: int, step: int, row: int, both_strands: bool = True
    ) -> np.ndarray:
        """Draw one window, uniform over all places whose window is not passed over.

        Args:
            length: Bases of the window.
            seed: Seed of the run.
            step: Optimisation step.
            row: Row in the batch of that step.
            both_strands: Whether half of the windows are reverse complemented.

        Returns:
            (length,) uint8.

        Raises:
            InputError: If no region is long enough, or every window is passed over.
        """
        total = self._starts(length)[-1]
        random = np.random.default_rng((seed, step, row))
        for _ in range(ATTEMPTS):
            window = self._at(int(random.integers(total)), length)
            if self._is_usable(window):
                break
        else:  # so few are usable that rejection takes too long: find them all
            usable = self._usable(length)
            window = self._at(int(usable[random.integers(len(usable))]), length)
        if both_strands and random.random() < 0.5:
            return self.alphabet.complements[window[::-1]]
        return window

    def batch(
        self,
        rows: int,
        length: int,
        seed: int,
        step: int,
        first: int = 0,
        both_strands: bool = True,
    ) -> np.ndarray:
        """Draw windows of one step, (rows, length) uint8, from row `first` of the step on."""
        chosen = range(first, first + rows)
        return np.stack([self.draw(length, seed, step, row, both_strands) for row in chosen])

    def tiles(self, length: int, most: int) -> np.ndarray:
        """Cut the regions into windows that do not overlap, at most `most`, evenly chosen.

        Returns:
            (count, length) uint8; the remainder of every region is left out.

        Raises:
            InputError: If every window is passed over.
        """
        self._starts(length)
        found = [
            window
            for region in self._regions
            for window in region[: len(region) // length * length].reshape(-1, length)
            if self._is_usable(window)
        ]
        if not found:
            raise InputError(f"every held-out {self._passed_over(length)}")
        chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
        return np.stack([found[i] for i in chosen])

    def _at(self, place: int, length: int) -> np.ndarray:
        """Return the window at one of the places that `_count_starts` counts."""
        starts = self._starts(length)
        index = int(np.searchsorted(starts, place, side="right"))
        offset = place - (int(starts[index - 1]) if index else 0)
        return self._regions[index][offset : offset + length]

    def _is_usable(self, window: np.ndarray) -> bool:
        unknown, masked = (int(np.count_nonzero(kind)) for kind in self._kinds(window))
        return (
            unknown <= self.max_unknown * len(window)
            and masked <= self.max_soft_masked * len(window)
        )  # fmt: skip

    def _find_usable(self, length: int) -> np.ndarray:
        """Return all places whose window is not passed over, (count,) int64."""
        found, before = [], 0
        for region in self._regions:
            places = len(region) - length + 1
            if places < 1:
                continue
            fits = np.ones(places, dtype=bool)
            for kind, share in zip(
                self._kinds(region), (self.max_unknown, self.max_soft_masked), strict=True
            ):
                sums = np.concatenate([[0], np.cumsum(kind, dtype=np.int32)])
                fits &= sums[length:] - sums[:-length] <= share * length
            found.append(np.flatnonzero(fits) + before)
            before += places
        usable = np.concatenate(found)
        if not len(usable):
            raise InputError(f"every {self._passed_over(length)}")
        return usable

    def _kinds(self, letters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which letters are unknown, and which are soft-masked."""
        return letters & ~LOWER == self._unknown, letters >= ord("a")

    def _passed_over(self, length: int) -> str:
        rich = [f"more than {self.max_unknown:.0%} {chr(self._unknown)}"]
        raised = "max_unknown"
        if self.max_soft_masked < 1:
            rich.append(f"more than {self.max_soft_masked:.0%} in lower case")
            raised += " or max_soft_masked"
        return (
            f"window of {length} bases has {' or '.join(rich)}; "
            f"raise {raised}, or choose other regions"
        )
