"""Templates: demonstrations and a query as one row of token ids, and what of them fits.

    sequence SEP word SEP  sequence SEP word SEP  ...  query SEP
                                                             ^ answer_at: predicts the word

Everything that is shown is ended by [SEP], so that a word follows it wherever one is asked for.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from backbone.common.errors import InputError
from backbone.hyena.tokenizer import SEP, encode_dna
from backbone.sequence.dna import reverse_complement
from prompts.demonstrations import Demonstration
from prompts.verbalizer import Verbalizer

DemonstrationStrands = Literal["forward", "both"]
Policy = Literal["refuse", "drop", "trim"]


@dataclass(frozen=True)
class Prompt:
    """A query with what stands in front of it.

    Attributes:
        ids: (L,) int64 token ids.
        answer_at: The position whose next token is the answer's first letter: the query's [SEP].
    """

    ids: np.ndarray
    answer_at: int


@dataclass(frozen=True)
class Template:
    """How demonstrations and queries are written.

    Attributes:
        verbalizer: The label words.
        demonstration_strands: `both` shows each demonstration, then its reverse complement with
            the same word.
    """

    verbalizer: Verbalizer
    demonstration_strands: DemonstrationStrands = "forward"

    def __post_init__(self) -> None:
        """Checks the choice.

        Raises:
            InputError: if it is none.
        """
        if self.demonstration_strands not in get_args(DemonstrationStrands):
            raise InputError(
                f"method.demonstration_strands={self.demonstration_strands}: "
                f"must be one of {', '.join(get_args(DemonstrationStrands))}"
            )

    @property
    def strands(self) -> int:
        """How often each demonstration is shown."""
        return 2 if self.demonstration_strands == "both" else 1

    def shown(self, demonstrations: Sequence[Demonstration]) -> np.ndarray:
        """Token ids (L,) int64 of demonstrations, each as sequence SEP word SEP."""
        parts = [np.zeros(0, dtype=np.int64)]
        for demonstration in demonstrations:
            word = encode_dna(self.verbalizer.words[demonstration.label])
            for sequence in self._strands_of(demonstration.sequence):
                parts += [encode_dna(sequence), _SEP, word, _SEP]
        return np.concatenate(parts)

    def query(self, sequence: str) -> np.ndarray:
        """Token ids (L,) int64 of a query: sequence SEP."""
        return np.concatenate([encode_dna(sequence), _SEP])

    def prompt(self, demonstrations: Sequence[Demonstration], sequence: str) -> Prompt:
        """Writes the demonstrations, then the query."""
        ids = np.concatenate([self.shown(demonstrations), self.query(sequence)])
        return Prompt(ids, len(ids) - 1)

    def length(self, demonstrations: Sequence[Demonstration]) -> int:
        """Tokens that demonstrations take."""
        around = 2 + self.verbalizer.length
        return self.strands * sum(len(d.sequence) + around for d in demonstrations)

    def bases(self, demonstrations: Sequence[Demonstration]) -> int:
        """Bases of demonstrations that the model reads, both strands counted where both stand."""
        return self.strands * sum(len(d.sequence) for d in demonstrations)

    def _strands_of(self, sequence: str) -> tuple[str, ...]:
        return (sequence, reverse_complement(sequence))[: self.strands]


@dataclass(frozen=True)
class Selection:
    """Demonstrations that fit.

    Attributes:
        demonstrations: What is shown.
        bases: Bases of it that the model reads, both strands counted where both are shown.
        dropped: Demonstrations that were left out.
        trimmed: Demonstrations that were cut.
    """

    demonstrations: tuple[Demonstration, ...]
    bases: int
    dropped: int
    trimmed: int


@dataclass(frozen=True)
class TokenBudget:
    """Room for demonstrations, query, its [SEP] and the label word, and what to do without it.

    Attributes:
        tokens: Positions, at most.
        policy: `refuse` is an error. `drop` leaves out whole rounds, the first demonstration of
            each class, until the rest fits. `trim` cuts all demonstrations to the middle of one
            length, the longest at which all fit; a shorter one stays whole.
    """

    tokens: int
    policy: Policy = "refuse"

    def __post_init__(self) -> None:
        """Checks the policy.

        Raises:
            InputError: if it is none.
        """
        if self.policy not in get_args(Policy):
            raise InputError(
                f"method.policy={self.policy}: must be one of {', '.join(get_args(Policy))}"
            )

    def fit(
        self, demonstrations: Sequence[Demonstration], template: Template, query_length: int
    ) -> Selection:
        """Makes demonstrations fit in front of a query.

        Args:
            demonstrations: in the order in which they are shown.
            template: how they are written.
            query_length: bases of the query; of the longest, for several.

        Raises:
            InputError: if the policy cannot make them fit, with the numbers.
        """
        ending = query_length + 1 + template.verbalizer.length
        left = self.tokens - ending
        kept, trimmed = tuple(demonstrations), 0
        if left < 0:
            raise InputError(
                f"{query_length} nucleotides + [SEP] + {template.verbalizer.length} for the label "
                f"word = {ending} tokens exceed the {self.tokens} there are; use a backbone with "
                f"a longer context"
            )
        if self.policy == "drop":
            while template.length(kept) > left:
                kept = _without_first_round(kept)
        elif self.policy == "trim":
            kept = _trimmed(kept, template, left)
            pairs = zip(kept, demonstrations, strict=True)
            trimmed = sum(cut.sequence != whole.sequence for cut, whole in pairs)
        if template.length(kept) > left:
            raise InputError(
                f"{len(kept)} demonstrations of {template.length(kept)} tokens + {ending} for "
                f"query, [SEP] and label word exceed the {self.tokens} there are; give fewer "
                f"shots, method.policy=drop or trim, or a backbone with a longer context"
            )
        return Selection(kept, template.bases(kept), len(demonstrations) - len(kept), trimmed)


def _trimmed(
    demonstrations: tuple[Demonstration, ...], template: Template, left: int
) -> tuple[Demonstration, ...]:
    """Cuts to the greatest length at which all fit; leaves them whole if there is none."""

    def cut(length: int) -> tuple[Demonstration, ...]:
        return tuple(replace(d, sequence=_middle(d.sequence, length)) for d in demonstrations)

    longest = max((len(d.sequence) for d in demonstrations), default=0)
    fitting = bisect_right(range(longest + 1), left, key=lambda n: template.length(cut(n))) - 1
    return cut(fitting) if fitting > 0 else demonstrations


def _without_first_round(demonstrations: tuple[Demonstration, ...]) -> tuple[Demonstration, ...]:
    """Leaves out the first demonstration of each class."""
    labels = [d.label for d in demonstrations]
    first = {labels.index(label) for label in labels}
    return tuple(d for i, d in enumerate(demonstrations) if i not in first)


def _middle(sequence: str, length: int) -> str:
    """The middle of a sequence, `length` letters or all there are."""
    start = max(len(sequence) - length, 0) // 2
    return sequence[start : start + length]


_SEP = np.array([SEP], dtype=np.int64)
