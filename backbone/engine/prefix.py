"""A context that many rows share, encoded once, exactly.

In a causal convolution the states of a context do not depend on what follows, and what follows
feels the context in two places only: the short convolution looks back at its last positions, and
the long convolution, being linear, receives from it one addend a position, its *spill*:

    h conv [p ; q]  at position P + j  =  (h conv q)[j]  +  sum over s < P of h[P + j - s] p[s]

So [context ; segment] costs a pass over the context, once, and a pass over the segment for each
row. Norms, gates and MLPs act on single positions. Values and gradients equal those of the whole
sequence up to rounding. The context can be a prompt that all rows share, or rows of their own, when
a learned suffix follows them; contexts chain, because spills add up.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from backbone.common.errors import InputError
from backbone.engine.cpu_layer import CPULayer
from backbone.engine.filter_cache import Filters
from backbone.engine.layer import LayerState, ModuleLayer
from backbone.hyena.model import Block, HyenaDNA

__all__ = ["LayerState", "PrefixEngine", "PrefixState"]

POSITIONS = 16_000
"""Rows are taken so many positions at a time on a CPU, to bound what they need at once."""

SEGMENT = 8192
"""Positions whose inner activations are computed anew at a time, with `checkpoint_prefix`."""


@dataclass(frozen=True)
class PrefixState:
    """An encoded context of `length` positions, good for `room` further ones."""

    layers: tuple[LayerState, ...]
    length: int
    room: int

    @property
    def count(self) -> int:
        """Rows that it holds; 1 may be shared by any number of rows."""
        return len(self.layers[0].tail)

    def rows(self, index: Tensor) -> "PrefixState":
        """Returns the states of some rows, by their indices."""
        chosen = tuple(LayerState(s.tail[index], s.spill[index]) for s in self.layers)
        return PrefixState(chosen, self.length, self.room)

    def split(self, size: int) -> "list[PrefixState]":
        """Returns the states of `size` rows after the other."""
        tails, spills = (
            zip(*(getattr(s, name).split(size) for s in self.layers), strict=True)
            for name in ("tail", "spill")
        )
        return [
            PrefixState(tuple(map(LayerState, *parts)), self.length, self.room)
            for parts in zip(tails, spills, strict=True)
        ]


class PrefixEngine:
    """Encodes contexts and what follows them.

    Filters of a frozen model are evaluated once a length and kept, in the frequency domain too.
    On a CPU, rows are encoded some at a time, as many as their length alone decides: gradients of
    a shared context add up over them.
    """

    def __init__(self, model: HyenaDNA, checkpoint_prefix: bool = False) -> None:
        """Keeps a reference to the model; its frozen weights must not change afterwards.

        Args:
            model: the backbone.
            checkpoint_prefix: keep only two tensors a layer of an encoded context, and compute the
                others anew in the backward pass: long prompts in little memory.
        """
        self.model, self.checkpoint_prefix = model, checkpoint_prefix
        self.blocks: list[Block] = list(model.backbone.layers)  # type: ignore[arg-type]
        self.filters = Filters(self.blocks, model.config.max_seq_len)

    def extend(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> PrefixState:
        """Encodes a context, or lengthens one, without computing what nobody reads.

        Args:
            state: what stands before, shared (b = 1) or one a row; None for nothing.
            inputs: (B, L) token ids, or (B, L, D) vectors such as a prompt's.
            room: how many positions may follow.
            lengths: (B,) where rows are padded on the right; the context of a row ends there.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Returns:
            The state after `inputs`.

        Raises:
            InputError: if context and room exceed the model's max_seq_len.
        """
        self._check(state, inputs.shape[1], room)
        if inputs.shape[1] == 0:
            return state if state is not None else self._nothing(room)
        length = inputs.shape[1] + (state.length if state else 0)
        found = [self._extended(*part, room, additions) for part in _parts(state, inputs, lengths)]
        return PrefixState(found[0] if len(found) == 1 else _joined(found), length, room)

    def encode(
        self, state: PrefixState | None, inputs: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Returns the final hidden states (B, L, D) of inputs after a context.

        Args:
            state: what stands before, shared or one a row; None for nothing.
            inputs: (B, L) token ids, or (B, L, D) vectors.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: if context and inputs exceed the model's max_seq_len or the state's room.
        """
        self._check(state, inputs.shape[1], 0)
        found = []
        for part, some, _ in _parts(state, inputs, None):
            hidden, ids = self._embedded(some)
            for i in range(len(self.blocks)):
                hidden = _added(hidden, additions, i)
                hidden, _ = self._through(i, part, hidden, ids if i == 0 else None, None, 0)
            found.append(self.model.backbone.ln_f(hidden))
        return found[0] if len(found) == 1 else torch.cat(found)

    def encode_last(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Returns the final hidden state (B, D) at each row's last position.

        The last layer is computed there only: a dot product with the reversed filter in place of
        transforms, and one position of gates and MLP.

        Args:
            state: what stands before, shared or one a row; None for nothing.
            inputs: (B, L) token ids, or (B, L, D) vectors.
            lengths: (B,) where rows are padded on the right.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: if context and inputs exceed the model's max_seq_len or the state's room.
        """
        self._check(state, inputs.shape[1], 0)
        found, last = [], len(self.blocks) - 1
        for part, some, ends in _parts(state, inputs, lengths):
            hidden, ids = self._embedded(some)
            for i in range(last):
                hidden = _added(hidden, additions, i)
                hidden, _ = self._through(i, part, hidden, ids if i == 0 else None, None, 0)
            hidden = _added(hidden, additions, last)
            found.append(self._layer(last, hidden).last(hidden, _at(part, last), ends))
        return self.model.backbone.ln_f(found[0] if len(found) == 1 else torch.cat(found))

    def _extended(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        lengths: Tensor | None,
        room: int,
        additions: Tensor | None,
    ) -> tuple[LayerState, ...]:
        hidden, ids = self._embedded(inputs)
        layers, last = [], len(self.blocks) - 1
        through = self._through_again if self.checkpoint_prefix else self._through
        run = _again if self.checkpoint_prefix else _once
        for i in range(last):
            hidden = _added(hidden, additions, i)
            hidden, after = through(i, state, hidden, ids if i == 0 else None, lengths, room)
            layers.append(after)
        hidden = _added(hidden, additions, last)
        layer = self._layer(last, hidden)
        layers.append(run(layer.ends, hidden, _at(state, last), lengths, room))
        return tuple(layers)

    def _through(
        self,
        i: int,
        state: PrefixState | None,
        hidden: Tensor,
        ids: Tensor | None,
        lengths: Tensor | None,
        room: int,
    ) -> tuple[Tensor, LayerState]:
        """Runs a layer; returns its output (B, L, D) and its state behind each row."""
        layer = self._layer(i, hidden)
        gated, after = layer.mix(hidden, _at(state, i), lengths, room, ids)
        return layer.leave(hidden, gated), after

    def _through_again(
        self,
        i: int,
        state: PrefixState | None,
        hidden: Tensor,
        ids: Tensor | None,
        lengths: Tensor | None,
        room: int,
    ) -> tuple[Tensor, LayerState]:
        """Runs a layer and keeps its input and gated signal alone, for a backward pass."""
        layer = self._layer(i, hidden)
        gated, after = _again(layer.mix, hidden, _at(state, i), lengths, room, ids)
        segments = zip(hidden.split(SEGMENT, dim=1), gated.split(SEGMENT, dim=2), strict=True)
        return torch.cat([_again(layer.leave, *segment) for segment in segments], dim=1), after

    def _layer(self, i: int, hidden: Tensor) -> ModuleLayer | CPULayer:
        block = self.blocks[i]
        if CPULayer.serves(block, hidden):
            return CPULayer(block, self.filters, i, self.model.get_input_embeddings().weight)
        return ModuleLayer(block, self.filters, i)

    def _embedded(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns vectors (B, L, D), and token ids (B, L) where the inputs were such."""
        if inputs.is_floating_point():
            return inputs, None
        frozen = not self.model.get_input_embeddings().weight.requires_grad
        return self.model.embed(inputs), inputs if frozen else None

    def _nothing(self, room: int) -> PrefixState:
        width, past = self.model.config.d_model, self.blocks[0].mixer.past
        like = self.model.get_input_embeddings().weight.detach()
        empty = LayerState(like.new_zeros(1, 3 * width, past), like.new_zeros(1, width, room))
        return PrefixState((empty,) * len(self.blocks), 0, room)

    def _check(self, state: PrefixState | None, length: int, room: int) -> None:
        before, most = (state.length if state else 0), self.model.config.max_seq_len
        if before + length + room > most:
            raise InputError(
                f"{before + length + room} tokens exceed this checkpoint's max_seq_len of {most}"
            )
        if state is not None and state.room < length + room:
            raise InputError(f"{length + room} tokens exceed the prefix state's room: {state.room}")


Part = tuple[PrefixState | None, Tensor, Tensor | None]


def _parts(state: PrefixState | None, inputs: Tensor, lengths: Tensor | None) -> Iterator[Part]:
    """Cuts a batch into pieces of a few rows, as many as shape and device decide."""
    rows, length = inputs.shape[:2]
    some = max(1, POSITIONS // max(1, length)) if inputs.device.type == "cpu" else rows
    if some >= rows:
        yield state, inputs, lengths
        return
    pieces = inputs.split(some)
    shared = state is None or state.count == 1
    states = [state] * len(pieces) if shared else state.split(some)  # type: ignore[union-attr]
    ends = [None] * len(pieces) if lengths is None else lengths.split(some)
    yield from zip(states, pieces, ends, strict=True)


def _joined(parts: Sequence[tuple[LayerState, ...]]) -> tuple[LayerState, ...]:
    """Joins the rows of layers' states."""
    return tuple(
        LayerState(torch.cat([s.tail for s in layer]), torch.cat([s.spill for s in layer]))
        for layer in zip(*parts, strict=True)
    )


def _again(work: Callable[..., Any], *arguments: object) -> Any:
    return checkpoint(work, *arguments, use_reentrant=False)


def _once(work: Callable[..., Any], *arguments: object) -> Any:
    return work(*arguments)


def _at(state: PrefixState | None, layer: int) -> LayerState | None:
    return None if state is None else state.layers[layer]


def _added(hidden: Tensor, additions: Tensor | None, layer: int) -> Tensor:
    return hidden if additions is None or layer == 0 else hidden + additions[layer - 1]
