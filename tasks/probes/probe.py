"""Probes: questions that nothing but their own context answers.

A `Task` has rows with one meaning, which a model may know from its weights. A probe draws an
episode for each question, and with it a mapping that holds nowhere else, so a right answer beyond
chance was read from the context. Its controls change what the context says and nothing else: an
answer that stays right was not read there, and one that follows was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from backbone.sequence.dna import reverse_complement
from tasks.registry import Registry


@dataclass(frozen=True, slots=True)
class Pair:
    """A sequence and the word that answers it in its episode."""

    sequence: str
    answer: str


@dataclass(frozen=True)
class Episode:
    """Demonstrations of one mapping, and questions about it.

    Attributes:
        demonstrations: What is shown, in order.
        queries: What may be asked after the demonstrations, with the right answers.
    """

    demonstrations: tuple[Pair, ...]
    queries: tuple[Pair, ...]

    @property
    def answer(self) -> str:
        """The right answer of the first query."""
        return self.queries[0].answer

    def shuffled(self, letters: str, random: np.random.Generator) -> "Episode":
        """The answers that are shown, permuted among the demonstrations."""
        order = random.permutation(len(self.demonstrations))
        shown = [self.demonstrations[i].answer for i in order]
        return self._showing(shown)

    def flipped(self, letters: str) -> "Episode":
        """Every answer that is shown, `flipped`."""
        return self._showing([flipped(pair.answer, letters) for pair in self.demonstrations])

    def mode_accuracy(self) -> float:
        """Expected accuracy of the most frequent answer that is shown, ties broken at random."""
        return mode_accuracy([pair.answer for pair in self.demonstrations], self.answer)

    def _showing(self, answers: Sequence[str]) -> "Episode":
        pairs = zip(self.demonstrations, answers, strict=True)
        return replace(self, demonstrations=tuple(replace(p, answer=a) for p, a in pairs))


@dataclass(frozen=True)
class Passage:
    """DNA that repeats itself and breaks off: which letter comes next?

    Attributes:
        pieces: What stands before the query, cut where the repeat has the letter in question.
        letter: What stands between the pieces, as the query's strand reads it.
        strand: "+" where the pieces hold the repeat as it is, "-" for its reverse complement.
        query: The last copy, as far as it goes.
        answer: The letter that continues it.
    """

    pieces: tuple[str, ...]
    letter: str
    strand: str
    query: str
    answer: str

    @property
    def text(self) -> str:
        """All that the model reads."""
        between = self.letter if self.strand == "+" else reverse_complement(self.letter)
        return between.join(self.pieces) + self.query

    def shuffled(self, letters: str, random: np.random.Generator) -> "Passage":
        """The letter in question, drawn: the same one in all earlier copies."""
        return replace(self, letter=letters[random.integers(len(letters))])

    def flipped(self, letters: str) -> "Passage":
        """The letter in question, `flipped` in all earlier copies."""
        return replace(self, letter=flipped(self.letter, letters))

    def mode_accuracy(self) -> float:
        """Expected accuracy of the most frequent letter, ties broken at random."""
        return mode_accuracy(list(self.text), self.answer)


class Generator(Protocol):
    """Draws episodes or passages."""

    def draw(self, shots: int, random: np.random.Generator) -> Episode | Passage:
        """Draw one, with a mapping of its own.

        Args:
            shots: How much is shown; see the generator.
            random: Where the draws come from.

        Raises:
            InputError: If so much cannot be shown.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """A mechanism that is asked for.

    Attributes:
        name: Name in the registry.
        words: Every possible answer, words of one length.
        generator: Draws its questions.
        description: One line for the help.
        citation: Where the question comes from.
    """

    name: str
    words: tuple[str, ...]
    generator: Generator
    description: str = ""
    citation: str = ""

    @property
    def letters(self) -> str:
        """The letters that answers are written in, in order."""
        return "".join(sorted(set("".join(self.words))))


PROBES: Registry[Probe] = Registry("probe")
"""All probes. Import it from `tasks.catalog`, which fills it."""


def flipped(word: str, letters: str) -> str:
    """Each letter's successor among the letters; for two letters, the other one."""
    return word.translate(str.maketrans(letters, letters[1:] + letters[:1]))


def mode_accuracy(shown: Sequence[str], answer: str) -> float:
    """Expected accuracy of the most frequent value shown, ties broken at random; NaN for none."""
    if not shown:
        return float("nan")
    counts = {value: shown.count(value) for value in shown}
    modes = [value for value, count in counts.items() if count == max(counts.values())]
    return (answer in modes) / len(modes)
