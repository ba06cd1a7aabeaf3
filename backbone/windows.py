"""Which bases are for training, which are held out, and windows drawn from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from backbone.dna import ALPHABET, reverse_complement
from backbone.errors import InputError
from backbone.genome import Genome, Record, find_fasta, read_bed

UNKNOWN = ord("N")
SPLITS = ("train", "valid", "test")
ATTEMPTS = 200

COMPLEMENT = np.arange(256, dtype=np.uint8)
COMPLEMENT[list(ALPHABET.encode())] = list(reverse_complement(ALPHABET)[::-1].encode())


@dataclass(frozen=True)
class Region:
    """A stretch of a record that windows may be cut from; coordinates as in BED."""

    record: Record
    start: int
    end: int


@dataclass(frozen=True)
class Division:
    """A genome, and which of its regions train and which are held out for validation."""

    genome: Genome
    train: tuple[Region, ...]
    valid: tuple[Region, ...]


def divide(
    fasta: Sequence[str],
    valid_fasta: Sequence[str] = (),
    holdout: Sequence[str] = (),
    bed: str | None = None,
) -> Division:
    """Divides FASTA files into training and validation regions that share no position.

    Args:
        fasta: files, folders or globs to train on.
        valid_fasta: files, folders or globs held out; a file that is in both is held out.
        holdout: names of records in `fasta` that are held out.
        bed: intervals with train, valid or test in the fourth column; only these are used then,
            and test is not touched. Cannot be combined with the two other ways.

    Raises:
        InputError: for what cannot be read, unknown names, intervals outside their record or in
            two splits, or if nothing is left to train on.
    """
    if bed is not None:
        if valid_fasta or holdout:
            raise InputError("bed= already divides the genome; drop valid_fasta= and holdout=")
        genome = Genome(find_fasta(fasta))
        regions = _regions_of_bed(genome, bed)
    else:
        held_files = {path.resolve(): path for path in find_fasta(valid_fasta)}
        files = [path for path in find_fasta(fasta) if path.resolve() not in held_files]
        genome = Genome([*files, *held_files.values()])
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
                f"{bed}: {interval} has {interval.name!r} as its fourth column; "
                f"it must be train, valid or test"
            )
        regions[interval.name].append(Region(genome.check(interval), interval.start, interval.end))
    _refuse_overlap(regions, bed)
    return regions


def _refuse_overlap(regions: dict[str, list[Region]], bed: str) -> None:
    """Raises InputError if two splits share a position of a record."""
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
    """Windows of regions, as ASCII codes; what is drawn depends on the arguments alone."""

    def __init__(self, genome: Genome, regions: Sequence[Region], max_unknown: float = 0.1) -> None:
        """Reads the regions into memory.

        Args:
            genome: where the regions lie.
            regions: every window lies inside one of them.
            max_unknown: windows with a larger share of N are passed over.
        """
        self.max_unknown = max_unknown
        self._regions = [genome.letters(r.record)[r.start : r.end] for r in regions]
        self._starts = lru_cache(maxsize=None)(self._count_starts)

    @property
    def bases(self) -> int:
        """Bases in all regions, N included."""
        return sum(map(len, self._regions))

    def _count_starts(self, length: int) -> np.ndarray:
        """Running sum, over the regions, of the places where a window can start."""
        lengths = np.array([len(region) for region in self._regions], dtype=np.int64)
        starts = np.cumsum(np.maximum(lengths - length + 1, 0))
        if len(starts) == 0 or starts[-1] == 0:
            longest = int(lengths.max(initial=0))
            raise InputError(
                f"no region is long enough for a window of {length} bases "
                f"(the longest has {longest}); lower max_seq_len"
            )
        return starts

    def draw(self, length: int, seed: int, step: int, row: int) -> np.ndarray:
        """Draws one window, uniform over all places, reversed and complemented half of the time.

        Args:
            length: bases.
            seed: of the run.
            step: optimisation step.
            row: place in the batch of that step.

        Returns:
            (length,) uint8.

        Raises:
            InputError: if no region is long enough, or windows rich in N are all that is found.
        """
        starts = self._starts(length)
        random = np.random.default_rng((seed, step, row))
        for _ in range(ATTEMPTS):
            place = int(random.integers(starts[-1]))
            index = int(np.searchsorted(starts, place, side="right"))
            offset = place - (int(starts[index - 1]) if index else 0)
            window = self._regions[index][offset : offset + length]
            if self._is_known(window):
                return COMPLEMENT[window[::-1]] if random.random() < 0.5 else window
        raise InputError(
            f"{ATTEMPTS} windows of {length} bases in a row had more than "
            f"{self.max_unknown:.0%} N; raise max_unknown or choose other regions"
        )

    def batch(self, rows: int, length: int, seed: int, step: int) -> np.ndarray:
        """Draws the windows of one step, (rows, length) uint8."""
        return np.stack([self.draw(length, seed, step, row) for row in range(rows)])

    def tiles(self, length: int, most: int) -> np.ndarray:
        """Cuts the regions into windows that do not overlap, at most `most`, evenly chosen.

        Returns:
            (count, length) uint8; the remainder of every region is left out.

        Raises:
            InputError: if no window without too much N is left.
        """
        self._starts(length)
        found = [
            window
            for region in self._regions
            for window in region[: len(region) // length * length].reshape(-1, length)
            if self._is_known(window)
        ]
        if not found:
            raise InputError(f"every held-out window of {length} bases is rich in N")
        chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
        return np.stack([found[i] for i in chosen])

    def _is_known(self, window: np.ndarray) -> bool:
        return int(np.count_nonzero(window == UNKNOWN)) <= self.max_unknown * len(window)
