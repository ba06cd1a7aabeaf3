"""k-mers of many sequences at once, as numbers: positions, counts and frequencies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from backbone.sequence.dna import DNA

UNKNOWN = DNA.letters.index("N")
"""Code of N, and of the separator between two sequences."""

LONGEST = 16
"""Length of the longest k-mer: as many bases as fit into 32 bits."""


@dataclass(frozen=True)
class Text:
    """Sequences one after the other, each followed by one unknown base.

    Attributes:
        codes: (L,) uint8: 0 to 3 for A, C, G, T, and `UNKNOWN`.
        starts: (N,) where each sequence begins.
        lengths: (N,) length of each sequence.
        first: Number of the first sequence, in a block of a longer text.
    """

    codes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    first: int = 0

    def row(self, places: np.ndarray) -> np.ndarray:
        """Return the number of the sequence that holds each place of the text."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def blocks(self, bases: int) -> "Iterator[Text]":
        """Yield pieces of whole sequences, of this many bases or of one longer sequence."""
        ends = self.starts + self.lengths + 1
        begin = 0
        while begin < len(ends):
            start = self.starts[begin]
            end = max(begin + 1, int(np.searchsorted(ends, start + bases, side="right")))
            codes = self.codes[start : ends[end - 1]]
            starts, lengths = self.starts[begin:end] - start, self.lengths[begin:end]
            yield Text(codes, starts, lengths, self.first + begin)
            begin = end


def text_of(sequences: Sequence[str]) -> Text:
    """Join cleaned sequences."""
    joined = "".join(f"{sequence}N" for sequence in sequences).encode("ascii")
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
    return Text(DNA.codes[np.frombuffer(joined, dtype=np.uint8)], starts[: len(lengths)], lengths)


@dataclass(frozen=True)
class Kmers:
    """The k-mers of a text that hold no unknown base.

    Attributes:
        places: (W,) where in the text each begins.
        codes: (W,) uint32, the k-mer read as a number to base 4.
        opposite: (W,) uint32, the same of its reverse complement.
    """

    places: np.ndarray
    codes: np.ndarray
    opposite: np.ndarray

    @property
    def canonical(self) -> np.ndarray:
        """(W,) the smaller of the two codes, which stands for a k-mer on either strand."""
        return np.minimum(self.codes, self.opposite)


def kmers_of(text: Text, kmer: int) -> Kmers:
    """Return all k-mers of length `kmer`, at most `LONGEST`, in the order of the text."""
    n = max(len(text.codes) - kmer + 1, 0)
    unknown = np.concatenate([[0], np.cumsum(text.codes == UNKNOWN, dtype=np.int32)])
    places = np.flatnonzero(unknown[kmer:] == unknown[:-kmer]) if n else np.empty(0, dtype=np.int64)
    bases = (text.codes & 3).astype(np.uint32)
    return Kmers(places, _joined(bases, kmer)[places], _joined(3 - bases, -kmer)[places])


def _joined(bases: np.ndarray, kmer: int) -> np.ndarray:
    """Return the k-mer from each place on as a number; read backwards if `kmer` is negative."""
    size, sign = abs(kmer), np.sign(kmer)
    if size == 1:
        return bases
    half = size // 2
    word = _joined(bases, sign * half)
    n = len(bases) - size + 1
    one, two = word[: max(n, 0)], word[half : half + max(n, 0)]
    first, second = (one, two) if sign > 0 else (two, one)
    joined = (first << np.uint32(2 * half)) | second
    if size == 2 * half:
        return joined
    last = bases[2 * half : 2 * half + max(n, 0)]
    if sign > 0:
        return (joined << np.uint32(2)) | last
    return joined | (last << np.uint32(4 * half))


def kmer_counts(sequences: Sequence[str], kmer: int) -> np.ndarray:
    """Return how often each k-mer or its reverse complement is in each sequence, (N, n_kmers).

    Columns are in the order of the canonical k-mers (the smaller of the two in the order ACGT), so
    a sequence and its reverse complement have equal counts.

    Args:
        sequences: N cleaned sequences; k-mers with an N are not counted.
        kmer: Length of the k-mers.
    """
    text = text_of(sequences)
    kmers = kmers_of(text, kmer)
    columns = n_kmers(kmer)
    cells = text.row(kmers.places) * columns + _column(kmer)[kmers.canonical]
    counts = np.bincount(cells, minlength=len(sequences) * columns)
    return counts.reshape(-1, columns).astype(np.float64)


def kmer_frequencies(sequences: Sequence[str], kmer: int = 4) -> np.ndarray:
    """Return `kmer_counts` as shares of each sequence's k-mers; 0 in a sequence without any."""
    counts = kmer_counts(sequences, kmer)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def n_kmers(kmer: int) -> int:
    """Return the number of k-mers when reverse complements are one.

    That is half of 4^k, and half the palindromes, which even lengths have.
    """
    palindromes = 4 ** (kmer // 2) if kmer % 2 == 0 else 0
    return (4**kmer + palindromes) // 2


@lru_cache
def _column(kmer: int) -> np.ndarray:
    """Return the column of each canonical code, (4^k,); 0 for codes that are not canonical."""
    digits = np.arange(4**kmer)[:, None] // 4 ** np.arange(kmer) % 4
    every = np.pad(digits.astype(np.uint8), ((0, 0), (0, 1)), constant_values=UNKNOWN).ravel()
    canonical = np.unique(
        kmers_of(Text(every, np.array([0]), np.array([kmer + 1])), kmer).canonical
    )
    column = np.zeros(4**kmer, dtype=np.int64)
    column[canonical] = np.arange(len(canonical))
    return column
