"""What an allele changes: likelihood and hidden states of the frozen backbone, a run's log-odds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import InputError
from backbone.running_sum import running_sum
from backbone.sequence.dna import reverse_complement
from backbone.sequence.edits import Edit
from icl.inference.label_word_method import LabelWordMethod
from icl.method import Method
from icl.variants.alleles import Allele
from tasks.kinds import TASK_KINDS
from tasks.task import Example, Kind

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.edit_groups import EditGroup
    from backbone.protocol import BaseState, BranchEngine, Branches

LIKELIHOOD, DISTANCE, COSINE = "delta_log_likelihood", "state_distance", "state_cosine_distance"
ZERO_SHOT = (LIKELIHOOD, DISTANCE, COSINE)
"""Scores that need no run: log-likelihood of ALT minus that of REF, and the distances between the
mean final states of both from the variant on."""

REFERENCE, CHANGE = "log_odds_ref", "delta_log_odds"
OF_RUN = (REFERENCE, CHANGE)
"""Scores of a run: log-odds of its class for REF, and those of ALT minus those of REF."""

NUMBER, NUMBER_CHANGE = "number_ref", "delta_number"
OF_REGRESSION = (NUMBER, NUMBER_CHANGE)
"""Scores of a run of a regression: the number that it predicts for REF, and ALT's minus that."""


def changed_rows(alleles: Sequence[Allele]) -> tuple[list[str], list[Edit]]:
    """Return the distinct sequences of alleles, and each allele as an edit of one of them."""
    place: dict[str, int] = {}
    rows = [place.setdefault(allele.sequence, len(place)) for allele in alleles]
    edits = [replace(a.change, row=row) for a, row in zip(alleles, rows, strict=True)]
    return list(place), edits


def strand_views(alleles: Sequence[Allele], after: int | None) -> tuple[list[str], list[Edit]]:
    """Return sequences on both strands, and E alleles as edits of them, then E on the other strand.

    Args:
        alleles: E alleles.
        after: Bases that are read after the bases that an allele changes; None for all of the
            window. What stands before them on either strand is read in either case.
    """
    place: dict[str, int] = {}
    forward, backward = [], []
    for allele in alleles:
        text, change = allele.sequence, allele.change
        first = 0 if after is None else max(0, change.start - after)
        last = len(text) if after is None else change.end + after
        row = place.setdefault(text[:last], len(place))
        forward.append(replace(change, row=row))
        row = place.setdefault(reverse_complement(text[first:]), len(place))
        backward.append(change.on_reverse_complement(row, len(text)))
    return list(place), [*forward, *backward]


def zero_shot(
    engine: "BranchEngine", alleles: Sequence[Allele], after: int | None = None
) -> np.ndarray:
    """Return what alleles change without any prompt, (E, 3) in the order of `ZERO_SHOT`.

    Strands are averaged. Only bases from the variant on can differ, and only they are compared:
    their log-likelihood over A, C, G and T, and the mean of their final hidden states.

    Args:
        engine: The backbone.
        alleles: E alleles.
        after: See `strand_views`.
    """
    import torch

    from backbone.edit_groups import edit_groups
    from backbone.letters import log_probabilities
    from backbone.side_by_side import run

    views, edits = strand_views(alleles, after)
    found = np.zeros((len(edits), len(ZERO_SHOT)))

    def read(group: "EditGroup") -> None:
        first = max(0, group.first - 1)
        base = engine.base(None, group.ids, group.room, first)
        each = log_probabilities(engine.model, base.hidden[:, :-1], group.ids[:, first + 1 :])
        # The sum from every position on, and the mean state from there on.
        ahead = running_sum(each.double().flip(1), 1).flip(1)
        for numbers, part in group.branches:
            found[numbers] = _compared(engine, base, ahead, part)

    with torch.no_grad():
        run(read, edit_groups(views, edits, engine.model.device))
    return found.reshape(2, len(alleles), -1).mean(axis=0)


def _compared(
    engine: "BranchEngine", base: "BaseState", ahead: "Tensor", part: "Branches"
) -> np.ndarray:
    """Return the scores (N, 3) of branches.

    Args:
        engine: The backbone.
        base: The states of the base sequences.
        ahead: (B, L - 1 - first) their log-likelihood from each target on, the first of which is
            position base.first + 1.
        part: The branches.
    """
    import torch

    from backbone.letters import branch_log_probabilities

    start = int(part.starts[0])
    hidden = engine.encode(base, part)
    own = branch_log_probabilities(engine.model, base, part, hidden).double().sum(dim=1)
    at = max(0, start - 1 - base.first)
    before = ahead[part.rows, at] if at < ahead.shape[1] else own.new_zeros(len(own))
    mean = hidden.double().mean(dim=1)
    theirs = base.hidden[:, start - base.first :].double().mean(dim=1)[part.rows]
    distance = (mean - theirs).norm(dim=1)
    cosine = 1 - torch.cosine_similarity(mean, theirs, dim=1)
    return torch.stack([own - before, distance, cosine], dim=1).cpu().numpy()


@dataclass(frozen=True)
class RunScorer:
    """The change of a class's log-odds, or of a number, under what a run has learned.

    Attributes:
        method: The run's method.
        kind: Kind of its task.
        column: The class or label; 0 for a number.
    """

    method: Method
    kind: Kind
    column: int

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two scores: `OF_RUN`, or `OF_REGRESSION`."""
        return OF_REGRESSION if self.kind == "regression" else OF_RUN

    def __call__(self, alleles: Sequence[Allele]) -> np.ndarray:
        """Return the scores of E alleles, (E, 2) in the order of `names`, strands averaged."""
        rows, edits = changed_rows(alleles)
        strands = [(rows, edits)]
        if not self.method.averages_strands:
            other = [e.on_reverse_complement(e.row, len(rows[e.row])) for e in edits]
            strands.append(([reverse_complement(row) for row in rows], other))
        found = []
        for texts, changes in strands:
            scores = self.method.scores_of_edits(texts, changes)
            reference, edited = (
                TASK_KINDS[self.kind].log_odds(one)[:, self.column] for one in scores
            )
            before = reference[[edit.row for edit in changes]]
            found.append(np.stack([before, edited - before], axis=1))
        return np.mean(found, axis=0)


def longest_of(method: Method, most: int) -> int:
    """Return the longest sequence that a method reads, `most` at the most.

    Behind demonstrations that all queries share there is less room than `Method.check` knows of.
    """

    def reads(length: int) -> bool:
        try:
            method.check([Example("A" * length, 0)])
        except InputError:
            return False
        return True

    found = largest(reads, most)
    if isinstance(method, LabelWordMethod) and method.shares_edits:
        found = min(found, method.reader().longest_query)
    return found


def largest(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to `most` for which something holds, that held for all before.

    Returns:
        0 if it holds for no number.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
