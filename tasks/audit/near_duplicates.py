"""Pairs of near-duplicates: copies with substitutions, and overlaps of the same locus.

Two sequences are aligned without gaps at some shift, on either strand. They are relatives if the
overlap covers nearly all (0.95) of the shorter one and at most one base in six differs (a copy), or
if it covers half or more and at most one base in fifty differs (the same locus). The whole overlap
counts, to the end of one of the two: copies of a repeat inside unrelated rows are not relatives,
because their flanks disagree. A copy with insertions or deletions is found if enough of it remains
on one side of them.

Candidates are found by seeds, k-mers that both share. The result depends neither on the order of
the sequences nor on the strand that is given.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from backbone.sequence.dna import reverse_complement
from backbone.sequence.kmers import LONGEST, UNKNOWN, Text, kmers_of, text_of
from tasks.division import canonical_strand

COPY, COPY_DIFFERS = 0.95, 1 / 6
"""Share of the shorter sequence that a copy covers, and of its bases that may differ."""

OVERLAP, OVERLAP_DIFFERS = 0.5, 1 / 50
"""The same for two pieces of one locus."""

LEAST = 30
"""Fewest bases in the overlap of relatives; fewer agree by chance."""

SEEDS_PER_ROW = 128
"""k-mers of a short row that serve as seeds; of longer rows a sample by the hash of the k-mer."""

SEEDS = 16_000_000
"""Most seeds in all."""

ALL_PAIRS = 16
"""Most sequences with one seed that are all compared; of more, each with `NEIGHBOURS` on a side."""

NEIGHBOURS = 4

_LENGTH_FOR = ((300, 16), (150, 14), (100, 12), (70, 11), (0, 10))
"""Length of seeds by length of rows: 1 in 80 copies with 10 % substitutions shares no seed."""

_SAMPLED = 64
_AT_ONCE = 4_000_000
_BLOCK = 1_000_000


def near_duplicates(sequences: Sequence[str]) -> np.ndarray:
    """Find all pairs of relatives.

    Args:
        sequences: N cleaned sequences, no two the same or reverse complements.

    Returns:
        (P, 2) row numbers, the smaller first, ascending.
    """
    strands = [canonical_strand(sequence) for sequence in sequences]
    # A pseudorandom order that depends on the sequences alone.
    order = sorted(range(len(strands)), key=lambda row: _digest(strands[row]))
    ordered = [strands[row] for row in order]
    text = text_of(ordered)
    found = [pair for pair in _verified(text, ordered) if len(pair)]
    if not found:
        return np.empty((0, 2), dtype=np.int64)
    pairs = np.sort(np.array(order, dtype=np.int64)[np.concatenate(found)], axis=1)
    return np.unique(pairs, axis=0)


def _digest(sequence: str) -> bytes:
    return blake2b(sequence.encode("ascii"), digest_size=16).digest()


def _seed_length(lengths: np.ndarray) -> int:
    """Return a length of seeds that suits the shortest tenth of the rows and is rare enough."""
    wanted = next(kmer for least, kmer in _LENGTH_FOR if _short(lengths) >= least)
    # Among n k-mers n^2 / 4^k pairs agree by chance: at most ten million.
    rare = int(np.ceil(np.log(max(float(lengths.sum()), 1.0) ** 2 / 1e7) / np.log(4)))
    return min(max(wanted, rare), LONGEST)


def _short(lengths: np.ndarray) -> float:
    """Return the first decile of the lengths of rows that can have relatives."""
    return float(np.quantile(lengths[lengths >= LEAST], 0.1))


def _verified(text: Text, sequences: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield blocks (P, 2) of pairs of relatives; a pair may come more than once."""
    if not (text.lengths >= LEAST).sum() > 1:
        return
    opposite = text_of([reverse_complement(sequence) for sequence in sequences])
    first, second, strand, shift = _candidates(text, _seed_length(text.lengths))
    for turned, other in ((False, text), (True, opposite)):
        chosen = np.flatnonzero(strand == turned)
        pairs = np.stack([first[chosen], second[chosen]], axis=1)
        yield pairs[_are_relatives(text, other, pairs, shift[chosen])]


def _candidates(text: Text, kmer: int) -> tuple[np.ndarray, ...]:
    """Return pairs that share a seed: rows a < b, whether b is reversed, its shift; (H,) each."""
    keys = [np.empty(0, dtype=np.int64)]
    span = int(text.lengths.max()) + 1
    rows, places, turned, groups = _seeds(text, kmer)
    for one, two in groups:
        a, b = rows[one], rows[two]
        swap = a > b
        one, two = np.where(swap, two, one), np.where(swap, one, two)
        a, b = rows[one], rows[two]
        opposite = turned[one] != turned[two]
        ahead = np.where(opposite, text.lengths[b] - kmer - places[two], places[two])
        shift = places[one] - ahead
        shared = np.minimum(text.lengths[a], shift + text.lengths[b]) - np.maximum(shift, 0)
        keep = (a != b) & (shared >= _needed(text.lengths[a], text.lengths[b]))
        key = ((a * len(text.lengths) + b) * 2 + opposite) * (2 * span) + shift + span
        keys.append(_distinct(key[keep]))
    key = _distinct(np.concatenate(keys))
    pair, shift = np.divmod(key, 2 * span)
    pair, opposite = np.divmod(pair, 2)
    first, second = np.divmod(pair, len(text.lengths))
    return first, second, opposite.astype(bool), shift - span


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Return the distinct keys, ascending; np.unique hashes, which is slower here."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]


def _needed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the shortest overlap of relatives of these lengths."""
    return np.maximum(LEAST, np.ceil(OVERLAP * np.minimum(a, b))).astype(np.int64)


def _allowed(shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how many bases of an overlap may differ."""
    is_copy = shared >= COPY * np.minimum(a, b)
    return np.floor(shared * np.where(is_copy, COPY_DIFFERS, OVERLAP_DIFFERS) + 1e-9)


def _seeds(
    text: Text, kmer: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return rows, positions and strands of the seeds, and blocks of pairs of equal seeds."""
    share = min(1.0, SEEDS_PER_ROW / _short(text.lengths), SEEDS / text.lengths.sum())
    blocks = [_sampled(block, kmer, share) for block in text.blocks(_BLOCK)]
    seeds, rows, places, turned = (np.concatenate(part) for part in zip(*blocks, strict=True))
    # Equal seeds together, and among them the rows in a pseudorandom order.
    drawn = _mixed(seeds.astype(np.uint64) ^ _mixed(rows.astype(np.uint64)))
    order = np.argsort((seeds.astype(np.uint64) << np.uint64(32)) | drawn)
    return rows[order], places[order], turned[order], _equal(seeds[order])


def _sampled(text: Text, kmer: int, share: float) -> tuple[np.ndarray, ...]:
    """Return the seeds of a piece of the text: code, row, position in the row, other strand."""
    words = kmers_of(text, kmer)
    # Multiplicative hashing (Knuth, volume 3, section 6.4): its high bits are well mixed.
    hashed = words.canonical * np.uint32(2654435769)
    kept = np.flatnonzero(hashed <= np.uint32(share * (2**32 - 1)))
    kept = kept[~_is_microsatellite(words.codes[kept], kmer)]
    rows = text.row(words.places[kept])
    places = words.places[kept] - text.starts[rows]
    one, other = words.codes[kept], words.opposite[kept]
    return np.minimum(one, other), text.first + rows, places, other < one


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return 32 pseudorandom bits of a number (uint64), by the finaliser of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (numbers ^ (numbers >> np.uint64(31))) >> np.uint64(32)


def _is_microsatellite(codes: np.ndarray, kmer: int) -> np.ndarray:
    """Return which k-mers repeat one unit of up to four bases, and so are uninformative."""
    found = np.zeros(len(codes), dtype=bool)
    for unit in range(1, 5):
        rest = np.uint32(4 ** (kmer - unit) - 1)
        found |= (codes >> np.uint32(2 * unit)) == (codes & rest)
    return found


def _equal(seeds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of positions in ascending `seeds` that are equal."""
    borders = np.flatnonzero(np.diff(seeds.astype(np.int64), prepend=-1))
    sizes = np.diff(borders, append=len(seeds))
    end = np.repeat(np.cumsum(sizes), sizes)
    small = np.repeat(sizes <= ALL_PAIRS, sizes)
    one = np.flatnonzero(np.repeat(sizes > 1, sizes))
    for apart in range(1, ALL_PAIRS):
        one = one[(one + apart < end[one]) & (small[one] if apart > NEIGHBOURS else True)]
        for block in range(0, len(one), _AT_ONCE):
            yield one[block : block + _AT_ONCE], one[block : block + _AT_ONCE] + apart


def _are_relatives(a: Text, b: Text, pairs: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return which pairs of rows of two texts, aligned at a shift, are relatives, (P,)."""
    one, two = pairs[:, 0], pairs[:, 1]
    begin = np.maximum(shift, 0)
    shared = np.minimum(a.lengths[one], shift + b.lengths[two]) - begin
    allowed = _allowed(shared, a.lengths[one], b.lengths[two])
    from_a, from_b = a.starts[one] + begin, b.starts[two] + begin - shift
    # Most candidates share only a repeat. A sample of their bases shows it: they are dropped if it
    # has four standard errors more mismatches than allowed.
    share = allowed / shared
    most = _SAMPLED * share + 4 * np.sqrt(_SAMPLED * share * (1 - share)) + 1
    good = np.ones(len(pairs), dtype=bool)
    for part in _blocks(np.full(len(pairs), _SAMPLED)):
        places = np.arange(_SAMPLED) * shared[part, None] // _SAMPLED
        differ = _differ(a, b, from_a[part, None] + places, from_b[part, None] + places)
        good[part] = differ.sum(axis=1) <= most[part]
    rest = np.flatnonzero(good)
    for part in _blocks(shared[rest]):
        block = rest[part]
        ends = np.cumsum(shared[block])
        first = ends - shared[block]
        places = np.arange(ends[-1]) - np.repeat(first, shared[block])
        in_a, in_b = (np.repeat(begin[block], shared[block]) for begin in (from_a, from_b))
        differ = np.add.reduceat(_differ(a, b, in_a + places, in_b + places), first, dtype=int)
        good[block] = differ <= allowed[block]
    return good


def _blocks(sizes: np.ndarray) -> Iterator[slice]:
    """Yield slices of about `_AT_ONCE` bases, for entries of these sizes."""
    ends = np.cumsum(sizes)
    borders = np.unique(np.searchsorted(ends, np.arange(0, ends[-1:].sum(), _AT_ONCE), "right"))
    for begin, end in pairwise([*borders.tolist(), len(sizes)]):
        yield slice(begin, end)


def _differ(a: Text, b: Text, in_a: np.ndarray, in_b: np.ndarray) -> np.ndarray:
    """Return where the bases at positions of two texts differ; N differs from all."""
    one, two = a.codes[in_a], b.codes[in_b]
    return (one != two) | (one == UNKNOWN)
