"""One layer after a context, composed of the block's own modules.

It works on every device, under autocast and with weights that are trained.
`backbone.engine.cpu_layer` does the same for frozen weights on a CPU, faster.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.engine.filter_cache import Filters
from backbone.hyena.convolution import long_convolution, short_convolution, transform_length
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
    """Runs one block of a model on segments (B, L, D) that follow a context."""

    def __init__(self, block: Block, filters: Filters, index: int) -> None:
        """Holds the block, the model's filters and the layer's number among them."""
        self.block, self.filters, self.index = block, filters, index

    def mix(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        room: int,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Runs the operator up to its gates.

        Args:
            hidden: (B, L, D), the residual stream.
            state: the layer's state before the segment; None for nothing.
            lengths: (B,) where rows are padded on the right.
            room: how many positions may follow.
            ids: (B, L) token ids, where `hidden` is their embeddings and nothing else.

        Returns:
            The gated signal (B, D, L), and the layer's state behind each row.
        """
        signal, mixed, x0 = self._mixed(hidden, state, lengths, room)
        before = None if state is None else state.spill
        after = _state_after(signal, mixed, before, lengths, hidden.shape[1], room)
        mixed = mixed[..., : hidden.shape[1]]
        if before is not None:
            mixed = mixed + before[..., : hidden.shape[1]].to(mixed.dtype)
        return x0 * mixed, after

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Projects the gated signal (B, D, L) into the stream (B, L, D), and runs the MLP."""
        hidden = hidden + self.block.mixer.merge(gated)
        return hidden + self.block.mlp(self.block.norm2(hidden))

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Returns the layer's state behind each row, and computes nothing else."""
        signal, mixed, _ = self._mixed(hidden, state, lengths, room)
        before = None if state is None else state.spill
        return _state_after(signal, mixed, before, lengths, hidden.shape[1], room)

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Returns the residual stream (B, D) behind the block at each row's last position.

        A dot product with the reversed filter stands in place of transforms.
        """
        at = last_positions(hidden, lengths)
        x0, gated = self._gates(self._project(hidden, state))
        backwards = lagged(self.filters.taps(self.index, hidden.shape[1]), at)
        # Like the transforms, this sum over lags stays in the filters' precision.
        with torch.autocast(gated.device.type, enabled=False):
            mixed = torch.einsum("bdl,bdl->bd", gated.to(backwards.dtype), backwards)
        mixed = mixed.to(gated.dtype)
        if state is not None:
            mixed = mixed + pick(state.spill.expand(len(at), -1, -1), at)
        rows = torch.arange(len(at), device=at.device)
        stream = hidden[rows, at] + self.block.mixer.out_proj(pick(x0, at) * mixed)
        return stream + self.block.mlp(self.block.norm2(stream))

    def _mixed(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns projections with the tail in front, convolutions (B, D, L+room), outer gates."""
        length, signal = hidden.shape[1], self._project(hidden, state)
        x0, gated = self._gates(signal)
        gated = without_padding(gated, lengths)
        taps = self.filters.taps(self.index, length + room)
        size = transform_length(length, length + room)
        spectrum = self.filters.spectrum(self.index, length + room, size)
        return signal, long_convolution(gated, taps, spectrum), x0

    def _project(self, hidden: Tensor, state: LayerState | None) -> Tensor:
        """Returns projections (B, 3D, w-1+L), those of the context's last positions in front."""
        projected = self.block.mixer.project(self.block.norm1(hidden))
        if state is None:
            return F.pad(projected, (self.block.mixer.past, 0))
        tail = state.tail.to(projected.dtype)
        return torch.cat([tail.expand(len(projected), -1, -1), projected], dim=-1)

    def _gates(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the outer gate x0 and the gated signal x1 * v, (B, D, L) each."""
        short = self.block.mixer.short_filter
        trained = any(p.requires_grad for p in short.parameters())
        filtered = short(signal) if trained else short_convolution(signal, short)
        x0, x1, v = filtered.chunk(3, dim=1)
        return x0, x1 * v


def last_positions(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """Returns (B,), where each row of (B, L, D) has its last position."""
    if lengths is not None:
        return lengths - 1
    return torch.full((len(hidden),), hidden.shape[1] - 1, device=hidden.device)


def without_padding(gated: Tensor, lengths: Tensor | None) -> Tensor:
    """Sets (B, D, L) to zero from each row's end on, so that padding spills nothing."""
    if lengths is None:
        return gated
    inside = torch.arange(gated.shape[-1], device=gated.device) < lengths[:, None]
    return gated * inside[:, None].to(gated.dtype)


def lagged(taps: Tensor, at: Tensor) -> Tensor:
    """Returns taps by position (B, D, L): lag at - s at position s, zero after `at`."""
    length = taps.shape[1]
    lag = at[:, None] - torch.arange(length, device=at.device)
    chosen = taps.t()[lag.clamp(min=0)] * (lag >= 0)[..., None].to(taps.dtype)
    return chosen.transpose(1, 2)


def pick(values: Tensor, at: Tensor) -> Tensor:
    """Returns (B, D): the position `at` (B,) of each row of (B, D, L)."""
    return values.gather(2, at[:, None, None].expand(-1, values.shape[1], 1)).squeeze(2)


def window(values: Tensor, starts: Tensor, width: int) -> Tensor:
    """Returns (B, D, width): positions starts .. starts + width - 1 of each row of (B, D, L)."""
    return values.gather(2, window_index(values, starts, width))


def window_index(values: Tensor, starts: Tensor, width: int) -> Tensor:
    """Returns the positions (B, D, width) of `window`, for gather and scatter."""
    positions = starts[:, None] + torch.arange(width, device=starts.device)
    return positions[:, None].expand(-1, values.shape[1], -1)


def _state_after(
    signal: Tensor,
    mixed: Tensor,
    before: Tensor | None,
    lengths: Tensor | None,
    length: int,
    room: int,
) -> LayerState:
    """Cuts a layer's state at each row's end: the tail, and the spills of segment and context."""
    past = signal.shape[-1] - length
    if lengths is None:
        tail, spill = signal[..., length : length + past], mixed[..., length : length + room]
    else:
        tail, spill = window(signal, lengths, past), window(mixed, lengths, room)
    if before is not None:
        spill = spill + spill_after(before, lengths, length, room)
    return LayerState(tail, spill)


def spill_after(before: Tensor, lengths: Tensor | None, length: int, room: int) -> Tensor:
    """Returns what a context (b, D, *) still spills into the positions behind each row's end."""
    if lengths is None:
        return before[..., length : length + room]
    return window(before.expand(len(lengths), -1, -1), lengths, room)
