"""Which rows of a task a checkpoint saw in pretraining.

A checkpoint's folder may contain `pretraining.bed`: intervals with `train` (seen) or `valid` (held
out) in the fourth column. Its assembly may differ from that of a task's coordinates, so only
chromosomes are compared: rows on a chromosome that was partly seen, and rows on one that was not
seen at all. If the sequences of the corpus are available, rows are searched for in them base by
base.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import backbone.common.errors
from backbone.common.errors import InputError
from backbone.sequence.bed import chromosome, read_bed
from backbone.sequence.dna import DNA, reverse_complement
from tasks.audit.coordinates import Place
from tasks.task import Example

REGIONS = "pretraining.bed"
BUNDLED = Path(backbone.common.errors.__file__).parents[1] / "weights" / "bundled" / REGIONS
"""Regions of the bundled checkpoint."""

SEED = 32
"""Length of a seed: as many bases as fit into 64 bits."""

_CODE = DNA.codes.astype(np.uint64) & np.uint64(3)
_CLEAN = re.compile(b"[ACGT]{%d}" % SEED)


@dataclass(frozen=True)
class Exposure:
    """Which rows lie on chromosomes that a checkpoint saw.

    Attributes:
        seen: (N,) rows on a chromosome of which some was seen.
        unseen: (N,) rows on another one. Rows whose coordinates are not known are neither.
    """

    seen: np.ndarray
    unseen: np.ndarray


def exposure(examples: Sequence[Example], places: dict[str, Place], regions: Path) -> Exposure:
    """Compare rows with the regions that a checkpoint saw.

    Args:
        examples: N rows.
        places: Coordinates by sequence.
        regions: A checkpoint's `pretraining.bed`.

    Raises:
        InputError: If the file is not a BED file, or its fourth column is not train or valid.
    """
    chromosomes = seen_chromosomes(regions)
    known = [places.get(example.sequence) for example in examples]
    seen = np.array([at is not None and at.chromosome in chromosomes for at in known])
    return Exposure(seen, np.array([at is not None for at in known]) & ~seen)


def seen_chromosomes(regions: Path) -> set[str]:
    """Return the chromosomes of which a checkpoint saw some, named as `chromosome` does.

    Raises:
        InputError: If the file is not a BED file, or its fourth column is not train or valid.
    """
    intervals = read_bed(regions)
    for interval in intervals:
        if interval.name not in ("train", "valid"):
            raise InputError(
                f"{interval.where}: the fourth column must be train or valid, not {interval.name!r}"
            )
    return {chromosome(i.record) for i in intervals if i.name == "train"}


def occurring(sequences: Sequence[str], texts: Iterable[bytes]) -> np.ndarray:
    """Find the sequences that occur in a text exactly, as they are or as reverse complement.

    Args:
        sequences: N cleaned sequences; an N matches only an N.
        texts: Cleaned sequences to search in, ASCII.

    Returns:
        (N,) whether each occurs.
    """
    found = np.zeros(len(sequences), dtype=bool)
    search = occurrences(sequences)
    for text in texts:
        for sequence, _ in search(text):
            found[sequence] = True
    return found


def occurrences(sequences: Sequence[str]) -> Callable[[bytes], Iterator[tuple[int, int]]]:
    """Prepare a search for sequences in texts, as they are and as reverse complements.

    Each sequence is looked up by its first 32 bases without N, and compared base by base where
    they are found; sequences without such a stretch are searched for directly.

    Args:
        sequences: N cleaned sequences; an N matches only an N.

    Returns:
        A function of a text that yields the number of a sequence and where it starts, for every
        place at which one occurs.
    """
    count = len(sequences)
    queries = [s.encode() for s in sequences] + [reverse_complement(s).encode() for s in sequences]
    starts = {i: match.start() for i, q in enumerate(queries) if (match := _CLEAN.search(q))}
    seeded = np.array(list(starts), dtype=int)
    unseeded = [query for query in range(len(queries)) if query not in starts]
    seeds = _codes(b"".join(queries[i][at : at + SEED] for i, at in starts.items()))[::SEED]
    order = np.argsort(seeds, kind="stable")
    seeds, seeded = seeds[order], seeded[order]

    def search(text: bytes) -> Iterator[tuple[int, int]]:
        for place, query in _places(_codes(text), seeds, seeded):
            start = place - starts[query]
            if start >= 0 and text[start : start + len(queries[query])] == queries[query]:
                yield query % count, start
        for query in unseeded:
            start = text.find(queries[query])
            while start >= 0:
                yield query % count, start
                start = text.find(queries[query], start + 1)

    return search


def _codes(text: bytes) -> np.ndarray:
    """Return the 32 bases from each position on as a number, (L - 31,); N counts as A."""
    codes = _CODE[np.frombuffer(text, dtype=np.uint8)]
    width = 1
    while width < SEED:
        codes = (codes[: max(len(codes) - width, 0)] << np.uint64(2 * width)) | codes[width:]
        width *= 2
    return codes


def _places(codes: np.ndarray, seeds: np.ndarray, queries: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield pairs of a position and a query whose seed is the code there; seeds ascend."""
    first = np.searchsorted(seeds, codes, side="left")
    positions = np.flatnonzero(first < len(seeds))
    positions = positions[seeds[first[positions]] == codes[positions]]
    first = first[positions]
    last = np.searchsorted(seeds, codes[positions], side="right")
    for position, low, high in zip(positions, first, last, strict=True):
        for query in queries[low:high]:
            yield int(position), int(query)
