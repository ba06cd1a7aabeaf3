"""What a stream of related windows is, and the registry of streams.

A stream draws windows that share something: where they come from, which k-mers they are rich in, or
the process that made them. A model that predicts the last of them well has found out from the
others what they share. Source: in-context pretraining, Shi et al. 2023 (arXiv 2310.10638).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.pretraining.related.genomes import Genomes

SHORTEST, LONGEST = 40, 600
"""Bases of the windows of a row, before jitter."""

S = TypeVar("S", bound="type[Stream]")


class Stream(ABC):
    """Draws rows of related windows; a draw is a function of the generator alone."""

    def __init__(self, genomes: Genomes) -> None:
        """Keep the genomes; synthetic streams do not look at them."""
        self.genomes = genomes

    def lengths(self, random: np.random.Generator, total: int) -> list[int]:
        """Draw the lengths of a row's windows, which fill `total` tokens with separators between.

        The length of a row is log-uniform from 40 to 600 bases. In half of the rows all windows
        have it, as most labelled sets have; in the others each varies by up to a factor of 2.
        """
        longest = min(LONGEST, max(SHORTEST, total // 2))
        typical = log_uniform(random, SHORTEST, longest)
        varies = random.random() < 0.5
        lengths: list[int] = []
        while total > 0:
            length = typical * 2.0 ** random.uniform(-1, 1) if varies else typical
            lengths.append(min(round(length), total))
            total -= lengths[-1] + 1
        return lengths

    @abstractmethod
    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw one window for each length, as ASCII codes (length,) uint8 over A, C, G, T and N."""

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw windows of two classes; by default two independent draws of related windows."""
        return self.windows(random, lengths), self.windows(random, others)


STREAMS: dict[str, type[Stream]] = {}
"""All streams by name. Import it from `backbone.pretraining.related.source`, which fills it."""


def related_stream(name: str) -> Callable[[S], S]:
    """Register a class of streams under a name, for `streams=[NAME:WEIGHT, ...]`.

    Raises:
        ValueError: If the name is taken.
    """

    def register(stream: S) -> S:
        if name in STREAMS:
            raise ValueError(f"stream {name!r} is registered twice")
        STREAMS[name] = stream
        return stream

    return register


def read_mixture(words: Sequence[str]) -> Mapping[str, float]:
    """Read weights of streams, each as NAME or NAME:WEIGHT, and return their shares by name.

    Raises:
        InputError: If a name is unknown or given twice, or a weight is no positive number.
    """
    weights: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name not in STREAMS:
            raise unknown("stream", name, STREAMS)
        if name in weights:
            raise InputError(f"streams: {name} is given twice")
        try:
            weights[name] = float(number or 1)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise InputError(f"streams: the weight of {word!r} must be a positive number")
    if not weights:
        raise InputError("streams= is empty; name at least one stream")
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
