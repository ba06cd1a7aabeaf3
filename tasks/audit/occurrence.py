"""Which sequences occur in long texts, letter by letter, on either strand."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from backbone.sequence.dna import reverse_complement

SEED = 32
"""Bases of a seed: as many as fit into 64 bits."""

_CODE = np.zeros(256, dtype=np.uint64)
_CODE[list(b"ACGT")] = range(4)
_CLEAN = re.compile(b"[ACGT]{%d}" % SEED)


def occurring(sequences: Sequence[str], texts: Iterable[bytes]) -> np.ndarray:
    """Finds the sequences that occur in a text exactly, as they are or as reverse complement.

    Each sequence is looked up by the hash of its first 32 letters without N, and compared letter
    by letter where it is found; shorter ones are searched for directly.

    Args:
        sequences: N cleaned sequences; an N is equal to an N alone.
        texts: Cleaned sequences to search in, ASCII.

    Returns:
        (N,) whether each occurs.
    """
    queries = [s.encode() for s in sequences] + [reverse_complement(s).encode() for s in sequences]
    found = np.zeros(len(queries), dtype=bool)
    starts = {i: match.start() for i, q in enumerate(queries) if (match := _CLEAN.search(q))}
    seeded = np.array(list(starts), dtype=int)
    unseeded = [query for query in range(len(queries)) if query not in starts]
    seeds = _codes(b"".join(queries[i][at : at + SEED] for i, at in starts.items()))[::SEED]
    order = np.argsort(seeds, kind="stable")
    seeds, seeded = seeds[order], seeded[order]
    for text in texts:
        for place, query in _places(_codes(text), seeds, seeded):
            start = place - starts[query]
            if not found[query] and start >= 0:
                found[query] = text[start : start + len(queries[query])] == queries[query]
        for query in unseeded:
            found[query] = found[query] or queries[query] in text
    return found[: len(sequences)] | found[len(sequences) :]


def _codes(text: bytes) -> np.ndarray:
    """Two bits a base, of the 32 letters from each position on, (L - 31,); N counts as A."""
    codes = _CODE[np.frombuffer(text, dtype=np.uint8)]
    width = 1
    while width < SEED:
        codes = (codes[: max(len(codes) - width, 0)] << np.uint64(2 * width)) | codes[width:]
        width *= 2
    return codes


def _places(codes: np.ndarray, seeds: np.ndarray, queries: np.ndarray) -> Iterable[tuple[int, int]]:
    """Pairs of a position and a query whose seed is the code there; seeds are ascending."""
    first = np.searchsorted(seeds, codes, side="left")
    positions = np.flatnonzero(first < len(seeds))
    positions = positions[seeds[first[positions]] == codes[positions]]
    first = first[positions]
    last = np.searchsorted(seeds, codes[positions], side="right")
    for position, low, high in zip(positions, first, last, strict=True):
        for query in queries[low:high]:
            yield int(position), int(query)
