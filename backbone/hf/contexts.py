"""Contexts of models of transformers: what stands before a row is kept, and read with it.

A context is the vectors that it consists of; continuing it runs the model over both. So values and
gradients are those of the whole row by construction, for every architecture; those with attention
have a cheaper form in `backbone.hf.cached`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hf.model import TransformersModel
from backbone.letters import target_likelihoods
from backbone.protocol import Branches, ContextEngine, ContextState, Targets

POSITIONS = 16_000
"""Positions that are read at a time on a CPU, which bounds the memory they take."""

StateT = TypeVar("StateT", bound=Any)


@dataclass(frozen=True)
class Context:
    """The vectors of a context, which `room` further positions may follow.

    Attributes:
        vectors: (b, P, D), padded on the right.
        additions: (n_layer - 1, b, P, D), added to the inputs of later layers; None for nothing.
        ends: (b,) where each row ends; None where there is no padding.
        room: Positions that may follow.
    """

    vectors: Tensor
    additions: Tensor | None
    ends: Tensor | None
    room: int

    @property
    def length(self) -> int:
        """Positions, padding included."""
        return self.vectors.shape[1]

    @property
    def count(self) -> int:
        """The number of rows; a single one may be shared by any number of rows."""
        return len(self.vectors)

    def rows(self, index: Tensor | slice) -> "Context":
        """Return the contexts of some rows, by their indices."""
        additions = None if self.additions is None else self.additions[:, index]
        ends = None if self.ends is None else self.ends[index]
        return Context(self.vectors[index], additions, ends, self.room)


class TransformersEngine(ABC, Generic[StateT]):
    """What the two ways to continue a context have in common."""

    def __init__(self, model: TransformersModel) -> None:
        """Keep the model."""
        self.model = model

    @abstractmethod
    def encode(
        self, state: StateT | None, inputs: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states (B, L, D) of inputs after a context.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the context's room.
        """

    def layer_states(self, ids: Tensor) -> Iterator[Tensor]:
        """Yield states (B, L, D) of every layer; see `LanguageModel.layer_states`."""
        return self.model.layer_states(self.model.embed(ids))

    def reads_apart(self, length: int) -> bool:
        """Return False: products of a batch have other last digits than those of a row."""
        return False

    def log_likelihood(
        self, states: Sequence[StateT | None], ids: Tensor, targets: Targets
    ) -> Tensor:
        """Return summed log-likelihoods (B, C) of ids (B, L) after each of C contexts.

        Raises:
            InputError: If a context and the ids exceed the model's max_seq_len or its room.
        """
        hidden = (self.encode(state, ids) for state in states)
        logits = (self.model.letter_logits(one, targets.letters) for one in hidden)
        return torch.stack([target_likelihoods(one, targets) for one in logits], dim=1)

    def offset_state(self, offsets: Tensor, room: int) -> StateT:
        """Refuse: there is no long convolution whose output could have an offset.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"backbone={self.model.name} has no long convolution whose state could have offsets"
        )


class TransformersContexts(TransformersEngine[Context]):
    """Reads rows after contexts; see `backbone.protocol.ContextEngine`."""

    def extend(
        self,
        state: Context | None,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Context:
        """Return the context after `inputs`; see `ContextEngine.extend`.

        Raises:
            InputError: If context and room exceed the model's max_seq_len.
        """
        check_room(self.model, state, inputs.shape[1], room)
        row, starts = self._joined(state, inputs, additions)
        ends = None
        if lengths is not None or (state is not None and state.ends is not None):
            own = torch.full_like(starts, inputs.shape[1]) if lengths is None else lengths
            ends = starts + own
        return Context(row.vectors, row.additions, ends, room)

    def encode(
        self, state: Context | None, inputs: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states (B, L, D) of inputs after a context.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the context's room.
        """
        check_room(self.model, state, inputs.shape[1], 0)
        places = torch.arange(inputs.shape[1], device=inputs.device)
        found = []
        for part, some, _, added in parts_of(state, inputs, None, additions):
            row, starts = self._joined(part, some, added)
            hidden = self.model.read(row.vectors, row.additions)
            found.append(picked(hidden, starts[:, None] + places))
        return torch.cat(found)

    def encode_last(
        self,
        state: Context | None,
        inputs: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden state (B, D) at each row's last position.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the context's room.
        """
        check_room(self.model, state, inputs.shape[1], 0)
        found = []
        for part, some, ends, added in parts_of(state, inputs, lengths, additions):
            row, starts = self._joined(part, some, added)
            hidden = self.model.read(row.vectors, row.additions)
            last = starts - 1 + (some.shape[1] if ends is None else ends)
            found.append(picked(hidden, last[:, None])[:, 0])
        return torch.cat(found)

    def kept_bytes(self, length: int, room: int) -> None:
        """Return None: kept vectors would save nothing."""

    def kept_positions(self, length: int) -> int:
        """Return the positions to which rows are padded."""
        return length

    def tensors(self, state: Context, positions: int, room: int) -> tuple[Tensor, ...]:
        """Return the vectors, rows first."""
        return (state.vectors,)

    def restored(self, tensors: Sequence[Tensor], length: int, room: int) -> Context:
        """Return a context of vectors without padding."""
        return Context(tensors[0], None, None, room)

    def _joined(
        self, state: Context | None, inputs: Tensor, additions: Tensor | None
    ) -> tuple[Context, Tensor]:
        """Return rows (B, P + L, D) of contexts and inputs, and where the inputs begin, (B,)."""
        vectors = inputs if inputs.is_floating_point() else self.model.embed(inputs)
        added = None
        if additions is not None:
            added = additions if additions.ndim == 4 else additions[:, None]
        count = len(vectors)
        if state is None:
            starts = torch.zeros(count, dtype=torch.long, device=vectors.device)
            return Context(vectors, added, None, 0), starts
        starts = torch.full((count,), state.length, device=vectors.device)
        if state.ends is not None:
            starts = state.ends.expand(count)
        row = _behind(state.vectors.expand(count, -1, -1), vectors, starts)
        if added is None and state.additions is None:
            return Context(row, None, None, 0), starts
        layers = self.model.config.n_layer - 1
        before = _or_zeros(state.additions, layers, count, state.vectors)
        own = _or_zeros(added, layers, count, vectors)
        pairs = zip(before, own, strict=True)
        both = torch.stack([_behind(one, other, starts) for one, other in pairs])
        return Context(row, both, None, 0), starts


def check_room(
    model: TransformersModel, state: ContextState | None, length: int, room: int
) -> None:
    """Refuse positions that do not fit.

    Raises:
        InputError: If context, positions and room exceed max_seq_len, or the context's room.
    """
    before, most = (state.length if state else 0), model.config.max_seq_len
    if before + length + room > most:
        raise InputError(
            f"{before + length + room} tokens exceed this checkpoint's max_seq_len of {most}"
        )
    if state is not None and state.room < length + room:
        raise InputError(f"{length + room} tokens exceed the context's room: {state.room}")


def parts_of(
    state: StateT | None, inputs: Tensor, lengths: Tensor | None, additions: Tensor | None
) -> Iterator[tuple[StateT | None, Tensor, Tensor | None, Tensor | None]]:
    """Cut a batch into parts of a few rows; how many depends on shape and device alone.

    Yields:
        The contexts, inputs, lengths and additions (n_layer - 1, B or 1, L, D) of the rows.
    """
    if additions is not None and additions.ndim == 3:
        additions = additions[:, None]
    total = inputs.shape[1] + (0 if state is None else state.length)
    size = max(1, POSITIONS // max(1, total))
    if inputs.device.type != "cpu":
        size = max(1, len(inputs))
    for start in range(0, max(1, len(inputs)), size):
        part = slice(start, start + size)
        own = state if state is None or state.count == 1 else state.rows(part)
        each = additions is not None and additions.shape[1] > 1
        added = additions[:, part] if each and additions is not None else additions
        yield own, inputs[part], None if lengths is None else lengths[part], added


def _behind(vectors: Tensor, following: Tensor, starts: Tensor) -> Tensor:
    """Set what follows (B, L, D) after rows (B, P, D) that end at `starts` (B,)."""
    row = torch.cat([vectors, torch.zeros_like(following)], dim=1)
    places = starts[:, None] + torch.arange(following.shape[1], device=starts.device)
    return row.scatter(1, places[..., None].expand_as(following), following.to(row))


def _or_zeros(additions: Tensor | None, layers: int, count: int, like: Tensor) -> Tensor:
    """Return additions (layers, B, L, D) of B rows, zeros where there are none."""
    if additions is None:
        return like.new_zeros(layers, count, *like.shape[1:])
    return additions.expand(-1, count, -1, -1)


def picked(hidden: Tensor, places: Tensor) -> Tensor:
    """Return states (B, M, D) at places (B, M) of rows (B, L, D)."""
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[2]))


@dataclass(frozen=True)
class WholeSequences:
    """Base sequences, kept to be read again with each branch.

    Attributes:
        state: The context before them.
        ids: (B, L).
        hidden: (B, L - first, D).
        first: The first position of `hidden`.
    """

    state: Any
    ids: Tensor
    hidden: Tensor
    first: int


class TransformersBranches:
    """Reads branches whole; see `backbone.protocol.BranchEngine`."""

    @torch.no_grad()
    def __init__(
        self,
        engine: ContextEngine,
        vectors: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> None:
        """Use an engine; see `backbone.models.branch_engine`."""
        assert isinstance(engine.model, TransformersModel)
        self.engine, self.model = engine, engine.model
        tokens, width = self.model.config.vocab_size, self.model.config.d_model
        known = [i for i in range(tokens) if i not in self.model.absent]
        embedded = self.model.embed(torch.tensor(known, device=self.model.device))
        extra = embedded[:0] if vectors is None else vectors
        self.words = embedded.new_zeros(tokens + len(extra), width)
        self.words[known], self.words[tokens:] = embedded, extra.to(embedded)
        self.vector_ids = torch.arange(tokens, len(self.words), device=embedded.device)
        self.additions: Tensor | None = None
        if additions is not None:
            self.additions = torch.nn.functional.pad(additions, (0, 0, tokens, 0))

    @torch.no_grad()
    def base(self, state: Context | None, ids: Tensor, room: int, first: int = 0) -> WholeSequences:
        """Encode base sequences (B, L) after a context."""
        hidden = self.engine.encode(state, self.words[ids], self._added(ids))
        return WholeSequences(state, ids, hidden[:, first:], first)

    @torch.no_grad()
    def encode(self, base: WholeSequences, branches: Branches) -> Tensor:
        """Return the final hidden states (N, M, D) of branches."""
        ids, state = self._whole(base, branches), self._context(base, branches)
        hidden = self.engine.encode(state, self.words[ids], self._added(ids))
        places = torch.arange(branches.ids.shape[1], device=ids.device)
        return picked(hidden, branches.starts[:, None] + places)

    @torch.no_grad()
    def encode_last(self, base: WholeSequences, branches: Branches) -> Tensor:
        """Return the final hidden state (N, D) at the last position of branches."""
        return self.encode(base, branches)[:, -1]

    @torch.no_grad()
    def encode_ends(self, base: WholeSequences, parts: Sequence[Branches]) -> list[Tensor]:
        """Return `encode_last` of several groups of branches."""
        return [self.encode_last(base, part) for part in parts]

    @torch.no_grad()
    def extend(self, base: WholeSequences, branches: Branches, room: int) -> ContextState:
        """Return the states after branches, as contexts that `room` positions may follow."""
        ids, state = self._whole(base, branches), self._context(base, branches)
        ends = branches.starts + branches.ids.shape[1]
        return self.engine.extend(state, self.words[ids], room, ends, self._added(ids))

    def _added(self, ids: Tensor) -> Tensor | None:
        return None if self.additions is None else self.additions[:, ids]

    @staticmethod
    def _context(base: WholeSequences, branches: Branches) -> Any:
        state = base.state
        return state if state is None or state.count == 1 else state.rows(branches.rows)

    @staticmethod
    def _whole(base: WholeSequences, branches: Branches) -> Tensor:
        """Return the token ids (N, L) of branches from their beginning, padded on the right."""
        count = branches.ids.shape[1]
        places = torch.arange(int(branches.starts.max()) + count, device=branches.ids.device)
        own = (places - branches.starts[:, None]).clamp(0, count - 1)
        before = base.ids[branches.rows][:, places.clamp(max=base.ids.shape[1] - 1)]
        return torch.where(places < branches.starts[:, None], before, branches.ids.gather(1, own))
