"""Interpolated Markov models of DNA, the baseline of a language model.

Source: Witten and Bell 1991, in the interpolated form of Chen and Goodman 1999 (section 2.4): with
c the counts after a context and T the number of different bases seen there,
P(b | context) = (c(b) + T P(b | shorter context)) / (sum of c + T), down to the uniform
distribution over A, C, G and T.

`python -m backbone.markov fasta=... valid_fasta=...` prints the perplexity of a few orders.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from backbone.common.command import entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.options import Sources, help_text, read_options
from backbone.pretraining.windows import divide
from backbone.sequence.dna import DNA

ORDERS = (3, 5, 8)
MOST = 11
"""The highest order: its 4^12 counts fit in memory, and no genome is large enough for more."""


class MarkovModel:
    """An interpolated Markov model of a fixed order, of both strands."""

    def __init__(self, order: int) -> None:
        """Start without counts.

        Args:
            order: Bases of context, 0 to 11.

        Raises:
            InputError: If the order is another one.
        """
        if not 0 <= order <= MOST:
            raise InputError(f"order {order}: must be 0 to {MOST}")
        self.order = order
        self._counts = [np.zeros(4 ** (k + 1), dtype=np.int64) for k in range(order + 1)]
        self._probabilities: list[np.ndarray] = []

    def fit(self, sequences: Iterable[np.ndarray]) -> "MarkovModel":
        """Count the sequences and their reverse complements, and return the model.

        Args:
            sequences: Arrays (L,) of ASCII codes over A, C, G, T and N; no context spans an N or
                two sequences.
        """
        counts = [np.zeros_like(one) for one in self._counts]
        for sequence in sequences:
            for all_of_length, one in zip(counts, _counts(sequence, self.order), strict=True):
                all_of_length += one
        self._counts, self._probabilities = counts, _interpolate(counts)
        return self

    def without(self, sequence: np.ndarray) -> "MarkovModel":
        """Return the model of the same sequences but for this one, which must be among them."""
        rest = MarkovModel(self.order)
        counted = zip(self._counts, _counts(sequence, self.order), strict=True)
        rest._counts = [whole - one for whole, one in counted]
        rest._probabilities = _interpolate(rest._counts)
        return rest

    def up_to(self, order: int) -> "MarkovModel":
        """Return the model of the same sequences with another order, at most this one's."""
        shorter = MarkovModel(order)
        shorter._counts = self._counts[: order + 1]
        shorter._probabilities = self._probabilities[: order + 1]
        return shorter

    def log_probabilities(self, sequence: np.ndarray) -> np.ndarray:
        """Return the natural logarithm of P(base | the bases before it), for every known base.

        Args:
            sequence: (L,) ASCII codes. Where fewer than `order` known bases come before, the
                longest context there is counts.

        Returns:
            (number of A, C, G and T,) float64, in the order of the sequence.
        """
        if not self._probabilities:
            raise ValueError("fit the model first")
        scores = np.full(len(sequence), np.nan)
        for k, (words, ends) in enumerate(_words(sequence, self.order)):
            scores[ends] = self._probabilities[k][words]  # a longer context overwrites a shorter
        return np.log(scores[~np.isnan(scores)])

    def draw(self, count: int, length: int, random: np.random.Generator) -> list[str]:
        """Draw sequences from the model.

        Args:
            count: How many.
            length: Bases of each.
            random: Source of the draws.
        """
        if not self._probabilities:
            raise ValueError("fit the model first")
        bases = np.zeros((count, length), dtype=np.int64)
        context = np.zeros(count, dtype=np.int64)
        for position in range(length):
            k = min(position, self.order)
            chances = self._probabilities[k].reshape(-1, 4)[context].cumsum(axis=1)
            uniform = random.random(count)[:, None]
            bases[:, position] = np.minimum((chances <= uniform).sum(axis=1), 3)
            context = (4 * context + bases[:, position]) % 4 ** min(position + 1, self.order)
        letters = np.frombuffer(b"ACGT", dtype=np.uint8)[bases]
        return [row.tobytes().decode() for row in letters]

    def perplexity(self, sequences: Iterable[np.ndarray]) -> float:
        """Return exp of the mean negative log-probability of all known bases of the sequences.

        Args:
            sequences: Arrays (L,) of ASCII codes.

        Raises:
            InputError: If there is no known base.
        """
        total, counted = 0.0, 0
        for sequence in sequences:
            scores = self.log_probabilities(sequence)
            total, counted = total - float(scores.sum()), counted + len(scores)
        if counted == 0:
            raise InputError("there is no A, C, G or T to score")
        return math.exp(total / counted)


def _counts(sequence: np.ndarray, order: int) -> list[np.ndarray]:
    """Return how often each word of 1 .. order + 1 known bases occurs on both strands."""
    strands = (sequence, DNA.complements[sequence[::-1]])
    found = [np.zeros(4 ** (k + 1), dtype=np.int64) for k in range(order + 1)]
    for strand in strands:
        for k, (words, _) in enumerate(_words(strand, order)):
            found[k] += np.bincount(words, minlength=4 ** (k + 1))
    return found


def _words(sequence: np.ndarray, order: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield, for k = 0 .. order, all words of k + 1 known bases.

    Yields:
        The words as numbers to the base 4, and the positions of their last bases.
    """
    codes = DNA.codes[sequence]
    numbers = codes.astype(np.int32)
    known = codes < 4
    for k in range(order + 1):
        if k > 0:
            known = known[1:] & (codes[:-k] < 4)
            numbers = numbers[1:] + (codes[:-k].astype(np.int32) << (2 * k))
        yield numbers[known], np.flatnonzero(known) + k


def _interpolate(counts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Turn counts of words of 1, 2, ... bases into probabilities of their last base."""
    shorter = np.full(4, 0.25)
    found = []
    for flat in counts:
        after = flat.reshape(-1, 4)
        kinds = np.count_nonzero(after, axis=1)[:, None]
        # The context of k bases without its first one: the last k-1 digits of its number.
        lower = np.tile(shorter.reshape(-1, 4), (4 * len(after) // shorter.size, 1))
        unseen = kinds == 0
        mixed = (after + kinds * lower) / (after.sum(axis=1, keepdims=True) + kinds + unseen)
        shorter = np.where(unseen, lower, mixed)
        found.append(shorter.reshape(-1))
    return found


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Print the held-out perplexity of a few orders, and return the exit code.

    Arguments are `fasta=`, `valid_fasta=`, `holdout=` and `bed=`, as for the trainer.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return exit_code(lambda: [help_text(Sources, "python -m backbone.markov")])
    return exit_code(lambda: _lines(read_options(Sources, arguments)))


def _lines(options: Sources) -> Iterator[str]:
    division = divide(options.fasta, options.valid_fasta, options.holdout, options.bed)
    if not division.valid:
        raise InputError("nothing is held out; give valid_fasta=, holdout= or bed=")
    train, valid = (
        [division.genome.stretch(r.record, r.start, r.end) for r in regions]
        for regions in (division.train, division.valid)
    )
    yield "order  perplexity  bits_per_base"
    for order in ORDERS:
        perplexity = MarkovModel(order).fit(train).perplexity(valid)
        yield f"{order:>5}  {perplexity:10.4f}  {math.log2(perplexity):13.4f}"
