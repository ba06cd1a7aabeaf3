"""How near a query the rows of a pool are: by k-mers, frozen states, or GC content and length."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from backbone.sequence.dna import gc_content

Embed = Callable[[Sequence[str]], np.ndarray]
"""N sequences -> (N, D), a row's vector being a function of its sequence alone."""

KMER = 4
"""Length of the k-mers that similarity goes by: 136 strand-blind words; 200 bases fill them."""


class Similarity(Protocol):
    """Compares a query with all rows of a pool."""

    def to(self, sequence: str) -> np.ndarray:
        """Similarity of each row of the pool to a sequence, (N,); more is nearer."""
        ...


class Cosine:
    """Cosine between vectors of the pool's rows and of a query."""

    def __init__(self, pool: Sequence[str], embed: Embed) -> None:
        """Embeds the pool, once."""
        self._embed = embed
        self._vectors = _unit(embed(pool))

    def to(self, sequence: str) -> np.ndarray:
        """Cosine of each row to a sequence, (N,)."""
        return self._vectors @ _unit(self._embed([sequence]))[0]

    def between(self, row: int) -> np.ndarray:
        """Cosine of each row to a row of the pool, (N,)."""
        return self._vectors @ self._vectors[row]


class GcAndLength:
    """Nearness in GC content and length, each in standard deviations of the pool."""

    def __init__(self, pool: Sequence[str]) -> None:
        """Measures the pool, once."""
        self._values = np.array([_gc_and_length(s) for s in pool])
        spread = self._values.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)

    def to(self, sequence: str) -> np.ndarray:
        """Negative Euclidean distance of each row to a sequence, (N,)."""
        difference = (self._values - _gc_and_length(sequence)) / self._scale
        return -np.sqrt((difference**2).sum(axis=1))


def kmer_vectors(sequences: Sequence[str], kmer: int = KMER) -> np.ndarray:
    """Shares of the k-mers of N sequences, (N, n_words); see `kmer_frequencies`."""
    return np.stack([kmer_frequencies(sequence, kmer) for sequence in sequences])


def kmer_frequencies(sequence: str, kmer: int) -> np.ndarray:
    """Share of each word among a sequence's k-mers, (n_words,) float64.

    A word and its reverse complement are one word; the smaller of the two in the order ACGT stands
    for both, and words are in that order. A k-mer that holds N is not counted; without any
    countable k-mer all shares are 0.
    """
    letters = _DIGIT[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    n_kmers = len(letters) - kmer + 1
    if n_kmers < 1:
        return np.zeros(n_words(kmer))
    windows = np.lib.stride_tricks.sliding_window_view(letters, kmer)
    codes = (windows @ _powers(kmer))[(windows >= 0).all(axis=1)]
    counts = np.bincount(_word_of_code(kmer)[codes], minlength=n_words(kmer))
    return counts / max(codes.size, 1)


def n_words(kmer: int) -> int:
    """Words of a length when reverse complements are one: half of 4^k, and half the palindromes."""
    palindromes = 4 ** (kmer // 2) if kmer % 2 == 0 else 0
    return (4**kmer + palindromes) // 2


def _gc_and_length(sequence: str) -> tuple[float, int]:
    return gc_content(sequence), len(sequence)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, (N, D) float64; zeros stay zeros."""
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def _powers(kmer: int) -> np.ndarray:
    return 4 ** np.arange(kmer - 1, -1, -1)


@lru_cache
def _word_of_code(kmer: int) -> np.ndarray:
    """(4^k,): which word each k-mer, read as a number to base 4, counts for."""
    codes = np.arange(4**kmer)
    digits = codes[:, None] // _powers(kmer) % 4
    opposite = (3 - digits[:, ::-1]) @ _powers(kmer)  # A<->T is 0<->3, C<->G is 1<->2
    _, word = np.unique(np.minimum(codes, opposite), return_inverse=True)
    return word


_DIGIT = np.full(256, -1, dtype=np.int64)
_DIGIT[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.arange(4)
