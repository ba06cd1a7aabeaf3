"""Probes: tasks that can only be solved from their own context.

The rows of a `Task` have one meaning, which a model may know from its weights. A probe draws a new
mapping for each question, so that accuracy above chance must come from the context. Its controls
change the answers in the context and nothing else: a prediction that does not change was not read
from the context, and one that changes with them was.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from backbone.sequence.dna import reverse_complement
from tasks.registry import Registry


@dataclass(frozen=True, slots=True)
class Pair:
    """A sequence and the word that answers it in its episode."""

    sequence: str
    answer: str


class Question(ABC):
    """One question with its context, and the controls of its context."""

    answer: str

    @abstractmethod
    def shuffled(self, letters: str, random: np.random.Generator) -> Self:
        """Return the question with the answers in its context at random.

        Args:
            letters: Letters that answers are written in.
            random: Generator of the draw.
        """

    @abstractmethod
    def flipped(self, letters: str) -> Self:
        """Return the question with every answer in its context `flipped`."""

    @abstractmethod
    def mode_accuracy(self) -> float:
        """Return the expected accuracy of the context's most frequent answer; NaN without one."""


@dataclass(frozen=True)
class Episode(Question):
    """Demonstrations of one mapping, and queries about it.

    Attributes:
        demonstrations: Pairs in the context, in order.
        queries: What may be asked after the demonstrations, with the right answers.
    """

    demonstrations: tuple[Pair, ...]
    queries: tuple[Pair, ...]

    @property
    def answer(self) -> str:  # type: ignore[override]
        """The right answer of the first query."""
        return self.queries[0].answer

    def shuffled(self, letters: str, random: np.random.Generator) -> "Episode":
        """Return the episode with the answers permuted among the demonstrations."""
        order = random.permutation(len(self.demonstrations))
        return self._with_answers([self.demonstrations[i].answer for i in order])

    def flipped(self, letters: str) -> "Episode":
        """Return the episode with the answer of every demonstration `flipped`."""
        return self._with_answers([flipped(pair.answer, letters) for pair in self.demonstrations])

    def mode_accuracy(self) -> float:
        """Return the expected accuracy of the demonstrations' most frequent answer."""
        return mode_accuracy([pair.answer for pair in self.demonstrations], self.answer)

    def _with_answers(self, answers: Sequence[str]) -> "Episode":
        pairs = zip(self.demonstrations, answers, strict=True)
        return replace(self, demonstrations=tuple(replace(p, answer=a) for p, a in pairs))


@dataclass(frozen=True)
class Passage(Question):
    """DNA with a repeat that breaks off: which nucleotide comes next?

    Attributes:
        pieces: The text before the query, cut where the repeat has the nucleotide in question.
        letter: The nucleotide between the pieces, as the query's strand reads it.
        strand: "+" where the pieces hold the repeat itself, "-" for its reverse complement.
        query: The last copy, up to the nucleotide in question.
        answer: The nucleotide that continues it.
    """

    pieces: tuple[str, ...]
    letter: str
    strand: str
    query: str
    answer: str

    @property
    def text(self) -> str:
        """The whole text that the model reads."""
        between = self.letter if self.strand == "+" else reverse_complement(self.letter)
        return between.join(self.pieces) + self.query

    def shuffled(self, letters: str, random: np.random.Generator) -> "Passage":
        """Return the passage with a random letter in question, the same in all earlier copies."""
        return replace(self, letter=letters[random.integers(len(letters))])

    def flipped(self, letters: str) -> "Passage":
        """Return the passage with the letter in question `flipped` in all earlier copies."""
        return replace(self, letter=flipped(self.letter, letters))

    def mode_accuracy(self) -> float:
        """Return the expected accuracy of the most frequent nucleotide of the text."""
        return mode_accuracy(list(self.text), self.answer)


class Generator(Protocol):
    """Draws questions."""

    def draw(self, shots: int, random: np.random.Generator) -> Episode | Passage:
        """Draw one question, with a mapping of its own.

        Args:
            shots: Size of the context; see the generator.
            random: Generator of the draw.

        Raises:
            InputError: If there cannot be so large a context.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """A mechanism of learning in context, and questions that need it.

    Attributes:
        name: Name in the registry.
        words: Every possible answer, words of one length.
        generator: Draws its questions.
        description: One line for the help.
        citation: Paper that the question comes from.
    """

    name: str
    words: tuple[str, ...]
    generator: Generator
    description: str = ""
    citation: str = ""

    @property
    def letters(self) -> str:
        """The letters that answers are written in, sorted."""
        return "".join(sorted(set("".join(self.words))))


PROBES: Registry[Probe] = Registry("probe")
"""All probes. Import it from `tasks.catalog`, which fills it."""


def add_probe(
    name: str, words: tuple[str, ...], generator: Generator, description: str, citation: str = ""
) -> None:
    """Register a probe; see `Probe`."""
    PROBES.add(name, Probe(name, words, generator, description, citation))


def flipped(word: str, letters: str) -> str:
    """Return a word with each letter replaced by the next one of `letters`, cyclically."""
    return word.translate(str.maketrans(letters, letters[1:] + letters[:1]))


def mode_accuracy(answers: Sequence[str], answer: str) -> float:
    """Return the expected accuracy of the most frequent answer, ties broken at random.

    It is NaN where there are none.
    """
    if not answers:
        return float("nan")
    counts = Counter(answers)
    modes = [value for value, count in counts.items() if count == max(counts.values())]
    return (answer in modes) / len(modes)
