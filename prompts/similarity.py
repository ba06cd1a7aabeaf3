"""How near a query the rows of a pool are: by k-mers, frozen states, or GC content and length."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from backbone.sequence.dna import gc_content

Embed = Callable[[Sequence[str]], np.ndarray]
"""N sequences -> (N, D), a row's vector being a function of its sequence alone."""


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


def _gc_and_length(sequence: str) -> tuple[float, int]:
    return gc_content(sequence), len(sequence)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, (N, D) float64; zeros stay zeros."""
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
