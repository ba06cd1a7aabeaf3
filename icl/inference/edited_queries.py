"""Queries and their edited forms: what an edit leaves as it is, is encoded once.

It answers like `QuerySet`, for N sequences and E edits of them. Where the shared form is not
available (see `can_share`) whole sequences give the same scores up to rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backbone.engine.branches import BranchEngine, Branches
from backbone.engine.edit_groups import EditGroup, edit_groups
from backbone.engine.likelihood import branch_log_probabilities, is_base, log_probabilities
from backbone.engine.prefix import PrefixEngine
from backbone.hyena.model import HyenaDNA
from backbone.sequence.edits import Edit, edits_of_both_strands
from icl.inference.batches import both_strands
from icl.inference.channel import ChannelReader, normalise
from icl.inference.reader import PromptReader
from icl.method import Context


def can_share(model: HyenaDNA, context: Context) -> bool:
    """Return whether edited sequences can be encoded as branches: no hooks, single precision."""
    return context.precision == "float32" and BranchEngine.supports(model)


class EditedQueries(ABC):
    """Sequences and edits of them, on one strand or on both, and how a group of them is read."""

    def __init__(
        self, engine: PrefixEngine, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences.

        Args:
            engine: The model's prefix engine.
            sequences: N sequences over ACGTN.
            edits: E edits of them that leave at least one base.
            strands: "both", or "forward".
        """
        self.engine = BranchEngine(engine)
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
        for group in edit_groups(self.views, self.edits, self.engine.model.device):
            own, others = self._read(group)
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
    """Sequences and edits in a prompt, whose answer is a label word."""

    def __init__(
        self, reader: PromptReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        super().__init__(reader.scorer.engine, sequences, edits, strands)
        self.reader = reader
        self.after = reader.scorer.room_after(reader.prompt)
        with torch.no_grad():
            self.prefix = reader.prefix(self.longest + self.after)

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        over_query = self.reader.readout == "mean"
        length = group.ids.shape[1]
        first = 0 if over_query else length - 1
        base = self.engine.base(self.prefix, group.ids, group.room + self.after, first)
        parts = [branches for _, branches in group.branches]
        if not over_query:
            rows = torch.arange(len(group.rows), device=group.ids.device)
            whole = Branches(rows, torch.full_like(rows, length - 1), group.ids[:, -1:])
            states = [self.engine.extend(base, part, self.after) for part in (whole, *parts)]
            own, *others = (self.reader.scorer.answer(self.reader.prompt, s)[0] for s in states)
            return own, others
        sums = [base.hidden[p.rows, : int(p.starts[0])].sum(dim=1) for p in parts]
        hidden = [self.engine.encode(base, part) for part in parts]
        means = [
            (before + after.sum(dim=1)) / (int(part.starts[0]) + after.shape[1])
            for before, after, part in zip(sums, hidden, parts, strict=True)
        ]
        score = self.reader.scorer.on_mean_state
        found = [score(self.reader.prompt, m)[0] for m in (base.hidden.mean(dim=1), *means)]
        return found[0], found[1:]


class EditedChannelQueries(EditedQueries):
    """Sequences and edits behind the contexts of all classes."""

    def __init__(
        self, reader: ChannelReader, sequences: Sequence[str], edits: Sequence[Edit], strands: str
    ) -> None:
        """Keep the sequences; see `EditedQueries`."""
        super().__init__(reader.scorer.engine, sequences, edits, strands)
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
        rows = self._scored(own, bases[:, 1:].sum(dim=1))
        edits = []
        for found, (_, part) in zip(others, group.branches, strict=True):
            start = int(part.starts[0])
            kept, fresh = bases[part.rows, 1:start], is_base(part.ids)
            count = kept.sum(dim=1) + fresh[:, 0 if start else 1 :].sum(dim=1)
            edits.append(self._scored(found, count))
        return rows, edits

    def _scored(self, likelihoods: list[Tensor], bases: Tensor) -> Tensor:
        prompt = self.reader.prompt
        found = normalise(torch.stack(likelihoods, dim=1), bases, self.reader.normalisation)
        return prompt.log_scale.exp() * found + prompt.offset


def edited_queries(
    reader: PromptReader | ChannelReader,
    sequences: Sequence[str],
    edits: Sequence[Edit],
    strands: str,
) -> EditedQueries:
    """Return sequences and their edits as queries of a reader."""
    if isinstance(reader, ChannelReader):
        return EditedChannelQueries(reader, sequences, edits, strands)
    return EditedPromptQueries(reader, sequences, edits, strands)


class EditedMeanStates(EditedQueries):
    """Mean final hidden states (N, D) of sequences and edits, as a linear probe reads them."""

    def _read(self, group: EditGroup) -> tuple[Tensor, list[Tensor]]:
        base = self.engine.base(None, group.ids, group.room)
        own, others = base.hidden.double().sum(dim=1), []
        for _, part in group.branches:
            start = int(part.starts[0])
            hidden = self.engine.encode(base, part)
            before = base.hidden[part.rows, :start].double().sum(dim=1)
            total = before + hidden.double().sum(dim=1)
            others.append(total / (start + hidden.shape[1]))
        return own / group.ids.shape[1], others
