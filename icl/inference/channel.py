"""The channel readout: how likely is the query, given each class's prompt?

Direct prompting asks P(label word | demonstrations, query) at one position. The channel readout
(Min et al. 2022, ACL, "Noisy channel language model prompting", arXiv 2108.04106) turns it
round: what stands for a class, a learned prompt or its demonstrations, stands in front of the
query, and the class's score is the likelihood of the query behind it,

    s_c = sum over positions t of log P(x_t | class context c, x_1 ... x_{t-1}),

with P normalised over A, C, G and T. By Bayes' rule s_c + log P(c) is the log-posterior up to a
constant that all classes share.

Which bases count: every A, C, G and T but the first. The first base would be predicted at the
last position of the context, which differs between kinds of contexts (a vector, a separator, a
base) in ways that say nothing about the query. N is never a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.common.errors import InputError
from backbone.models import context_engine
from backbone.protocol import ContextEngine, ContextState, LanguageModel, Targets
from backbone.tokens import NUCLEOTIDES, encode_dna
from icl.inference.batches import Batch
from icl.inference.demonstrations import DemonstrationSet
from icl.inference.query_set import QuerySet, number_format
from icl.inference.reader import ROOM, relaxed_embeddings
from icl.inference.readout import NORMALISATIONS
from icl.method import Context
from prompts.calibration import calibrate, fit_scale_and_offset, fitted
from prompts.channel_prompt import ChannelPrompt
from prompts.template import ClassTemplate
from prompts.verbalizer import Verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example, subset

CHOOSING = 256
"""Most rows that choose a normalisation."""

LEAST_SCALE = 1.0
"""Least scale that tuning starts from, in units of that of Bayes' rule."""

BUCKET = 8
"""Queries are padded to a multiple of this length: every position of theirs is computed."""


class ChannelScorer:
    """The likelihood of queries behind the context of each class."""

    def __init__(self, model: LanguageModel, engine: ContextEngine | None = None) -> None:
        """Keep the frozen model.

        Args:
            model: The backbone.
            engine: An engine over the same model, to share its cached filters.
        """
        self.model, self.engine = model, engine or context_engine(model)
        self.letters = torch.from_numpy(encode_dna("ACGT")).long().to(model.device)

    def context(
        self,
        parts: Sequence[Tensor],
        room: int,
        *,
        state_offsets: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> ContextState | None:
        """Encode the prompt of one class.

        Args:
            parts: In their order, token ids (S,) or vectors (P, D); empty ones are skipped.
            room: Positions that may follow.
            state_offsets: (n_layer, D), of `ContextEngine.offset_state`.
            additions: (n_layer - 1, P, D), added to the inputs of the layers above the first at the
                positions of the first part (deep prompts).

        Returns:
            The state behind the context, shared by all rows; None for an empty context.

        Raises:
            InputError: If the context and the room exceed the model's max_seq_len.
        """
        parts = [part for part in parts if len(part)]
        room_behind = room + sum(map(len, parts))
        state = (
            None if state_offsets is None else self.engine.offset_state(state_offsets, room_behind)
        )
        for i, part in enumerate(parts):
            room_behind -= len(part)
            state = self.engine.extend(
                state, part[None], room_behind, additions=additions if i == 0 else None
            )
        return state

    def log_likelihood(
        self, contexts: Sequence[ContextState | None], ids: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return the summed log-likelihood (B, C) of queries behind each class's context.

        Args:
            contexts: One for each of the C classes, with room for L positions.
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).
        """
        return self.engine.log_likelihood(contexts, ids, self.targets(ids, lengths))

    def targets(self, ids: Tensor, lengths: Tensor) -> Targets:
        """Return which bases count, and which letter each is, at the position before each.

        Args:
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).

        Returns:
            The letters A, C, G and T; index 0 where a position does not count.
        """
        matches = F.pad(ids[:, 1:], (0, 1), value=-1)[..., None] == self.letters
        inside = torch.arange(1, ids.shape[1] + 1, device=ids.device) < lengths[:, None]
        return Targets(self.letters, matches.int().argmax(-1), matches.any(-1) & inside)


def normalise(log_likelihood: Tensor, bases: Tensor, normalisation: str) -> Tensor:
    """Divide summed log-likelihoods (B, C) by what the number of counted bases (B,) gives.

    With `sum` the scores of long rows are far more certain than those of short ones; `base` makes
    all rows alike, and `sqrt` lies between: the deviation of a sum of n independent terms grows
    with the square root of n.
    """
    bases = bases.clamp(min=1).to(log_likelihood.dtype)[:, None]
    return log_likelihood / {"sum": torch.ones_like(bases), "base": bases}.get(
        normalisation, bases.sqrt()
    )


@dataclass
class ChannelReader:
    """Puts queries behind each class's context and compares their likelihoods.

    A class's context is its vectors, then its demonstrations. The score of a class is the
    normalised log-likelihood times a scale, plus an offset.

    Attributes:
        scorer: The frozen backbone.
        prompt: What is learned; empty for demonstrations alone.
        demonstrations: Demonstrations that all queries share, drawn or loaded.
        context: The run's device, precision and batch size.
        normalisation: One of `NORMALISATIONS`; or `auto`, until `choose_normalisation`.
    """

    scorer: ChannelScorer
    prompt: ChannelPrompt
    demonstrations: DemonstrationSet
    context: Context
    normalisation: str = "sqrt"
    _frozen: list[ContextState | None] = field(default_factory=list, init=False)
    _frozen_room: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        """Encode each class's demonstrations as tokens."""
        template = self.demonstrations.template(Verbalizer(()))
        assert isinstance(template, ClassTemplate)
        self.template = template
        self.class_ids = [
            torch.from_numpy(template.encode_class(self.demonstrations.shared(), label)).to(
                self.context.device
            )
            for label in range(len(self.context.labels))
        ]

    @property
    def longest_query(self) -> int:
        """Longest query, in tokens, that fits behind the longest context of a class."""
        vectors = self.prompt.vectors.shape[1]
        return self.scorer.model.config.max_seq_len - vectors - self.shared_length

    def contexts(self, room: int) -> list[ContextState | None]:
        """Return each class's context, with `room` positions behind it.

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
        targets = letters[1:, :-1]
        likelihoods = []
        for context in self.contexts(len(letters)):
            hidden = engine.encode(context, vectors)[0, :-1]
            logits = model.letter_logits(hidden, self.scorer.letters)
            likelihoods.append((logits.log_softmax(-1) * targets).sum())
        bases = targets.sum()[None]
        normalised = normalise(torch.stack(likelihoods)[None], bases, self.normalisation)[0]
        return self.prompt.log_scale.exp() * normalised + self.prompt.offset

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

    def choose_normalisation(self, examples: Sequence[Example], strands: str) -> None:
        """Replace `auto` by the normalisation of least loss on labelled rows.

        Scale and offsets are fitted for each. The first of equals is chosen, as where all rows have
        equally many bases.
        """
        if self.normalisation != "auto":
            return
        few = subset(examples, min(len(examples), CHOOSING), self.context.seed)
        self.normalisation = "sum"
        queries = self.queries(few, strands)
        bases = torch.tensor([max(1, _counted(row)) for row in queries.queries.encoded])
        summed, labels = torch.from_numpy(queries.scores()), queries.labels
        losses = {}
        for name in NORMALISATIONS:
            scores = fitted(normalise(summed, bases[: len(labels)], name).numpy(), labels)
            losses[name] = round(TASK_KINDS["classes"].validate(scores, labels)[0], 6)
        self.normalisation = min(losses, key=losses.__getitem__)

    def state(self) -> dict[str, np.ndarray]:
        """Return the normalisation in use, as its place among `NORMALISATIONS`."""
        return {"normalisation": np.array(NORMALISATIONS.index(self.normalisation))}

    def load_state(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Take over what `state` returned; return the other arrays.

        Raises:
            InputError: If it is missing or unknown.
        """
        rest = dict(state)
        place = rest.pop("normalisation", np.array(-1))
        if place.shape != () or not 0 <= place < len(NORMALISATIONS):
            raise InputError("the saved run does not say its normalisation; run again")
        self.normalisation = NORMALISATIONS[int(place)]
        return rest

    def details(self) -> dict[str, Any]:
        """Return what scores are made of, for the report."""
        return {
            "normalisation": self.normalisation,
            "scale": float(self.prompt.log_scale.detach().exp()),
            "offset": self.prompt.offset.tolist(),
        }

    def begin(self, queries: QuerySet) -> None:
        """Fit scale and offsets before tuning.

        Scores that do not tell the classes apart yet would have a scale near 0, from which tuning
        takes long to return: it starts at no less than `LEAST_SCALE` times that of Bayes' rule,
        under which the log-likelihoods of all bases are summed.
        """
        bases = torch.tensor([[len(row) for row in queries.queries.encoded]]).double().mean()
        rule = normalise(torch.ones(1, 1), bases[None], self.normalisation)
        least = LEAST_SCALE / float(rule)
        self.prompt.rescale(*fit_scale_and_offset(queries.scores(), queries.labels, least))

    def calibrate(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Fit scale and offsets to labelled rows; see `PromptReader.calibrate`."""
        scale, offset = fit_scale_and_offset(scores, labels)
        self.prompt.rescale(scale, offset)
        return calibrate(scale * scores, offset)


def _counted(ids: np.ndarray) -> int:
    """Return how many of a row's bases count."""
    return int(np.isin(ids[1:], NUCLEOTIDES).sum())


class ChannelQuerySet(QuerySet):
    """Labelled queries after the contexts of all classes."""

    def __init__(self, reader: ChannelReader, examples: Sequence[Example], strands: str) -> None:
        """Encode the rows; see `QuerySet`."""
        super().__init__(reader.context, examples, strands, reader.longest_query, bucket=BUCKET)
        self.reader = reader

    def _shared(self) -> list[ContextState | None]:
        return self.reader.contexts(int(self.queries.padded.max(initial=0)))

    def _read(self, batch: Batch, shared: list[ContextState | None]) -> tuple[Tensor, None]:
        reader = self.reader
        likelihood = reader.scorer.log_likelihood(shared, batch.ids, batch.lengths)
        bases = reader.scorer.targets(batch.ids, batch.lengths).counted.sum(dim=1)
        normalised = normalise(likelihood, bases, reader.normalisation)
        return reader.prompt.log_scale.exp() * normalised + reader.prompt.offset, None
