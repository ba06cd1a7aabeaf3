"""Streams of random sequences: what related windows share is the process that made them."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from backbone.pretraining.related.stream import Stream, log_uniform, related_stream

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
HIGHEST_ORDER = 5


@related_stream("markov")
class MarkovChains(Stream):
    """Windows of one random Markov chain of order 0 to 5."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw an order and a chain, and windows of it."""
        order = int(random.integers(0, HIGHEST_ORDER + 1))
        return sample(random, random_chain(random, order), lengths)

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw two chains of one order; the second varies around the first, more or less."""
        chain = random_chain(random, int(random.integers(0, HIGHEST_ORDER + 1)))
        near = varied(random, chain, log_uniform(random, 1, 64))
        return sample(random, chain, lengths), sample(random, near, others)


@related_stream("segments")
class Segments(Stream):
    """Windows that alternate between two Markov chains, in segments of geometric length."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw two chains, the mean length of a segment, and windows."""
        order = int(random.integers(0, 4))
        one, other = (sample(random, random_chain(random, order), lengths) for _ in range(2))
        mean = log_uniform(random, 10, 200)
        mixed = []
        for first, second in zip(one, other, strict=True):
            switches = np.cumsum(random.random(len(first)) < 1 / mean) + random.integers(2)
            mixed.append(np.where(switches % 2 == 0, first, second))
        return mixed


class OnBackground(Stream):
    """Windows of one random Markov chain, changed in a way that they share."""

    @abstractmethod
    def change(self, random: np.random.Generator, windows: Sequence[np.ndarray]) -> None:
        """Draw a change and make it in all windows, in place."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw a chain of order 0 to 2, windows of it, and a change."""
        windows = sample(random, random_chain(random, int(random.integers(0, 3))), lengths)
        self.change(random, windows)
        return windows

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw one chain; change the first class, in half of the pairs the second otherwise."""
        chain = random_chain(random, int(random.integers(0, 3)))
        one, other = sample(random, chain, lengths), sample(random, chain, others)
        self.change(random, one)
        if random.random() < 0.5:
            self.change(random, other)
        return one, other


@related_stream("motifs")
class Motifs(OnBackground):
    """A Markov background in which copies of a few motifs lie, on either strand."""

    def change(self, random: np.random.Generator, windows: Sequence[np.ndarray]) -> None:
        """Plant copies of one to four motifs."""
        plant(random, windows)


@related_stream("periodic")
class Periodic(Stream):
    """Windows whose composition has a period of 2 to 12 bases, as codons have of 3."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw a period, a composition for each phase, and windows that start at any phase."""
        period = 3 if random.random() < 0.5 else int(random.integers(2, 13))
        matrix = random.dirichlet(np.full(4, log_uniform(random, 0.3, 4)), size=period)
        return [
            draw_columns(
                random, np.resize(np.roll(matrix, -int(random.integers(period)), 0), (length, 4))
            )
            for length in lengths
        ]


@related_stream("profile")
class Profile(OnBackground):
    """Windows with a composition of their own at every position, as around a landmark.

    Positions are counted from the start of the window; a stretch of it is conserved, the rest is a
    background that all windows share.
    """

    def change(self, random: np.random.Generator, windows: Sequence[np.ndarray]) -> None:
        """Conserve a stretch."""
        conserve(random, windows)


def plant(random: np.random.Generator, windows: Sequence[np.ndarray]) -> None:
    """Write copies of one to four motifs into windows, on either strand; changes them in place."""
    matrices = [
        random_matrix(random, int(random.integers(5, 16)))
        for _ in range(int(random.integers(1, 5)))
    ]
    bases_a_copy = log_uniform(random, 15, 200)
    for window in windows:
        for _ in range(int(random.poisson(len(window) / bases_a_copy))):
            matrix = matrices[int(random.integers(len(matrices)))]
            if random.random() < 0.5:
                matrix = matrix[::-1, ::-1]  # A and T, C and G change places
            start = int(random.integers(0, max(1, len(window) - len(matrix) + 1)))
            copy = draw_columns(random, matrix)[: len(window) - start]
            window[start : start + len(copy)] = copy


def conserve(random: np.random.Generator, windows: Sequence[np.ndarray]) -> None:
    """Draw a matrix and a place, and write a copy of it there into all windows, in place."""
    width = int(random.integers(4, 40))
    matrix = random_matrix(random, width)
    start = int(random.integers(0, max(1, min(map(len, windows)) - width)))
    for window in windows:
        copy = draw_columns(random, matrix)[: max(0, len(window) - start)]
        window[start : start + len(copy)] = copy


def random_chain(random: np.random.Generator, order: int) -> np.ndarray:
    """Draw a Markov chain whose longer contexts vary around the shorter ones.

    P(. | context) ~ Dirichlet(4 c P(. | context without its first base)), with one concentration
    c for the chain, log-uniform from 0.5 to 8; the order 0 varies around the uniform distribution.

    Returns:
        (4**order, 4) probabilities; the last base of a context is its last digit to the base 4.
    """
    concentration = log_uniform(random, 0.5, 8)
    table = np.full((1, 4), 0.25)
    for level in range(order + 1):
        parent = np.tile(table, (4, 1)) if level else table
        gamma = random.standard_gamma(4 * concentration * parent) + 1e-9
        table = gamma / gamma.sum(axis=1, keepdims=True)
    return table


def varied(random: np.random.Generator, chain: np.ndarray, concentration: float) -> np.ndarray:
    """Draw a chain around another: P ~ Dirichlet(4 c P of the other), context by context."""
    gamma = random.standard_gamma(4 * concentration * chain) + 1e-9
    return gamma / gamma.sum(axis=1, keepdims=True)


def random_matrix(random: np.random.Generator, width: int) -> np.ndarray:
    """Draw a position-specific matrix, (width, 4), of which some columns are nearly certain."""
    return random.dirichlet(np.full(4, log_uniform(random, 0.05, 0.5)), size=width)


def sample(
    random: np.random.Generator, chain: np.ndarray, lengths: Sequence[int]
) -> list[np.ndarray]:
    """Draw windows of a Markov chain, all at once, position by position.

    Args:
        random: Source of the draws.
        chain: (4**order, 4) probabilities.
        lengths: Bases of each window; the first context of each is uniform.
    """
    contexts = len(chain)
    edges = chain.cumsum(axis=1)[:, :3].copy()
    uniform = random.random((max(lengths), len(lengths), 1))
    state = random.integers(0, contexts, len(lengths))
    drawn = np.empty((max(lengths), len(lengths)), dtype=np.uint8)
    for position, threshold in enumerate(uniform):
        base = (threshold > edges[state]).sum(axis=1)
        drawn[position] = base
        state = (4 * state + base) % contexts
    return [BASES[drawn[:length, window]] for window, length in enumerate(lengths)]


def draw_columns(random: np.random.Generator, matrix: np.ndarray) -> np.ndarray:
    """Draw one base from each row of (L, 4) probabilities, (L,) ASCII codes."""
    edges = matrix.cumsum(axis=1)[:, :3]
    return BASES[(random.random((len(matrix), 1)) > edges).sum(axis=1)]
