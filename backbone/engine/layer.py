"""One layer after a context, computed by the block's own modules.

It works on every device, under autocast, with trained weights, hooks and adapters.
`backbone.engine.cpu_layer` does the same for plain frozen blocks on a CPU, faster.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.engine.filter_cache import FilterCache
from backbone.hooks import call_as
from backbone.hyena.convolution import long_convolution, transform_length
from backbone.hyena.model import Block


@dataclass(frozen=True)
class LayerState:
    """What one layer must know of a context; b is 1 if all rows share it.

    Attributes:
        tail: (b, 3D, w-1), projections of the last positions, for the short convolution.
        spill: (b, D, room), what the context adds to the long convolution at the next positions.
    """

    tail: Tensor
    spill: Tensor


class ModuleLayer:
    """Runs one block of a model on segments (B, L, D) that follow a context.

    Hooks of the block's modules see the segment, or only its last position where nothing else is
    read; hooks of the block itself and of its mixer need `BlockLayer`.
    """

    def __init__(self, block: Block, filters: FilterCache, index: int) -> None:
        """Hold the block, the model's filters and the layer's number among them."""
        self.block, self.filters, self.index = block, filters, index

    def mix(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        room: int,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Run the operator up to its gates.

        Args:
            hidden: (B, L, D), the residual stream.
            state: The layer's state before the segment; None at the start of a sequence.
            lengths: (B,) where rows are padded on the right.
            room: How many positions may follow.
            ids: (B, L) token ids, if `hidden` is just their embeddings.

        Returns:
            The gated signal (B, D, L), and the layer's state at the end of each row.
        """
        return self._gated(self.block.norm1(hidden), state, lengths, room)

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Project the gated signal (B, D, L) into the stream (B, L, D), and run the MLP."""
        block = self.block
        hidden = hidden + block.dropout(block.mixer.merge(gated))
        return hidden + block.dropout(block.mlp(block.norm2(hidden)))

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Return the layer's state at the end of each row, and compute nothing else."""
        return self._mixed(self.block.norm1(hidden), state, lengths, room)[2]

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Return the residual stream (B, D) after the block at each row's last position.

        A dot product with the reversed filter replaces the transforms.
        """
        block, at = self.block, last_positions(hidden, lengths)
        x0, signal = block.mixer.gates(self._project(block.norm1(hidden), state))
        backwards = lagged(self.filters.taps(self.index, hidden.shape[1]), at)
        # Like the transforms, this sum over lags stays in the filters' precision.
        with torch.autocast(signal.device.type, enabled=False):
            mixed = torch.einsum("bdl,bdl->bd", signal.to(backwards.dtype), backwards)
        mixed = mixed.to(signal.dtype)
        if state is not None:
            mixed = mixed + pick(state.spill.expand(len(at), -1, -1), at)
        rows = torch.arange(len(at), device=at.device)
        gated = (pick(x0, at) * mixed)[:, None]
        stream = hidden[rows, at][:, None] + block.dropout(block.mixer.out_proj(gated))
        return (stream + block.dropout(block.mlp(block.norm2(stream))))[:, 0]

    def _gated(
        self, normed: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> tuple[Tensor, LayerState]:
        """Return the gated signal (B, D, L) of a normed segment, and the state at its end."""
        x0, mixed, after = self._mixed(normed, state, lengths, room)
        mixed = mixed[..., : normed.shape[1]]
        if state is not None:
            mixed = mixed + state.spill[..., : normed.shape[1]].to(mixed.dtype)
        return x0 * mixed, after

    def _mixed(
        self, normed: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> tuple[Tensor, Tensor, LayerState]:
        """Return outer gates (B, D, L), the segment's convolution (B, D, L+room), the new state."""
        length, projected = normed.shape[1], self._project(normed, state)
        x0, signal = self.block.mixer.gates(projected)
        signal = without_padding(signal, lengths)
        taps = self.filters.taps(self.index, length + room)
        size = transform_length(length, length + room)
        spectrum = self.filters.spectrum(self.index, length + room, size)
        mixed = long_convolution(signal, taps, spectrum)
        before = None if state is None else state.spill
        return x0, mixed, _state_after(projected, mixed, before, lengths, length, room)

    def _project(self, normed: Tensor, state: LayerState | None) -> Tensor:
        """Return projections (B, 3D, w-1+L), those of the context's last positions in front."""
        projected = self.block.mixer.project(normed)
        if state is None:
            return F.pad(projected, (self.block.mixer.past, 0))
        tail = state.tail.to(projected.dtype)
        return torch.cat([tail.expand(len(projected), -1, -1), projected], dim=-1)


class BlockLayer(ModuleLayer):
    """Runs a block as a whole, so that hooks of the block itself and of its mixer act."""

    def mix(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        room: int,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Run the block; return its output (B, D, L), channels first, and its state."""
        states: list[LayerState] = []

        def operator(normed: Tensor) -> Tensor:
            gated, after = self._gated(normed, state, lengths, room)
            states.append(after)
            return self.block.mixer.merge(gated)

        stream = run_block(self.block, operator, hidden)
        return stream.transpose(1, 2), states[0]

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Return the block's output (B, L, D), which `mix` has computed."""
        return gated.transpose(1, 2)

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Return the layer's state at the end of each row."""
        stream, after = self.mix(hidden, state, lengths, room)
        # Torch calls a full backward hook only if a gradient, here of zeros, reaches the output.
        return LayerState(after.tail, after.spill + 0 * stream[..., :1])

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Return the residual stream (B, D) after the block at each row's last position."""
        stream, _ = self.mix(hidden, state, lengths, room=0)
        return pick(stream, last_positions(hidden, lengths))


def run_block(block: Block, operator: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
    """Run a block on (B, L, D) with another operator for its mixer's, and with all their hooks."""

    def forward(x: Tensor) -> Tensor:
        x = x + block.dropout(call_as(block.mixer, operator, block.norm1(x)))
        return x + block.dropout(block.mlp(block.norm2(x)))

    return call_as(block, forward, hidden)


def last_positions(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last position (B,) of each row of (B, L, D)."""
    if lengths is not None:
        return lengths - 1
    return torch.full((len(hidden),), hidden.shape[1] - 1, device=hidden.device)


def without_padding(signal: Tensor, lengths: Tensor | None) -> Tensor:
    """Set (B, D, L) to zero after each row's end, so that padding adds nothing to the spill."""
    if lengths is None:
        return signal
    inside = torch.arange(signal.shape[-1], device=signal.device) < lengths[:, None]
    return signal * inside[:, None].to(signal.dtype)


def lagged(taps: Tensor, at: Tensor) -> Tensor:
    """Return taps by position (B, D, L): lag at - s at position s, zero after `at`."""
    length = taps.shape[1]
    lag = at[:, None] - torch.arange(length, device=at.device)
    chosen = taps.t()[lag.clamp(min=0)] * (lag >= 0)[..., None].to(taps.dtype)
    return chosen.transpose(1, 2)


def pick(values: Tensor, at: Tensor) -> Tensor:
    """Return (B, D): the position `at` (B,) of each row of (B, D, L)."""
    return values.gather(2, at[:, None, None].expand(-1, values.shape[1], 1)).squeeze(2)


def window(values: Tensor, starts: Tensor, width: int) -> Tensor:
    """Return (B, D, width): positions starts .. starts + width - 1 of each row of (B, D, L)."""
    return values.gather(2, window_index(values, starts, width))


def window_index(values: Tensor, starts: Tensor, width: int) -> Tensor:
    """Return the positions (B, D, width) of `window`, for gather and scatter."""
    positions = starts[:, None] + torch.arange(width, device=starts.device)
    return positions[:, None].expand(-1, values.shape[1], -1)


def _state_after(
    projected: Tensor,
    mixed: Tensor,
    before: Tensor | None,
    lengths: Tensor | None,
    length: int,
    room: int,
) -> LayerState:
    """Cut a layer's state at each row's end: the tail, and the spills of segment and context."""
    past = projected.shape[-1] - length
    if lengths is None:
        tail, spill = projected[..., length : length + past], mixed[..., length : length + room]
    else:
        tail, spill = window(projected, lengths, past), window(mixed, lengths, room)
    if before is not None:
        spill = spill + spill_after(before, lengths, length, room)
    return LayerState(tail, spill)


def spill_after(before: Tensor, lengths: Tensor | None, length: int, room: int) -> Tensor:
    """Return what a context (b, D, *) still adds to the positions after each row's end."""
    if lengths is None:
        return before[..., length : length + room]
    return window(before.expand(len(lengths), -1, -1), lengths, room)
