"""What each base of a sequence contributes to a run's answer.

In-silico mutagenesis: every base is replaced by the other three, and the change of the log-odds is
read off, exactly. Beside it the same to first order, from the gradient with respect to the letters
(gradient times input).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from backbone.sequence.dna import DNA
from backbone.sequence.edits import NUCLEOTIDES, Edit, substitutions
from icl.method import Method
from tasks.kinds import TASK_KINDS

BASES_AT_ONCE = 4096
"""Bases of the sequences that are mutated together."""


@dataclass(frozen=True)
class Attribution:
    """The contribution of each base of one sequence to one output of a method.

    Attributes:
        sequence: L letters.
        output: Which class, label or number is explained.
        log_odds: Its log-odds for the sequence; a regression's number.
        effects: (L, 4), the change of the log-odds if A, C, G or T stood at each position.
        gradients: (L, 4), the same to first order; None for a method without derivatives.
    """

    sequence: str
    output: int
    log_odds: float
    effects: np.ndarray
    gradients: np.ndarray | None

    @property
    def importance(self) -> np.ndarray:
        """(L,) by how much the log-odds drop, on average, if the base is replaced by another."""
        return -mean_effect(self.sequence, self.effects)

    @property
    def slope(self) -> np.ndarray | None:
        """(L,) the importance to first order."""
        return None if self.gradients is None else -mean_effect(self.sequence, self.gradients)

    @property
    def agreement(self) -> float:
        """Pearson's correlation of exact and first-order effects of all replacements, or NaN."""
        if self.gradients is None:
            return float("nan")
        replaced = ~one_hot(self.sequence)
        pair = self.effects[replaced], self.gradients[replaced]
        if min(one.std() for one in pair) == 0:
            return float("nan")
        return float(np.corrcoef(*pair)[0, 1])


def one_hot(sequence: str) -> np.ndarray:
    """Return which letter stands at each position, (L, 4) booleans; none for N."""
    return np.array(list(sequence))[:, None] == np.array(list(NUCLEOTIDES))


def mean_effect(sequence: str, effects: np.ndarray) -> np.ndarray:
    """Return the mean (L,) of effects (L, 4) over the letters that do not stand there."""
    replaced = ~one_hot(sequence)
    return (effects * replaced).sum(axis=1) / replaced.sum(axis=1)


def attributions(
    method: Method, sequences: Sequence[str], outputs: Sequence[int | None]
) -> Iterator[Attribution]:
    """Yield the contributions of the bases of sequences, in their order.

    Args:
        method: A method that has learned.
        sequences: N sequences over ACGTN.
        outputs: (N,) the output to explain of each; None takes the likeliest one.
    """
    kind = TASK_KINDS[method.context.kind]
    for some in _groups(sequences):
        texts = [sequences[row] for row in some]
        edits = substitutions(texts)
        own, edited = map(kind.log_odds, method.scores_of_edits(texts, edits))
        changes = grids(texts, edits, edited, own)
        for row, text, odds, effects in zip(some, texts, own, changes, strict=True):
            given = outputs[row]
            output = int(odds.argmax()) if given is None else given
            yield Attribution(
                text,
                output,
                float(odds[output]),
                effects[..., output],
                gradients_of(method, text, output),
            )


def grids(
    sequences: Sequence[str], edits: Sequence[Edit], edited: np.ndarray, own: np.ndarray
) -> list[np.ndarray]:
    """Return the changes (L, 4, C) of each sequence by its substitutions; 0 at its own letters.

    Args:
        sequences: N sequences.
        edits: E substitutions of single bases.
        edited: (E, C) values of the edited sequences.
        own: (N, C) values of the sequences.
    """
    found = [np.zeros((len(sequence), 4, own.shape[1])) for sequence in sequences]
    for edit, value in zip(edits, edited, strict=True):
        found[edit.row][edit.start, NUCLEOTIDES.index(edit.letters)] = value - own[edit.row]
    return found


def gradients_of(method: Method, sequence: str, output: int) -> np.ndarray | None:
    """Return the first-order changes (L, 4) of an output's log-odds, or None; see `Attribution`."""
    import torch

    codes = torch.tensor([DNA.letters.index(letter) for letter in sequence], device="cpu")
    letters = torch.nn.functional.one_hot(codes, len(DNA.letters)).float().requires_grad_()
    scores = method.relaxed_scores(letters)
    if scores is None:
        return None
    odds = scores[output]
    if method.context.kind == "classes":
        others = torch.arange(len(scores), device=scores.device) != output
        odds = odds - scores[others].logsumexp(0)
    (slope,) = torch.autograd.grad(odds, letters)
    slope = slope.double()
    own = slope.gather(1, codes[:, None])
    return (slope[:, : len(NUCLEOTIDES)] - own).numpy()


def _groups(sequences: Sequence[str]) -> Iterator[list[int]]:
    """Yield the numbers of successive sequences, at most BASES_AT_ONCE bases together."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    for _, rows in groupby(range(len(sequences)), key=lambda row: (ends[row] - 1) // BASES_AT_ONCE):
        yield list(rows)
