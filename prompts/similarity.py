"""Similarity of a pool's rows to a query: cosine of vectors, or GC content and length."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from backbone.sequence.dna import gc_content

Embed = Callable[[Sequence[str]], np.ndarray]
"""N sequences -> (N, D); a row's vector is a function of its sequence alone."""


class Similarity(Protocol):
    """Compares a query with all rows of a pool."""

    def to(self, sequence: str) -> np.ndarray:
        """Return the similarity of each row of the pool to a sequence, (N,)."""
        ...


class Cosine:
    """Cosine between the vectors of a pool's rows and of a query."""

    def __init__(self, pool: Sequence[str], embed: Embed) -> None:
        """Embed the pool, once."""
        self._embed = embed
        self._vectors = _unit(embed(pool))

    def to(self, sequence: str) -> np.ndarray:
        """Return the cosine of each row to a sequence, (N,)."""
        return self._vectors @ _unit(self._embed([sequence]))[0]

    def to_all(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the cosine of each row to each of M sequences, (M, N)."""
        return _unit(self._embed(sequences)) @ self._vectors.T

    def between(self, row: int) -> np.ndarray:
        """Return the cosine of each row to a row of the pool, (N,)."""
        return self._vectors @ self._vectors[row]


class GcAndLength:
    """Similarity in GC content and length, each in standard deviations of the pool."""

    def __init__(self, pool: Sequence[str]) -> None:
        """Measure the pool, once."""
        self._values = np.array([_gc_and_length(s) for s in pool])
        spread = self._values.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)

    def to(self, sequence: str) -> np.ndarray:
        """Return the negative Euclidean distance of each row to a sequence, (N,)."""
        difference = (self._values - _gc_and_length(sequence)) / self._scale
        return -np.sqrt((difference**2).sum(axis=1))


def _gc_and_length(sequence: str) -> tuple[float, int]:
    return gc_content(sequence), len(sequence)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors scaled to length 1, (N, D) float64; zeros stay zeros."""
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
