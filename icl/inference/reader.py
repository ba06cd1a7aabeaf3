"""Class scores in context: [vectors ; demonstrations ; query ; SEP ; vectors], batch by batch.

Whatever precedes all queries and is not learned is encoded once. If nothing learned precedes a
query, the query itself is also encoded once. `PromptReader` puts queries into a prompt; how the
answer is read off the backbone is the readout of `LabelWordScorer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from backbone.letters import at_least_single
from backbone.models import context_engine
from backbone.protocol import ContextState, LanguageModel
from backbone.sequence.dna import DNA
from backbone.tokens import SEP, TOKEN_ID
from icl.inference.batches import Batch
from icl.inference.demonstrations import DemonstrationSet
from icl.inference.query_set import QuerySet, number_format
from icl.inference.state_cache import cached_states, fits
from icl.method import Context
from prompts.calibration import calibrate, fit_offset
from prompts.soft_prompt import PromptShape, SoftPrompt
from prompts.verbalizer import Verbalizer
from tasks.task import Example

ROOM = 1 << 14
"""Least positions to encode shared demonstrations for. The last digits of a state depend on this
size, so no query may decide it as long as queries need no more."""

ENDING = 24
"""Kept states of queries have room for a multiple of so many positions, so that they serve prompts
of several lengths."""


class LabelWordScorer:
    """Scores classes by their label words, at the answer's position or over the query."""

    def __init__(self, model: LanguageModel, verbalizer: Verbalizer) -> None:
        """Hold the frozen model and the label words."""
        self.model, self.verbalizer = model, verbalizer
        self.engine = context_engine(model)
        self.words = torch.from_numpy(verbalizer.ids).to(model.device)

    def room_after(self, prompt: SoftPrompt) -> int:
        """Return how many positions follow the query: [SEP], vectors, all but a word's last letter.

        The last letter is predicted and never read.
        """
        return 1 + len(prompt.after) + self.verbalizer.length - 1

    def prefix(self, prompt: SoftPrompt, demonstrations: Tensor, room: int) -> ContextState | None:
        """Encode what all rows have in front: learned vectors, then demonstrations.

        Args:
            prompt: The learned vectors.
            demonstrations: (S,) token ids.
            room: How many positions may follow.

        Returns:
            One state for all rows; None if nothing stands in front.
        """
        state = None
        if prompt.state is not None:
            everything = len(prompt.before) + len(demonstrations) + room
            state = self.engine.offset_state(prompt.state, everything)
        if len(prompt.before):
            state = self.engine.extend(
                state,
                prompt.before[None],
                len(demonstrations) + room,
                additions=prompt.additions_before(),
            )
        if len(demonstrations):
            state = self.engine.extend(state, demonstrations[None], room)
        return state

    def contexts(
        self, prompt: SoftPrompt, batch: Batch, prefix: ContextState | None, room: int | None = None
    ) -> ContextState:
        """Encode the queries of a batch; their states do not depend on what follows.

        Args:
            prompt: The learned vectors.
            batch: The queries.
            prefix: What all of them have in front.
            room: How many positions may follow; by default `room_after`.
        """
        room = self.room_after(prompt) if room is None else room
        return self.engine.extend(prefix, batch.ids, room, lengths=batch.lengths)

    def ending(self, prompt: SoftPrompt) -> tuple[Tensor, Tensor | None]:
        """Return what follows a query, [SEP] and vectors (1 + P, D), and their later additions."""
        sep = self.model.embed(torch.full((1,), SEP, device=prompt.after.device))
        return torch.cat([sep, prompt.after]), prompt.additions_after()

    def answer(self, prompt: SoftPrompt, contexts: ContextState) -> tuple[Tensor, Tensor]:
        """Score the label words after [SEP] and the vectors after the query.

        Returns:
            Class scores (B, C), the offset included, and next-token logits (B, V) at the answer.
        """
        ending, additions = self.ending(prompt)
        segment = ending.expand(contexts.count, -1, -1)
        hidden = self.engine.encode_last(contexts, segment, additions=additions)
        if self.verbalizer.length == 1:
            return self.on_state(prompt, hidden)
        logits = at_least_single(self.model.logits(hidden))
        ended = self.engine.extend(
            contexts, segment, self.verbalizer.length - 1, additions=additions
        )
        likely = self._words_after(ended, logits.log_softmax(-1))
        return likely + prompt.offset, logits

    def _words_after(self, ended: ContextState, first: Tensor) -> Tensor:
        """Return log-probabilities of whole words (B, C), given those of first letters (B, V)."""
        scores = []
        for word in self.words:
            vectors = self.model.embed(word[:-1]).expand(len(first), -1, -1)
            logits = self.model.logits(self.engine.encode(ended, vectors))
            later = at_least_single(logits).log_softmax(-1)
            letters = later.gather(2, word[1:].expand(len(first), -1)[..., None])
            scores.append(first[:, word[0]] + letters.sum(dim=(1, 2)))
        return torch.stack(scores, dim=1)

    def over_query(
        self, prompt: SoftPrompt, batch: Batch, prefix: ContextState | None
    ) -> tuple[Tensor, Tensor]:
        """Score the label words on the mean hidden state over the query.

        Returns:
            Class scores (B, C), the offset included, and the mean state's logits (B, V).
        """
        hidden = self.engine.encode(prefix, batch.ids)
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        return self.on_state(prompt, mean)

    def on_state(self, prompt: SoftPrompt, states: Tensor) -> tuple[Tensor, Tensor]:
        """Score label words of one letter on final hidden states (B, D).

        Returns:
            Class scores (B, C), the offset included, and next-token logits (B, V).
        """
        logits = at_least_single(self.model.logits(states))
        return logits[:, self.words[:, 0]] + prompt.offset, logits


def relaxed_embeddings(model: LanguageModel, letters: Tensor) -> Tensor:
    """Return embeddings (L, D) of shares (L, 5) of A, C, G, T and N."""
    words = model.embed(torch.tensor([TOKEN_ID[x] for x in DNA.letters], device=model.device))
    return letters.to(words) @ words


@dataclass
class PromptReader:
    """Puts queries into a prompt and reads class scores off the backbone.

    Attributes:
        scorer: The frozen backbone with its label words.
        prompt: Vectors before and after the query, of length 0 where none are learned; offsets.
        demonstrations: Demonstrations, drawn or loaded.
        context: The run's device, precision and batch size.
        readout: `direct` reads the label words at the answer's position; `mean` over the query.
    """

    scorer: LabelWordScorer
    prompt: SoftPrompt
    demonstrations: DemonstrationSet
    context: Context
    readout: str = "direct"
    _frozen: ContextState | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Encode the demonstrations that all queries share as tokens."""
        self.template = self.demonstrations.template(self.scorer.verbalizer)
        shared = self.demonstrations.shared_ids(self.template)
        self.shared = torch.from_numpy(shared).to(self.context.device)

    @property
    def longest_query(self) -> int:
        """Longest query, in tokens, that fits between the shared prefix and the answer."""
        vectors = len(self.prompt.before) + len(self.prompt.after)
        ending = 1 + self.scorer.verbalizer.length
        return self.scorer.model.config.max_seq_len - vectors - len(self.shared) - ending

    @property
    def learns_before(self) -> bool:
        """Whether the states of a query change with what is learned."""
        return self.prompt.changes_queries

    def prefix(self, room: int) -> ContextState | None:
        """Return the state of the shared prefix, with `room` positions after it.

        A prefix of which nothing is learned is encoded once and kept.
        """
        if self.learns_before:
            return self.scorer.prefix(self.prompt, self.shared, room)
        if len(self.shared) and (self._frozen is None or self._frozen.room < room):
            left = self.scorer.model.config.max_seq_len - len(self.shared)
            room = min(left, max(ROOM, 1 << (room - 1).bit_length()))
            with torch.no_grad(), number_format(self.context):
                self._frozen = self.scorer.prefix(self.prompt, self.shared, room)
        return self._frozen

    def answers(self, batch: Batch, prefix: ContextState | None) -> tuple[Tensor, Tensor]:
        """Return class scores (B, C) and next-token logits (B, V)."""
        if self.readout == "mean":
            return self.scorer.over_query(self.prompt, batch, prefix)
        return self.scorer.answer(self.prompt, self.scorer.contexts(self.prompt, batch, prefix))

    def relaxed_scores(self, letters: Tensor) -> Tensor:
        """Return the class scores (C,) of one relaxed query; see `Method.relaxed_scores`."""
        vectors = relaxed_embeddings(self.scorer.model, letters)[None]
        length = vectors.shape[1]
        lengths = torch.tensor([length], device=vectors.device)
        batch = Batch(np.zeros(1, dtype=np.int64), vectors, lengths)
        prefix = self.prefix(length + self.scorer.room_after(self.prompt))
        return self.answers(batch, prefix)[0][0]

    @property
    def shared_length(self) -> int:
        """Tokens of the demonstrations that all queries share."""
        return len(self.shared)

    def start_from(self, examples: Sequence[Example]) -> None:
        """Set the learned vectors to the embeddings of rows, from the first one on."""
        self.prompt.start_from_sequence(self.scorer.model, "".join(e.sequence for e in examples))

    def queries(self, examples: Sequence[Example], strands: str) -> "PromptQuerySet":
        """Return rows as queries."""
        return PromptQuerySet(self, examples, strands)

    def begin(self, queries: QuerySet) -> None:
        """Fit the offsets before tuning."""
        self.calibrate(queries.scores(), queries.labels)

    def calibrate(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Fit the offsets to labelled rows.

        Args:
            scores: (N, C), what the prompt gives now.
            labels: (N,).

        Returns:
            The scores (N, C) that it gives from now on.
        """
        more = fit_offset(scores, labels)
        self.prompt.set_offset(self.prompt.offset.detach().cpu().numpy() + more)
        return calibrate(scores, more)


def reader_without_vectors(
    model: LanguageModel,
    words: Verbalizer,
    demonstrations: DemonstrationSet,
    context: Context,
    offset: np.ndarray | None = None,
) -> PromptReader:
    """Return a reader that learns nothing, for the weights that the model has now.

    Args:
        model: The backbone.
        words: The label words.
        demonstrations: What stands in front of the queries.
        context: Of the run.
        offset: (C,), added to the scores; 0 by default.
    """
    empty = SoftPrompt(model, PromptShape(0, 0, 0), len(words.words), "normal", seed=0)
    empty = empty.to(context.device).requires_grad_(False)
    if offset is not None:
        empty.set_offset(offset)
    return PromptReader(LabelWordScorer(model, words), empty, demonstrations, context)


class PromptQuerySet(QuerySet):
    """Labelled queries in a prompt; the opposite strand has the demonstrations of the given one."""

    def __init__(self, reader: PromptReader, examples: Sequence[Example], strands: str) -> None:
        """Encode the rows.

        Args:
            reader: The prompt that they stand in.
            examples: N rows.
            strands: "both", or "forward".

        Raises:
            InputError: If a row does not fit, with the numbers.
        """
        self.reader = reader
        own = [reader.demonstrations.own_ids(e.sequence, reader.template) for e in examples]
        super().__init__(reader.context, examples, strands, reader.longest_query, before=own)
        self._states: ContextState | None = None

    @cached_property
    def _room(self) -> int:
        """Positions after the shared prefix: the longest row, and what follows it."""
        return int(self.queries.padded.max()) + self.reader.scorer.room_after(self.reader.prompt)

    @property
    def _ending(self) -> int:
        """Positions after a query for which its kept states have room."""
        return -(-self.reader.scorer.room_after(self.reader.prompt) // ENDING) * ENDING

    def _room_after(self, row: int, before: int) -> int:
        """Return for how many positions a query is encoded: fewer at the end of the context.

        Args:
            row: The query.
            before: Positions in front of it.
        """
        end = before + int(self.queries.padded[row]) + self._ending
        fits_in = end <= self.reader.scorer.model.config.max_seq_len
        return self._ending if fits_in else self.reader.scorer.room_after(self.reader.prompt)

    def keep_states(self) -> "PromptQuerySet":
        """Encode every row once, if its states depend on nothing learned and fit the memory."""
        unaffected = self.reader.readout != "mean" and not self.reader.learns_before
        size, most = self._bytes_per_row(), self.reader.context.kept_bytes
        if unaffected and size is not None and fits(len(self.queries), size, most):
            self._states = self._encode_all(size)
        return self

    def _shared(self) -> ContextState | None:
        return None if self._states is not None else self.reader.prefix(self._room)

    def _read(self, rows: np.ndarray, shared: ContextState | None) -> tuple[Tensor, Tensor]:
        if self._states is None:
            return self.reader.answers(self._batch(rows), shared)
        index = torch.from_numpy(rows).to(self.reader.context.device)
        return self.reader.scorer.answer(self.reader.prompt, self._states.rows(index))

    def _bytes_per_row(self) -> int | None:
        length = int(self.queries.padded.max()) + self.reader.shared_length
        return self.reader.scorer.engine.kept_bytes(length, self._ending)

    def _encode_all(self, size: int) -> ContextState:
        reader, room = self.reader, self._ending
        prefix = reader.prefix(int(self.queries.padded.max()) + room)
        before = 0 if prefix is None else prefix.length
        # Padding changes last digits: it is part of what a row is known by.
        texts = [
            f"{padded} " + ids.tobytes().decode("latin-1")
            for padded, ids in zip(self.queries.padded, self.queries.encoded, strict=True)
        ]
        row_of = {text: row for row, text in enumerate(texts)}
        engine = reader.scorer.engine
        length = int(self.queries.padded.max()) + before
        positions = engine.kept_positions(length)

        def encode(texts: Sequence[str]) -> tuple[Tensor, ...]:
            rows = np.array([row_of[text] for text in texts])
            rooms = {self._room_after(row, before) for row in rows}
            width = int(self.queries.padded[rows].max())
            if len(rows) > 1 and (len(rooms) > 1 or not engine.reads_apart(width)):
                found = zip(*(encode([text]) for text in texts), strict=True)
                return tuple(map(torch.cat, found))
            batch = self.queries.batch(rows).to(reader.context.device)
            with torch.no_grad(), number_format(reader.context):
                state = reader.scorer.contexts(reader.prompt, batch, prefix, rooms.pop())
            return engine.tensors(state, positions, room)

        kind = f"context, room={room}, {reader.context.precision}"
        if positions:
            kind += f", {positions} positions"
        if prefix is not None:
            digest = sha256(reader.shared.cpu().numpy().tobytes()).hexdigest()
            kind += f", after {digest} with room={prefix.room}"
        context = reader.context
        parts = cached_states(
            reader.scorer.model,
            kind,
            texts,
            encode,
            size,
            context.kept_bytes,
            context.store,
            partial(context.rows_done, "encoding"),
        )
        return engine.restored(parts, length, room)
