"""Streams of real DNA: what related windows share is where they lie, or what they are rich in."""

from collections.abc import Sequence

import numpy as np

from backbone.common.errors import InputError
from backbone.pretraining.related.genomes import ATTEMPTS, Genomes, Runs, Stretch
from backbone.pretraining.related.stream import Stream, log_uniform, related_stream
from backbone.pretraining.related.synthetic import conserve, plant
from backbone.sequence.dna import DNA

SHORTEST_SPAN = 2_000
"""Bases of the smallest neighbourhood."""

Stratum = list[tuple[Stretch, Runs]]
"""Regions of a genome, each with some of its positions."""


@related_stream("plain")
class Plain(Stream):
    """One stretch of a genome, as in ordinary pretraining."""

    def lengths(self, random: np.random.Generator, total: int) -> list[int]:
        """Return the whole row as one window."""
        return [total]

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw windows anywhere."""
        drawn = [self.genomes.anywhere(random, length, None) for length in lengths]
        return on_strands(random, drawn)


@related_stream("neighbourhood")
class Neighbourhood(Stream):
    """Windows from one neighbourhood, from 2,000 bases to the whole record."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw a span, log-uniform in its length, and windows inside it."""
        stretch = self.genomes.stretch(random)
        longest = len(stretch.letters)
        span = round(log_uniform(random, min(SHORTEST_SPAN, longest), longest))
        start = int(random.integers(0, longest - span + 1))
        inside = (start, start + span)
        drawn = [self.genomes.window(random, stretch, length, inside) for length in lengths]
        return on_strands(random, drawn)


@related_stream("genome")
class WholeGenome(Stream):
    """Windows from anywhere in one genome; every genome is drawn equally often."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw a genome and windows of it."""
        genome = self.genomes.some_genome(random)
        drawn = [self.genomes.anywhere(random, length, genome) for length in lengths]
        return on_strands(random, drawn)

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw two genomes, where there are two, and windows of each."""
        names = [self.genomes.names[i] for i in random.permutation(len(self.genomes.names))]
        sides = [
            on_strands(random, [self.genomes.anywhere(random, length, name) for length in some])
            for name, some in zip((names[0], names[-1]), (lengths, others), strict=True)
        ]
        return sides[0], sides[1]


@related_stream("enriched")
class Enriched(Stream):
    """Windows of one genome that are rich in the same k-mers.

    A random weight is drawn for every k-mer, and of a pool of windows those with the highest mean
    weight make the row: a class of natural sequences that a random linear k-mer model defines.
    """

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw k, 1 to 6, the weights and the pool, from 2 to 16 times the windows needed."""
        pool = self._ranked(random, max(lengths), len(lengths), log_uniform(random, 2, 16))
        return _shuffled(random, pool[: len(lengths)], lengths)

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw a pool; the second class is poor in the same k-mers, or like the rest."""
        needed = len(lengths) + len(others)
        longest = max(*lengths, *others)
        pool = self._ranked(random, longest, needed, log_uniform(random, 1, 6))
        rest = pool[len(lengths) :]
        if random.random() < 0.5:
            second = rest[-len(others) :]
        else:
            second = [rest[i] for i in random.permutation(len(rest))[: len(others)]]
        return (
            _shuffled(random, pool[: len(lengths)], lengths),
            _shuffled(random, second, others),
        )

    def _ranked(
        self, random: np.random.Generator, length: int, needed: int, ratio: float
    ) -> list[np.ndarray]:
        """Draw a pool of `ratio` times the windows needed, the richest first."""
        genome = self.genomes.some_genome(random) if random.random() < 0.5 else None
        pool = max(needed, round(ratio * needed))
        drawn = [self.genomes.anywhere(random, length, genome) for _ in range(pool)]
        drawn = on_strands(random, drawn)
        k = int(random.integers(1, 7))
        # Cubes of normal numbers: a few k-mers decide, as a few motifs do.
        weights = random.standard_normal(4**k) ** 3
        scores = np.array([mean_weight(window, weights, k) for window in drawn])
        return [drawn[place] for place in np.argsort(scores)[::-1]]


@related_stream("repeats")
class Repeats(Stream):
    """Windows of one stratum of a genome: its soft-masked repeats, or what lies between them.

    At least half of a window lies in its stratum, unless 20 draws find none such.
    """

    def __init__(self, genomes: Genomes) -> None:
        """Find the strata of each genome that has both.

        Raises:
            InputError: If none has: its letters are all capitals, or all in lower case.
        """
        super().__init__(genomes)
        self._strata: dict[str, tuple[Stratum, Stratum]] = {}
        for name in genomes.names:
            own = [s for s in genomes.stretches if s.genome == name]
            repeats = [(s, s.masked) for s in own if len(s.masked)]
            rest = [(s, s.masked.others(len(s.letters))) for s in own]
            rest = [(s, runs) for s, runs in rest if len(runs)]
            if repeats and rest:
                self._strata[name] = repeats, rest
        if not self._strata:
            raise InputError(
                "streams: repeats are letters in lower case beside capitals (soft-masked), and "
                "there are none; give such FASTA files, or leave repeats out"
            )

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw a genome, one of its strata, and windows of it."""
        strata = self._genome(random)
        return self._of(random, strata[int(random.integers(2))], lengths)

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw a genome, and windows of both of its strata."""
        repeats, rest = self._genome(random)
        return self._of(random, repeats, lengths), self._of(random, rest, others)

    def _genome(self, random: np.random.Generator) -> tuple[Stratum, Stratum]:
        return list(self._strata.values())[int(random.integers(len(self._strata)))]

    def _of(
        self, random: np.random.Generator, stratum: Stratum, lengths: Sequence[int]
    ) -> list[np.ndarray]:
        sizes = np.array([len(runs) for _, runs in stratum])
        chosen = random.choice(len(stratum), size=len(lengths), p=sizes / sizes.sum())
        drawn = [
            self._window(random, stratum[number], length)
            for number, length in zip(chosen, lengths, strict=True)
        ]
        return on_strands(random, drawn)

    def _window(
        self, random: np.random.Generator, place: tuple[Stretch, Runs], length: int
    ) -> np.ndarray:
        """Draw a window around a base of some runs; of a region that is shorter, all of it."""
        stretch, runs = place
        last = max(0, len(stretch.letters) - length)
        window = stretch.letters[:length]
        for _ in range(ATTEMPTS):
            base = runs[int(random.integers(len(runs)))]
            start = min(last, max(0, base - int(random.integers(length))))
            window = stretch.letters[start : start + length]
            inside = runs.within(start, start + length)
            if 2 * inside >= length and self.genomes.is_known(window):
                break
        return window


@related_stream("planted")
class Planted(Stream):
    """Real DNA in which copies of a few motifs lie, anywhere or at one place."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw windows of one genome or of all, and plant motifs in them."""
        windows = self._background(random, lengths)
        _plant(random, windows)
        return windows

    def pair(
        self, random: np.random.Generator, lengths: Sequence[int], others: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Plant motifs in the first class alone, or others in the second."""
        windows = self._background(random, [*lengths, *others])
        one, other = windows[: len(lengths)], windows[len(lengths) :]
        _plant(random, one)
        if random.random() < 0.25:
            _plant(random, other)
        return one, other

    def _background(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        genome = self.genomes.some_genome(random) if random.random() < 0.5 else None
        drawn = [self.genomes.anywhere(random, length, genome).copy() for length in lengths]
        return [window.copy() for window in on_strands(random, drawn)]


def _plant(random: np.random.Generator, windows: list[np.ndarray]) -> None:
    if random.random() < 0.5:
        plant(random, windows)
    else:
        conserve(random, windows)


def _shuffled(
    random: np.random.Generator, windows: Sequence[np.ndarray], lengths: Sequence[int]
) -> list[np.ndarray]:
    """Return windows in random order, cut to lengths."""
    order = random.permutation(len(windows))
    return [windows[place][:length] for place, length in zip(order, lengths, strict=True)]


@related_stream("relatives")
class Relatives(Stream):
    """Copies of one natural window, each with its own substitutions and deletions."""

    def windows(self, random: np.random.Generator, lengths: Sequence[int]) -> list[np.ndarray]:
        """Draw an ancestor and a divergence, log-uniform from 0.02 to 0.6, and mutate copies."""
        ancestor = self.genomes.anywhere(random, round(1.5 * max(lengths)) + 8, None)
        divergence = log_uniform(random, 0.02, 0.6)
        return [
            mutated(random, piece(random, ancestor, length), divergence, length)
            for length in lengths
        ]


def on_strands(random: np.random.Generator, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Turn all windows to one strand in half of the rows, and each to its own in the others."""
    if random.random() < 0.5:
        turned = np.full(len(windows), random.random() < 0.5)
    else:
        turned = random.random(len(windows)) < 0.5
    return [
        DNA.complements[window[::-1]] if turn else window
        for window, turn in zip(windows, turned, strict=True)
    ]


def mean_weight(window: np.ndarray, weights: np.ndarray, k: int) -> float:
    """Return the mean weight of a window's k-mers; those with an N do not count.

    Args:
        window: (L,) ASCII codes.
        weights: (4**k,).
        k: Length of the k-mers.
    """
    codes = DNA.codes[window]
    if len(codes) < k:
        return 0.0
    numbers = np.zeros(len(codes) - k + 1, dtype=np.int64)
    known = np.ones(len(numbers), dtype=bool)
    for offset in range(k):
        part = codes[offset : offset + len(numbers)]
        numbers = 4 * numbers + (part & 3)
        known &= part < 4
    return float(weights[numbers[known]].mean()) if known.any() else 0.0


def piece(random: np.random.Generator, letters: np.ndarray, length: int) -> np.ndarray:
    """Cut a stretch of about a window's length, or a little more, out of an ancestor."""
    most = min(len(letters), round(1.25 * length) + 4)
    start = int(random.integers(0, len(letters) - most + 1))
    return letters[start : start + most]


def mutated(
    random: np.random.Generator, letters: np.ndarray, divergence: float, length: int
) -> np.ndarray:
    """Substitute a share of the bases, and delete a tenth as many; return at most `length`."""
    copy = letters.copy()
    changed = np.flatnonzero(random.random(len(copy)) < divergence)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)
    copy[changed] = bases[random.integers(0, 4, len(changed))]
    kept = random.random(len(copy)) >= 0.1 * divergence
    return copy[kept][:length]
