"""The memory readout: demonstrations kept as states and the base after each, one memory per class.

Every base of a query is predicted from those states of a class's demonstrations that resemble its
own: a nearest-neighbour language model (Khandelwal et al. 2020, arXiv 1911.00172) for each class,
read as the channel is, by the likelihood of the query. It is what a Markov chain of the
demonstrations does, with the backbone's states in place of the last k bases and the backbone's own
prediction in place of the uniform distribution. No demonstration stands before a query, so their
number is not limited by the backbone's context.

The weight of a state s for a state q is w = exp((cos(q, s) - 1) / bandwidth), both centred and
scaled to the same spread in every dimension. Few states are very similar to the query's, and many
are slightly similar to it, so predictions of several bandwidths are interpolated as the orders of a
Markov chain are: with c_b the sum of the weights of the states before base b, P(b | q) = (c_b +
prior P_wider(b | q)) / (sum of c + prior), where P_wider has twice the bandwidth, and is the
backbone's own prediction for the widest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.letters import LETTERS, at_least_single
from icl.inference.batches import EncodedSequences, both_strands
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.likelihood import BUCKET, LikelihoodReader
from icl.inference.query_set import TOKENS, QuerySet, number_format
from icl.inference.reader import relaxed_embeddings
from icl.method import Context
from tasks.task import Example

AT_ONCE = 1 << 23
"""Most weights that are held at a time: 32 MB."""

LEAST_SPREAD = 1e-6
"""Least deviation to divide by: a dimension in which no state differs stays at zero."""


@dataclass(frozen=True)
class Interpolation:
    """How the predictions of several bandwidths are put together.

    Attributes:
        bandwidth: The narrowest.
        levels: How many there are; each is twice the one before.
        prior: Weight of a wider one's prediction, and of the backbone's own, in states.
    """

    bandwidth: float
    levels: int
    prior: float


@dataclass(frozen=True)
class StateMemory:
    """States of one class's demonstrations, in the order of the base after each.

    Attributes:
        states: (M, D), of length 1.
        counts: How many states precede A, C, G and T; they sum to M.
        interpolation: Of bandwidths.
    """

    states: Tensor
    counts: tuple[int, ...]
    interpolation: Interpolation

    def log_probabilities(self, states: Tensor, backbone: Tensor) -> Tensor:
        """Return log P(base | state) over A, C, G and T, (L, 4).

        Args:
            states: (L, D), of length 1.
            backbone: (L, 4) the backbone's own probabilities.
        """
        step = max(1, AT_ONCE // max(1, len(self.states)))
        levels = torch.cat([self._weights(some) for some in states.split(step)], dim=1)
        prior, found = self.interpolation.prior, backbone
        for level in levels:
            found = (level + prior * found) / (level.sum(dim=1, keepdim=True) + prior)
        return found.log()

    def _weights(self, states: Tensor) -> Tensor:
        """Return the summed weights of the states before each base, (levels, L, 4), widest first.

        Half the bandwidth squares a weight.
        """
        levels = self.interpolation.levels
        widest = self.interpolation.bandwidth * 2 ** (levels - 1)
        weights = ((states @ self.states.t() - 1) / widest).exp()
        found = []
        for level in range(levels):
            weights = weights.square() if level else weights
            parts = weights.split(self.counts, 1)
            found.append(torch.stack([part.sum(dim=1) for part in parts], dim=1))
        return torch.stack(found)


@dataclass(frozen=True)
class Memories:
    """The memories of all classes, and how states are scaled before they are compared.

    Attributes:
        classes: One memory per class.
        centre: (D,) mean of all states.
        spread: (D,) their standard deviations.
    """

    classes: tuple[StateMemory, ...]
    centre: Tensor
    spread: Tensor

    def scaled(self, states: Tensor) -> Tensor:
        """Return states (L, D) centred, with the same spread in every dimension, of length 1."""
        return F.normalize((states - self.centre) / self.spread, dim=-1)


@dataclass
class MemoryReader(LikelihoodReader):
    """Scores queries by the memories of the classes.

    Attributes:
        interpolation: Of bandwidths.
    """

    interpolation: Interpolation = field(kw_only=True)
    _memories: Memories | None = field(default=None, init=False)

    @property
    def longest_query(self) -> int:
        """Longest query, in tokens: nothing stands before it."""
        return self.scorer.model.config.max_seq_len

    def queries(self, examples: Sequence[Example], strands: str) -> MemoryQuerySet:
        """Return rows as queries."""
        return MemoryQuerySet(self, examples, strands)

    def memories(self) -> Memories:
        """Return the memories, which are filled once; both strands of the demonstrations count."""
        if self._memories is None:
            with torch.no_grad(), number_format(self.context):
                self._memories = self._fill()
        return self._memories

    def _fill(self) -> Memories:
        found = []
        for label in range(len(self.context.labels)):
            own = [d.sequence for d in self.demonstrations.shared() if d.label == label]
            found.append(_states_and_bases(self.scorer, self.context, both_strands(own)))
        centre, spread = _mean_and_deviation(torch.cat([states for states, _ in found]))
        memories = []
        for states, bases in found:
            order = bases.argsort(stable=True)
            scaled = F.normalize((states[order] - centre) / spread, dim=-1)
            counts = tuple(bases.bincount(minlength=len(LETTERS)).tolist())
            memories.append(StateMemory(scaled, counts, self.interpolation))
        return Memories(tuple(memories), centre, spread)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """Return log P(base after a position), (C, L, 4), from final states (L, D) of a query."""
        memories = self.memories()
        states = memories.scaled(at_least_single(hidden))
        own = _letter_logits(self.scorer, hidden).softmax(-1)
        return torch.stack([one.log_probabilities(states, own) for one in memories.classes])

    def relaxed_scores(self, letters: Tensor) -> Tensor:
        """Return the class scores (C,) of one relaxed query; see `Method.relaxed_scores`."""
        vectors = relaxed_embeddings(self.scorer.model, letters)[None]
        hidden = self.scorer.engine.encode(None, vectors)[0, :-1]
        targets = letters[1:, :-1].to(vectors.device)
        likelihoods = (self.log_probabilities(hidden) * targets).sum(dim=(1, 2))
        return self.class_scores(likelihoods[None], targets.sum()[None])[0]


class MemoryQuerySet(QuerySet):
    """Labelled queries, read without context and scored by the memories."""

    def __init__(self, reader: MemoryReader, examples: Sequence[Example], strands: str) -> None:
        """Encode the rows; see `QuerySet`."""
        super().__init__(reader.context, examples, strands, reader.longest_query, bucket=BUCKET)
        self.reader = reader

    def _shared(self) -> None:
        self.reader.memories()

    def _read(self, rows: np.ndarray, shared: None) -> tuple[Tensor, None]:
        reader, batch = self.reader, self._batch(rows)
        hidden = reader.scorer.engine.encode(None, batch.ids)
        targets = reader.scorer.targets(batch.ids, batch.lengths)
        likelihoods = []
        for states, letters, counted in zip(hidden, targets.index, targets.counted, strict=True):
            # A row at a time, so that its digits do not depend on the batch.
            found = reader.log_probabilities(states)
            chosen = found.gather(2, letters[None, :, None].expand(len(found), -1, 1))[..., 0]
            likelihoods.append((chosen * counted).sum(dim=1))
        bases = targets.counted.sum(dim=1)
        return reader.class_scores(torch.stack(likelihoods), bases), None


def _mean_and_deviation(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return both of states (M, D), each (D,); 0 and 1 of no states."""
    if not len(states):
        return states.new_zeros(states.shape[1]), states.new_ones(states.shape[1])
    return states.mean(dim=0), states.std(dim=0, correction=0).clamp(min=LEAST_SPREAD)


def _letter_logits(scorer: ChannelScorer, hidden: Tensor) -> Tensor:
    return at_least_single(scorer.model.letter_logits(hidden, scorer.letters))


@torch.no_grad()
def _states_and_bases(
    scorer: ChannelScorer, context: Context, sequences: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return the final states (M, D) that stand before a known base, and that base (M,), 0 to 3."""
    encoded = EncodedSequences(sequences, scorer.model.config.max_seq_len)
    nothing = scorer.model.embed(scorer.letters[:0])
    states, bases = [at_least_single(nothing)], [scorer.letters[:0]]
    for batch in encoded.batches(context.batch_size, TOKENS):
        on_device = batch.to(context.device)
        targets = scorer.targets(on_device.ids, on_device.lengths)
        hidden = scorer.engine.encode(None, on_device.ids)
        states.append(at_least_single(hidden[targets.counted]))
        bases.append(targets.index[targets.counted])
    return torch.cat(states), torch.cat(bases)
