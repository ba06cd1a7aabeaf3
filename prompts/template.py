"""Templates: demonstrations and a query as one row of token ids, and how they are made to fit.

    sequence SEP word SEP  sequence SEP word SEP  ...  query SEP
                                                             ^ answer_at: predicts the word

[SEP] ends every sequence, so that a label word follows it in demonstrations and query alike.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from backbone.common.errors import DoesNotFit, InputError
from backbone.sequence.dna import reverse_complement
from backbone.tokens import SEP, encode_dna
from prompts.demonstrations import Demonstration
from prompts.verbalizer import Verbalizer

DemonstrationStrands = Literal["forward", "both"]
Policy = Literal["refuse", "drop", "trim"]


@dataclass(frozen=True)
class Prompt:
    """A query after its demonstrations.

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
        demonstration_strands: `both` writes each demonstration, then its reverse complement with
            the same word.
    """

    verbalizer: Verbalizer
    demonstration_strands: DemonstrationStrands = "forward"

    def __post_init__(self) -> None:
        """Check the strands.

        Raises:
            InputError: If they are none of the choices.
        """
        if self.demonstration_strands not in get_args(DemonstrationStrands):
            raise InputError(
                f"method.demonstration_strands={self.demonstration_strands}: "
                f"must be one of {', '.join(get_args(DemonstrationStrands))}"
            )

    @property
    def strands(self) -> int:
        """How often each demonstration is written."""
        return 2 if self.demonstration_strands == "both" else 1

    def encode_demonstrations(self, demonstrations: Sequence[Demonstration]) -> np.ndarray:
        """Return token ids (L,) int64 of demonstrations, each as sequence SEP word SEP."""
        parts = [np.zeros(0, dtype=np.int64)]
        for demonstration in demonstrations:
            word = encode_dna(self.verbalizer.words[demonstration.label])
            for sequence in self._strands_of(demonstration.sequence):
                parts += [encode_dna(sequence), _SEP, word, _SEP]
        return np.concatenate(parts)

    def encode_query(self, sequence: str) -> np.ndarray:
        """Return token ids (L,) int64 of a query: sequence SEP."""
        return np.concatenate([encode_dna(sequence), _SEP])

    def prompt(self, demonstrations: Sequence[Demonstration], sequence: str) -> Prompt:
        """Return the demonstrations, then the query."""
        ids = np.concatenate(
            [self.encode_demonstrations(demonstrations), self.encode_query(sequence)]
        )
        return Prompt(ids, len(ids) - 1)

    def length(self, demonstrations: Sequence[Demonstration]) -> int:
        """Return the number of tokens of demonstrations."""
        around = 2 + self.verbalizer.length
        return self.strands * sum(len(d.sequence) + around for d in demonstrations)

    def bases(self, demonstrations: Sequence[Demonstration]) -> int:
        """Return the bases of demonstrations, both strands counted where both are written."""
        return self.strands * sum(len(d.sequence) for d in demonstrations)

    def _strands_of(self, sequence: str) -> tuple[str, ...]:
        return (sequence, reverse_complement(sequence))[: self.strands]


@dataclass(frozen=True)
class ClassTemplate(Template):
    """Demonstrations of one class before a query, for the channel readout: no label words.

    sequence SEP  sequence SEP  ...  query
    """

    def encode_class(self, demonstrations: Sequence[Demonstration], label: int) -> np.ndarray:
        """Return token ids (L,) int64 of the demonstrations of one class, each as sequence SEP."""
        parts = [np.zeros(0, dtype=np.int64)]
        for demonstration in demonstrations:
            if demonstration.label == label:
                for sequence in self._strands_of(demonstration.sequence):
                    parts += [encode_dna(sequence), _SEP]
        return np.concatenate(parts)

    def length(self, demonstrations: Sequence[Demonstration]) -> int:
        """Return the number of tokens before the query: those of the longest class."""
        totals: dict[int, int] = {}
        for d in demonstrations:
            totals[d.label] = totals.get(d.label, 0) + self.strands * (len(d.sequence) + 1)
        return max(totals.values(), default=0)


@dataclass(frozen=True)
class Selection:
    """Demonstrations that fit into a token budget.

    Attributes:
        demonstrations: Those in the prompt.
        bases: Their bases, both strands counted where both are written.
        dropped: Number of demonstrations left out.
        trimmed: Number of demonstrations cut.
    """

    demonstrations: tuple[Demonstration, ...]
    bases: int
    dropped: int
    trimmed: int


@dataclass(frozen=True)
class TokenBudget:
    """Tokens for demonstrations, query, [SEP] and label word, and what to do if they do not fit.

    Attributes:
        tokens: Most tokens.
        policy: `refuse` raises an error. `drop` leaves out whole rounds, the first demonstration of
            each class, until the rest fits. `trim` cuts all demonstrations to the middle of one
            length, the longest at which all fit; a shorter one stays whole.
    """

    tokens: int
    policy: Policy = "refuse"

    def __post_init__(self) -> None:
        """Check the policy.

        Raises:
            InputError: If it is none of the choices.
        """
        if self.policy not in get_args(Policy):
            raise InputError(
                f"method.policy={self.policy}: must be one of {', '.join(get_args(Policy))}"
            )

    def fit(
        self, demonstrations: Sequence[Demonstration], template: Template, query_length: int
    ) -> Selection:
        """Return the demonstrations that fit before a query.

        Args:
            demonstrations: In the prompt's order.
            template: How they are written.
            query_length: Bases of the query; of the longest, for several.

        Raises:
            DoesNotFit: If the policy cannot make them fit, with the numbers.
        """
        ending = query_length + 1 + template.verbalizer.length
        left = self.tokens - ending
        kept, trimmed = tuple(demonstrations), 0
        if left < 0:
            raise DoesNotFit(
                f"{query_length} nucleotides + [SEP] + {template.verbalizer.length} for the label "
                f"word = {ending} tokens exceed the maximum of {self.tokens}; use a backbone with "
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
            raise DoesNotFit(
                f"{len(kept)} demonstrations of {template.length(kept)} tokens + {ending} for "
                f"query, [SEP] and label word exceed the maximum of {self.tokens}; give fewer "
                f"shots, method.policy=drop or trim, or a backbone with a longer context"
            )
        return Selection(kept, template.bases(kept), len(demonstrations) - len(kept), trimmed)


def _trimmed(
    demonstrations: tuple[Demonstration, ...], template: Template, left: int
) -> tuple[Demonstration, ...]:
    """Cut to the greatest length at which all fit; leave them whole if there is none."""

    def cut(length: int) -> tuple[Demonstration, ...]:
        return tuple(replace(d, sequence=_middle(d.sequence, length)) for d in demonstrations)

    longest = max((len(d.sequence) for d in demonstrations), default=0)
    fitting = bisect_right(range(longest + 1), left, key=lambda n: template.length(cut(n))) - 1
    return cut(fitting) if fitting > 0 else demonstrations


def _without_first_round(demonstrations: tuple[Demonstration, ...]) -> tuple[Demonstration, ...]:
    """Leave out the first demonstration of each class."""
    labels = [d.label for d in demonstrations]
    first = {labels.index(label) for label in labels}
    return tuple(d for i, d in enumerate(demonstrations) if i not in first)


def _middle(sequence: str, length: int) -> str:
    """Return the middle `length` letters of a sequence, or all of a shorter one."""
    start = max(len(sequence) - length, 0) // 2
    return sequence[start : start + length]


_SEP = np.array([SEP], dtype=np.int64)
