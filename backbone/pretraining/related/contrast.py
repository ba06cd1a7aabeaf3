"""Questions of which class a window belongs to, without labels: pairs of pseudo-classes.

Two classes are two sets of related windows: two neighbourhoods, windows rich and poor in the same
k-mers, windows with a motif and without it. Windows of each make a context, and further windows of
both are asked after both contexts: which makes the query more likely? Training on this question is
meta-learning for the channel readout, in the manner of Channel-MetaICL (Min et al. 2022, arXiv
2110.15943), with classes that need no label.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.pretraining.related.genomes import ATTEMPTS, Genomes
from backbone.pretraining.related.genomic import Plain
from backbone.pretraining.related.source import STREAMS, join
from backbone.pretraining.related.stream import Stream, log_uniform
from backbone.tokens import NUCLEOTIDES, SEP

SHORTEST, LONGEST = 30, 500
"""Bases of a window."""

MOST_SHOTS, MOST_QUERIES = 48, 8
"""Windows of a context, and queries of each class."""


@dataclass(frozen=True)
class Questions:
    """Questions of one shape: every window has M bases, every context holds k of them.

    Attributes:
        contexts: (T, 2, k * (M + 1)) int8 token ids, windows that end in [SEP], for both classes.
        queries: (T, Q, M) int8 token ids.
        classes: (T, Q) int8, the class of each query, 0 or 1.
    """

    contexts: np.ndarray
    queries: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs of classes, T."""
        return len(self.contexts)

    def __getitem__(self, pairs: slice) -> "Questions":
        """Return some of the pairs."""
        return Questions(self.contexts[pairs], self.queries[pairs], self.classes[pairs])

    @property
    def tokens(self) -> int:
        """Tokens that a model reads: contexts once, queries after each."""
        return self.contexts.size + 2 * self.queries.size

    @property
    def bases(self) -> int:
        """Bases that a model predicts: all of A, C, G and T but the first of a row."""
        counted = is_base(self.contexts[..., 1:]).sum() + is_base(self.queries[..., 1:]).sum()
        return max(1, int(counted))


class PseudoClasses:
    """Pairs of classes from a mixture of streams."""

    def __init__(self, genomes: Genomes, mixture: Mapping[str, float]) -> None:
        """Build the streams.

        Args:
            genomes: Where real windows come from.
            mixture: The share of each stream among the questions, by its name.

        Raises:
            InputError: If a stream has no classes: windows of `plain` share nothing.
        """
        if Plain in (STREAMS[name] for name in mixture):
            raise InputError("contrast_streams: windows of plain share nothing; leave it out")
        self.streams: dict[str, Stream] = {name: STREAMS[name](genomes) for name in mixture}
        self._edges = np.cumsum(list(mixture.values()))[:-1]

    def pair(
        self, random: np.random.Generator, bases: int, one: int, other: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw a stream and windows of two classes of it.

        Args:
            random: Draws everything.
            bases: Length of every window.
            one: Windows of the first class.
            other: Windows of the second.

        Raises:
            InputError: If the regions are too short for the windows of a stream.
        """
        name = list(self.streams)[int(np.searchsorted(self._edges, random.random(), side="right"))]
        for _ in range(ATTEMPTS):
            pair = self.streams[name].pair(random, [bases] * one, [bases] * other)
            if all(len(window) == bases for side in pair for window in side):
                return pair
        # Regions are shorter, or mutated copies were.
        raise InputError(
            f"contrast_streams: {name} gives no windows of {bases} bases; leave it out, or "
            f"train on longer regions"
        )


class ContrastSource(PseudoClasses):
    """Draws questions from a mixture of streams."""

    def questions(self, tokens: int, most: int, seed: int, step: int) -> Questions:
        """Draw the questions of one step, as a function of the arguments alone.

        Windows are log-uniform from 30 to 500 bases, shots log-uniform from 1 to 48.

        Args:
            tokens: About how many tokens are read, see `Questions.tokens`.
            most: Tokens that a context and a query may have together.
            seed: Of the run.
            step: Number of the step.

        Raises:
            InputError: If the regions are too short for the windows of a stream.
        """
        random = stream(seed, "contrast shape", step)
        bases = round(log_uniform(random, SHORTEST, min(LONGEST, max(SHORTEST, most // 3))))
        fitting = max(1, min(MOST_SHOTS, (most - bases) // (bases + 1)))
        shots = round(log_uniform(random, 1, fitting))
        asked = min(MOST_QUERIES, max(2, shots))
        one = 2 * shots * (bases + 1) + 2 * 2 * asked * bases
        drawn = [
            self._question(stream(seed, "contrast", step, number), bases, shots, asked)
            for number in range(max(1, tokens // one))
        ]
        contexts, queries = (np.stack([question[i] for question in drawn]) for i in (0, 1))
        classes = np.tile(np.repeat(np.array([0, 1], dtype=np.int8), asked), (len(drawn), 1))
        return Questions(contexts, queries, classes)

    def _question(
        self, random: np.random.Generator, bases: int, shots: int, asked: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw two classes: contexts (2, k (M+1)) and queries (2 asked, M)."""
        pair = self.pair(random, bases, shots + asked, shots + asked)
        contexts = np.stack([_context(side[:shots]) for side in pair])
        queries = np.stack([join([window])[0] for side in pair for window in side[shots:]])
        return contexts, queries


def _context(windows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([join(windows)[0], np.array([SEP], dtype=np.int8)])


def is_base(ids: np.ndarray) -> np.ndarray:
    """Return which token ids are A, C, G or T."""
    return (ids >= min(NUCLEOTIDES)) & (ids <= max(NUCLEOTIDES))


@dataclass(frozen=True)
class Contrast:
    """How much a trainer asks.

    Attributes:
        source: Draws the questions.
        weight: Of the mean cross-entropy of the classes, relative to the mean loss of bases.
        tokens: Tokens a step, see `Questions.tokens`.
    """

    source: ContrastSource
    weight: float
    tokens: int
