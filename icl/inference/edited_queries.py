"""Queries and their edited forms; the parts that an edit does not change are encoded once.

It answers like `QuerySet`, for N sequences and E edits of them. Where the shared form is not
available (see `can_share`) whole sequences give the same scores up to rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from backbone.edit_groups import EditGroup, edit_groups
from backbone.letters import branch_log_probabilities, is_base, log_probabilities
from backbone.models import branch_engine, can_branch
from backbone.protocol import BaseState, BranchEngine, Branches, LanguageModel
from backbone.sequence.edits import Edit, edits_of_both_strands
from backbone.side_by_side import side_by_side
from icl.inference.batches import both_strands
from icl.inference.channel import ChannelReader
from icl.inference.likelihood import LikelihoodReader
from icl.inference.reader import PromptReader
from icl.method import Context


def can_share(model: LanguageModel, context: Context) -> bool:
    """Return whether edited sequences can be encoded as branches: no hooks, single precision."""
    return context.precision == "float32" and can_branch(model)


class EditedQueries(ABC):
    """Sequences and edits of them, on one strand or on both, and how a group of them is read."""

    def __init__(
        self, engine: BranchEngine, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences.

        Args:
            engine: The model's branches; its vectors follow every sequence.
            sequences: N sequences over ACGTN.
            edits: E edits of them that leave at least one base.
            strands: "both", or "forward".
        """
        self.engine = engine
        self.strands = 2 if strands == "both" else 1
        self.views, self.edits = list(sequences), list(edits)
        if self.strands == 2:
            self.edits = edits_of_both_strands([len(s) for s in sequences], self.edits)
            self.views = both_strands(sequences)
        self.counts = len(sequences), len(edits)
        growth = max((edit.growth for edit in edits), default=0)
        self.longest = max(map(len, sequences)) + max(0, growth)

    @abstractmethod
    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        """Return values (B, C) of a group's sequences, and (N, C) of each of its branches."""

    @torch.no_grad()
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return values (N, C) of sequences and (E, C) of edits, averaged over the strands."""
        base: dict[int, np.ndarray] = {}
        edited: dict[int, np.ndarray] = {}
        after = self.engine.vector_ids.tolist()

        def read(group: EditGroup) -> tuple[EditGroup, Tensor, list[Tensor]]:
            return group, *self._read(group)

        groups = edit_groups(self.views, self.edits, self.engine.model.device, after)
        for group, own, others in side_by_side(read, groups):
            base |= zip(group.rows.tolist(), own.double().cpu().numpy(), strict=True)
            for (numbers, _), found in zip(group.branches, others, strict=True):
                edited |= zip(numbers.tolist(), found.double().cpu().numpy(), strict=True)
        rows, edits = (
            np.array([found[i] for i in range(len(found))]).reshape(self.strands, count, -1)
            for found, count in zip((base, edited), self.counts, strict=True)
        )
        return rows.mean(axis=0), edits.mean(axis=0)

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities (N, C) and (E, C), averaged over the strands before."""
        rows, edits = (torch.from_numpy(found).log_softmax(-1).numpy() for found in self.values())
        return rows, edits


class EditedPromptQueries(EditedQueries):
    """Sequences and edits in a prompt, whose answer is a label word of several letters."""

    def __init__(
        self, reader: PromptReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        super().__init__(branch_engine(reader.scorer.engine), sequences, edits, strands)
        self.reader = reader
        self.after = reader.scorer.room_after(reader.prompt)
        with torch.no_grad():
            self.prefix = reader.prefix(self.longest + self.after)

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        length = group.ids.shape[1]
        base = self.engine.base(self.prefix, group.ids, group.room + self.after, length - 1)
        rows = torch.arange(len(group.rows), device=group.ids.device)
        whole = Branches(rows, torch.full_like(rows, length - 1), group.ids[:, -1:])
        parts = [whole, *(branches for _, branches in group.branches)]
        own, *others = (self._answer(base, part) for part in parts)
        return own, others

    def _answer(self, base: BaseState, part: Branches) -> Tensor:
        states = self.engine.extend(base, part, self.after)
        return self.reader.scorer.answer(self.reader.prompt, states)[0]


class EditedQueriesAtEnd(EditedQueries):
    """Sequences and edits in a prompt, whose answer of one letter is read at the last position.

    What follows a query, [SEP] and learned vectors, counts as its end.
    """

    def __init__(
        self, reader: PromptReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        scorer, prompt = reader.scorer, reader.prompt
        with torch.no_grad():
            vectors, additions = scorer.ending(prompt)
            engine = branch_engine(scorer.engine, vectors, additions)
            super().__init__(engine, sequences, edits, strands)
            self.prefix = reader.prefix(self.longest + len(vectors))
        self.reader = reader

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        base = self.engine.base(self.prefix, group.ids, group.room, group.ids.shape[1] - 1)
        score = partial(self.reader.scorer.on_state, self.reader.prompt)
        ends = self.engine.encode_ends(base, [part for _, part in group.branches])
        return score(base.hidden[:, -1])[0], [score(end)[0] for end in ends]


class EditedQueriesOverall(EditedQueries):
    """Sequences and edits in a prompt, whose answer is read off the mean state of the query."""

    def __init__(
        self, reader: PromptReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        super().__init__(branch_engine(reader.scorer.engine), sequences, edits, strands)
        self.reader = reader
        with torch.no_grad():
            self.prefix = reader.prefix(self.longest)

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        base = self.engine.base(self.prefix, group.ids, group.room)
        means = (_mean_state(self.engine, base, part) for _, part in group.branches)
        own, *others = (
            self.reader.scorer.on_state(self.reader.prompt, mean.to(base.hidden))[0]
            for mean in (base.hidden.mean(dim=1), *means)
        )
        return own, others


class EditedChannelQueries(EditedQueries):
    """Sequences and edits after the contexts of all classes."""

    def __init__(
        self, reader: ChannelReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        super().__init__(branch_engine(reader.scorer.engine), sequences, edits, strands)
        self.reader = reader
        with torch.no_grad():
            self.contexts = reader.contexts(self.longest)

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        model = self.engine.model
        own: list[Tensor] = []
        others: list[list[Tensor]] = [[] for _ in group.branches]
        for context in self.contexts:
            base = self.engine.base(context, group.ids, group.room)
            each = log_probabilities(model, base.hidden[:, :-1], group.ids[:, 1:])
            own.append(each.sum(dim=1))
            for found, (_, part) in zip(others, group.branches, strict=True):
                hidden = self.engine.encode(base, part)
                fresh = branch_log_probabilities(model, base, part, hidden).sum(dim=1)
                before = max(0, int(part.starts[0]) - 1)
                found.append(each[part.rows, :before].sum(dim=1) + fresh)
        bases = is_base(group.ids)
        rows = self.reader.class_scores(torch.stack(own, dim=1), bases[:, 1:].sum(dim=1))
        edits = []
        for found, (_, part) in zip(others, group.branches, strict=True):
            start = int(part.starts[0])
            kept, fresh = bases[part.rows, 1:start], is_base(part.ids)
            count = kept.sum(dim=1) + fresh[:, 0 if start else 1 :].sum(dim=1)
            edits.append(self.reader.class_scores(torch.stack(found, dim=1), count))
        return rows, edits


def edited_queries(
    reader: PromptReader | LikelihoodReader,
    sequences: Sequence[str],
    edits: Sequence[Edit],
    strands: str,
) -> EditedQueries:
    """Return sequences and their edits as queries of a reader that can share them.

    A memory cannot: see `FewShot.shares_edits`.
    """
    if isinstance(reader, ChannelReader):
        return EditedChannelQueries(reader, sequences, edits, strands)
    assert isinstance(reader, PromptReader), "a memory is looked up for whole sequences"
    if reader.readout == "mean":
        return EditedQueriesOverall(reader, sequences, edits, strands)
    at_end = reader.scorer.verbalizer.length == 1
    queries = EditedQueriesAtEnd if at_end else EditedPromptQueries
    return queries(reader, sequences, edits, strands)


class EditedMeanStates(EditedQueries):
    """Mean final hidden states (N, D) of sequences and edits, as a linear probe reads them."""

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        base = self.engine.base(None, group.ids, group.room)
        means = [_mean_state(self.engine, base, part) for _, part in group.branches]
        return base.hidden.double().mean(dim=1), means


def _mean_state(engine: BranchEngine, base: BaseState, part: Branches) -> Tensor:
    """Return the mean final hidden states (N, D) of branches with one start, in float64."""
    start = int(part.starts[0])
    hidden = engine.encode(base, part)
    before = base.hidden[part.rows, :start].double().sum(dim=1)
    return (before + hidden.double().sum(dim=1)) / (start + hidden.shape[1])
