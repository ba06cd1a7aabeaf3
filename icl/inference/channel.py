"""The channel readout: how likely is the query, given each class's prompt?

Direct prompting asks P(label word | demonstrations, query) at one position. The channel readout
(Min et al. 2022, ACL, "Noisy channel language model prompting", arXiv 2108.04106) asks the
reverse: a learned prompt or the demonstrations of a class precede the query, and the class's score
is the likelihood of the query after them,

    s_c = sum over positions t of log P(x_t | class context c, x_1 ... x_{t-1}),

with P normalised over A, C, G and T. By Bayes' rule s_c + log P(c) is the log-posterior up to a
constant that all classes share.

Which bases count: every A, C, G and T but the first. The first base would be predicted at the
last position of the context, which differs between kinds of contexts (a vector, a separator, a
base) in ways that say nothing about the query. N is never a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from backbone.protocol import ContextState
from icl.inference.likelihood import BUCKET, LikelihoodReader
from icl.inference.query_set import QuerySet, number_format
from icl.inference.reader import ROOM, relaxed_embeddings
from tasks.task import Example


@dataclass
class ChannelReader(LikelihoodReader):
    """Puts queries after each class's context and compares their likelihoods.

    A class's context is its vectors, then its demonstrations.

    Attributes:
        class_ids: Token ids (S,) of each class's demonstrations.
    """

    _frozen: list[ContextState | None] = field(default_factory=list, init=False)
    _frozen_room: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        """Encode each class's demonstrations as tokens."""
        super().__post_init__()
        shown = self.demonstrations.shared()
        self.class_ids = [
            torch.from_numpy(self.template.encode_class(shown, label)).to(self.context.device)
            for label in range(len(self.context.labels))
        ]

    @property
    def longest_query(self) -> int:
        """Longest query, in tokens, that fits after the longest context of a class."""
        vectors = self.prompt.vectors.shape[1]
        return self.scorer.model.config.max_seq_len - vectors - self.shared_length

    def contexts(self, room: int) -> list[ContextState | None]:
        """Return each class's context, with `room` positions after it.

        Contexts of which nothing is learned are encoded once and kept.
        """
        weights = self.scorer.model.parameters()
        if self.prompt.changes_states or any(p.requires_grad for p in weights):
            return self._encode(room)
        if self._frozen_room < room:
            most = self.longest_query
            self._frozen_room = min(most, max(ROOM, 1 << (room - 1).bit_length()))
            with torch.no_grad(), number_format(self.context):
                self._frozen = self._encode(self._frozen_room)
        return self._frozen

    def _encode(self, room: int) -> list[ContextState | None]:
        return [
            self.scorer.context(
                [self.prompt.vectors[label], ids],
                room,
                state_offsets=self.prompt.state_offsets(label),
                additions=self.prompt.additions(label),
            )
            for label, ids in enumerate(self.class_ids)
        ]

    def relaxed_scores(self, letters: Tensor) -> Tensor:
        """Return the class scores (C,) of one relaxed query; see `Method.relaxed_scores`.

        A share of a letter also counts as that much of a target.
        """
        model, engine = self.scorer.model, self.scorer.engine
        vectors = relaxed_embeddings(model, letters)[None]
        targets = letters[1:, :-1].to(vectors.device)
        likelihoods = []
        for context in self.contexts(len(letters)):
            hidden = engine.encode(context, vectors)[0, :-1]
            logits = model.letter_logits(hidden, self.scorer.letters)
            likelihoods.append((logits.log_softmax(-1) * targets).sum())
        return self.class_scores(torch.stack(likelihoods)[None], targets.sum()[None])[0]

    @property
    def shared_length(self) -> int:
        """Tokens of the longest class's demonstrations."""
        return max(map(len, self.class_ids), default=0)

    def start_from(self, examples: Sequence[Example]) -> None:
        """Set the vectors of each class to the embeddings of its rows, from the first one on."""
        rows: list[list[str]] = [[] for _ in self.class_ids]
        for example in examples:
            rows[example.label].append(example.sequence)
        self.prompt.start_from_sequences(self.scorer.model, rows)

    def queries(self, examples: Sequence[Example], strands: str) -> "ChannelQuerySet":
        """Return rows as queries."""
        return ChannelQuerySet(self, examples, strands)


class ChannelQuerySet(QuerySet):
    """Labelled queries after the contexts of all classes."""

    def __init__(self, reader: ChannelReader, examples: Sequence[Example], strands: str) -> None:
        """Encode the rows; see `QuerySet`."""
        super().__init__(reader.context, examples, strands, reader.longest_query, bucket=BUCKET)
        self.reader = reader

    def _shared(self) -> list[ContextState | None]:
        return self.reader.contexts(int(self.queries.padded.max(initial=0)))

    def _read(self, rows: np.ndarray, shared: list[ContextState | None]) -> tuple[Tensor, None]:
        reader, batch = self.reader, self._batch(rows)
        likelihood = reader.scorer.log_likelihood(shared, batch.ids, batch.lengths)
        bases = reader.scorer.targets(batch.ids, batch.lengths).counted.sum(dim=1)
        return reader.class_scores(likelihood, bases), None
