"""Contexts of attention models: keys and values of every layer, computed once.

What follows a context attends to its keys and values, so a context costs one pass, and what follows
costs its own positions. Concatenation keeps gradients: values and derivatives equal those of the
whole row up to rounding. A row that ends early leaves a gap, which is masked; positions are counted
without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from backbone.hf.contexts import TransformersEngine, check_room, parts_of, picked


@dataclass(frozen=True)
class CachedContext:
    """The keys and values of a context, which `room` further positions may follow.

    Attributes:
        layers: Keys and values (b, heads, P, width) of each layer.
        known: (b, P), False in gaps; None where there are none.
        start: Positions of what the model sets before every row.
        room: Positions that may follow.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    known: Tensor | None
    start: int
    room: int

    @property
    def length(self) -> int:
        """Positions, gaps included, without the start."""
        return self.layers[0][0].shape[2] - self.start

    @property
    def count(self) -> int:
        """The number of rows; a single one may be shared by any number of rows."""
        return len(self.layers[0][0])

    def rows(self, index: Tensor | slice) -> "CachedContext":
        """Return the contexts of some rows, by their indices."""
        layers = tuple((keys[index], values[index]) for keys, values in self.layers)
        known = None if self.known is None else self.known[index]
        return CachedContext(layers, known, self.start, self.room)

    def cache(self, count: int) -> DynamicCache:
        """Return the context as a cache of transformers, for so many rows."""
        found = DynamicCache()
        for i, (keys, values) in enumerate(self.layers):
            shape = (count, -1, -1, -1)
            found.update(keys.expand(shape), values.expand(shape), i)
        return found


class CachedContexts(TransformersEngine[CachedContext]):
    """Reads rows after contexts; see `backbone.protocol.ContextEngine`."""

    def extend(
        self,
        state: CachedContext | None,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> CachedContext:
        """Return the context after `inputs`; see `ContextEngine.extend`.

        Raises:
            InputError: If context and room exceed the model's max_seq_len.
        """
        check_room(self.model, state, inputs.shape[1], room)
        found = [
            self._extended(part, some, room, ends, added)
            for part, some, ends, added in parts_of(state, inputs, lengths, additions)
        ]
        if len(found) == 1:
            return found[0]
        layers = tuple(
            (torch.cat([keys for keys, _ in layer]), torch.cat([values for _, values in layer]))
            for layer in zip(*(one.layers for one in found), strict=True)
        )
        known = [one.known for one in found if one.known is not None]
        return CachedContext(layers, torch.cat(known) if known else None, found[0].start, room)

    def encode(
        self, state: CachedContext | None, inputs: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states (B, L, D) of inputs after a context.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the context's room.
        """
        check_room(self.model, state, inputs.shape[1], 0)
        parts = parts_of(state, inputs, None, additions)
        return torch.cat([self._read(part, some, added)[0] for part, some, _, added in parts])

    def encode_last(
        self,
        state: CachedContext | None,
        inputs: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden state (B, D) at each row's last position.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the context's room.
        """
        hidden = self.encode(state, inputs, additions)
        return hidden[:, -1] if lengths is None else picked(hidden, lengths[:, None] - 1)[:, 0]

    def kept_bytes(self, length: int, room: int) -> int:
        """Return the bytes of a row's keys and values in single precision."""
        config = self.model.plain.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        positions = length + len(self.model.vocabulary.start)
        return self.model.config.n_layer * 2 * heads * width * positions * 4

    def kept_positions(self, length: int) -> int:
        """Return the positions to which rows are padded, so that their tensors can be stacked."""
        return length

    def tensors(self, state: CachedContext, positions: int, room: int) -> tuple[Tensor, ...]:
        """Return keys and values of each layer, and which positions are known, rows first."""
        missing = positions - state.length
        pairs = (F.pad(part, (0, 0, 0, missing)) for pair in state.layers for part in pair)
        return *pairs, F.pad(_known(state), (0, missing))

    def restored(self, tensors: Sequence[Tensor], length: int, room: int) -> CachedContext:
        """Return the context that `tensors` were taken of."""
        *parts, known = tensors
        layers = tuple((parts[i], parts[i + 1]) for i in range(0, len(parts), 2))
        return CachedContext(layers, known, len(self.model.vocabulary.start), room)

    def _extended(
        self,
        state: CachedContext | None,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None,
        additions: Tensor | None,
    ) -> CachedContext:
        """Return the context after some rows."""
        start = len(self.model.vocabulary.start)
        cache = DynamicCache() if state is None else state.cache(len(inputs))
        self._read(state, inputs, additions, cache)
        kept: list[Any] = cache.layers
        layers = tuple((layer.keys, layer.values) for layer in kept)
        if lengths is None and (state is None or state.known is None):
            return CachedContext(layers, None, start, room)
        before = layers[0][0].new_ones(len(inputs), start, dtype=torch.bool)
        if state is not None:
            before = _known(state).expand(len(inputs), -1)
        own = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
        inside = own < inputs.shape[1] if lengths is None else own < lengths[:, None]
        return CachedContext(layers, torch.cat([before, inside], dim=1), start, room)

    def _read(
        self,
        state: CachedContext | None,
        inputs: Tensor,
        additions: Tensor | None,
        cache: DynamicCache | None = None,
    ) -> tuple[Tensor, DynamicCache | None]:
        """Return final hidden states (B, L, D) of rows after a context, and what is kept of it."""
        vectors = inputs if inputs.is_floating_point() else self.model.embed(inputs)
        if state is None:
            return self.model.read(vectors, additions, cache), cache
        count, length = vectors.shape[:2]
        cache = state.cache(count) if cache is None else cache
        if state.known is None:
            return self.model.read_behind(vectors, additions, cache), cache
        known = state.known.expand(count, -1)
        mask = torch.cat([known, known.new_ones(count, length)], dim=1).long()
        places = known.sum(dim=1)[:, None] + torch.arange(length, device=vectors.device)
        return self.model.read_behind(vectors, additions, cache, mask, places), cache


def _known(state: CachedContext) -> Tensor:
    """Return which positions are known, (b, P), of a context with or without gaps."""
    if state.known is not None:
        return state.known
    keys = state.layers[0][0]
    return keys.new_ones(len(keys), keys.shape[2], dtype=torch.bool)
