"""One plain frozen layer after a context on a CPU: what `backbone.engine.layer` does, faster.

Besides matrix products, a CPU mostly spends its time on memory traffic, so every step works in
place on chunks that fit the cache, and keeps for the backward pass only what a derivative with
respect to the signal needs: frozen weights need none. Where the signal itself needs none (queries
in the first layer, whose embeddings are frozen too), the context's gradient takes no transform:
the context enters the gates at the first w-1 positions only.

Projections leave out their bias here: it is folded into that of the short filter, which is linear,
so the zeros before a sequence become minus the bias.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_first_layer import TokenSegment
from backbone.engine.cpu_last_layer import LastPositionSum, kernels
from backbone.engine.cpu_mixer import EndConvolution, SegmentMixer, TokenMixer
from backbone.engine.cpu_shared_segment import SharedMixer
from backbone.engine.filter_cache import FilterCache, is_constant
from backbone.engine.layer import LayerState, last_positions, pick, spill_after
from backbone.engine.layer_constants import Short
from backbone.hooks import is_plain, is_trained
from backbone.hyena.convolution import short_filtered, transform_length
from backbone.hyena.kernels import uses_cpu_kernels
from backbone.hyena.mlp import (
    gelu_,
    is_plain_mlp,
    layer_norm,
    layer_norm_backward,
)
from backbone.hyena.model import Block
from backbone.hyena.operator import HyenaOperator
from backbone.side_by_side import run, side_by_side

CHUNK = 1024
"""Positions of the MLP at a time: their inner activations fit a core's cache. No result depends on
it."""

SHORT = 64
"""Of rows with fewer positions one product of all rows is faster than one product per row."""

DIRECT = 8
"""Up to this many positions of a convolution take a dot product each; for more a transform is
cheaper."""


class CPULayer:
    """Runs one plain frozen block on segments that follow a context; see `ModuleLayer`."""

    def __init__(self, block: Block, filters: FilterCache, index: int, embeddings: Tensor) -> None:
        """Hold the block, the filters, the layer's number, and all tokens' embeddings (V, D)."""
        self.block, self.filters, self.index = block, filters, index
        self.constants = filters.constants(index, embeddings)

    @staticmethod
    def supports(block: Block, hidden: Tensor) -> bool:
        """Return whether a block is frozen, plain, and on a CPU in the signal's precision."""
        mixer = block.mixer
        return (
            is_plain(Block, block)
            and is_plain(HyenaOperator, mixer)
            and is_plain(nn.LayerNorm, block.norm1)
            and is_plain(nn.Linear, mixer.in_proj, mixer.out_proj)
            and is_plain(nn.Conv1d, mixer.short_filter)
            and is_plain_mlp(block.norm2, block.mlp)
            and is_idle(block.dropout)
            and is_constant(mixer.filter_fn)
            and uses_cpu_kernels(hidden, block.norm1.weight.dtype)
            and not is_trained(block)
        )

    def mix(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        room: int,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Run the operator up to its gates; with token ids the projections are looked up."""
        length, norm = hidden.shape[1], self.block.norm1
        weight = self.block.mixer.in_proj.weight
        if state is not None and len(hidden) < len(state.spill):
            return self._mix_shared(hidden, state)
        size = transform_length(length, length + room)
        taps = self.filters.taps(self.index, length + room)
        spectrum = self.filters.spectrum(self.index, length + room, size)
        before, tail = None if state is None else state.spill, self._tail(state)
        how = self._short(0), taps, spectrum, lengths, room
        if ids is None:
            projected = _InputProjection.apply(hidden, norm, weight)
            gated, tail, spill = SegmentMixer.apply(projected, tail, before, *how)
        else:
            grams = self.constants.grams
            gated, spill = TokenMixer.apply(ids, grams, tail, before, *how[1:])
            ends = grams.table[:, last_of(ids, lengths, tail.shape[2])].transpose(0, 1)
            tail = _last_projections(ends, tail, lengths, length)
        return gated, self._state(tail, spill, before, lengths, length, room)

    def _mix_shared(self, hidden: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run the operator over one segment (1, L, D) after many contexts, without room."""
        length, mixer = hidden.shape[1], self.block.mixer
        taps = self.filters.taps(self.index, length)
        spectrum = self.filters.spectrum(self.index, length, transform_length(length, length))
        projected = _InputProjection.apply(hidden, self.block.norm1, mixer.in_proj.weight)
        how = self._short(0), taps, spectrum
        gated = SharedMixer.apply(projected, self._tail(state), state.spill, *how)
        ends = projected[..., length - mixer.past :] + self.constants.bias
        return gated, LayerState(ends, state.spill[:1, :, :0])

    def tokens(self, ids: Tensor) -> TokenSegment:
        """Compute what the first layer does with token ids (B, L) whatever precedes them."""
        length = ids.shape[1]
        spectrum = self.filters.spectrum(self.index, length, transform_length(length, length))
        assert spectrum is not None  # the filter is constant
        taps = self.filters.taps(self.index, length)
        return TokenSegment.of(ids, self.constants.grams, taps, spectrum)

    def mix_tokens(self, segment: TokenSegment, state: LayerState | None) -> Tensor:
        """Return the gated signal (B, D, L) of token ids after a context."""
        return segment.behind(self._tail(state), None if state is None else state.spill)

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Project the gated signal (B, D, L) into the stream (b, L, D), and run the MLP."""
        return _OutputAndMlp.apply(hidden.expand(len(gated), -1, -1), gated, self.block)

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Return the layer's state at the end of each row, and compute nothing else."""
        length, before = hidden.shape[1], None if state is None else state.spill
        past = self.block.mixer.past
        earlier = self._tail(state)
        tail = self._project(last_of(hidden, lengths, past), earlier, lengths, length)
        spill = self._convolved(hidden, earlier, lengths, 0, room)
        return self._state(tail, spill, before, lengths, length, room)

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Return the residual stream (B, D) after the block at each row's last position."""
        mixer, width = self.block.mixer, hidden.shape[2]
        end, tail = last_of(hidden, lengths, mixer.past + 1), self._tail(state)
        recent = self._project(end, tail, lengths, hidden.shape[1])[:, :width]
        weight, bias = self._short(0)
        x0 = short_filtered(recent, weight[:width], bias[:width])[..., 0]
        mixed = self._convolved(hidden, tail, lengths, -1, 1)[..., 0]
        if state is not None:
            at = last_positions(hidden, lengths)
            mixed = mixed + pick(state.spill.expand(len(at), -1, -1), at)
        stream = end[:, -1] + mixer.out_proj(x0 * mixed)
        return stream + self.block.mlp(self.block.norm2(stream))

    def _convolved(
        self,
        hidden: Tensor,
        tail: Tensor,
        lengths: Tensor | None,
        first: int,
        count: int,
    ) -> Tensor:
        """Return the segment's own convolution (B, D, count), from `first` after its end on."""
        (length, width), norm = hidden.shape[1:], self.block.norm1
        weight = self.block.mixer.in_proj.weight[width:]
        taps = self.filters.taps(self.index, length + first + count)
        (short, bias), tail = self._short(width), tail[:, width:]
        if count <= DIRECT:
            backwards = kernels(taps, length, lengths, first, count)
            return LastPositionSum.apply(hidden, tail, norm, weight, (short, bias), backwards)
        size = EndConvolution.transform_length(length, first, count, lengths)
        spectrum = self.filters.spectrum(self.index, taps.shape[1], size)
        projected = _InputProjection.apply(hidden, norm, weight)
        return EndConvolution.apply(projected, tail, (short, bias), spectrum, lengths, first, count)

    def _short(self, start: int) -> Short:
        """Return weights (C, w) and bias (C,) of the short filter, from a channel on."""
        weight, bias = self.constants.short
        return weight[start:], bias[start:]

    def _tail(self, state: LayerState | None) -> Tensor:
        if state is None:
            return self.constants.before
        return state.tail.to(self.constants.bias.dtype) - self.constants.bias

    def _state(
        self,
        tail: Tensor,
        spill: Tensor,
        before: Tensor | None,
        lengths: Tensor | None,
        length: int,
        room: int,
    ) -> LayerState:
        if before is not None:
            spill = spill + spill_after(before, lengths, length, room)
        return LayerState(tail + self.constants.bias, spill)

    def _project(self, end: Tensor, tail: Tensor, lengths: Tensor | None, length: int) -> Tensor:
        """Project last positions (B, n, D) to (B, 3D, n), the tail's where a row is shorter."""
        projected = (self.block.norm1(end) @ self.block.mixer.in_proj.weight.t()).transpose(1, 2)
        return _last_projections(projected, tail, lengths, length)


def is_idle(dropout: nn.Module) -> bool:
    """Return whether a dropout lets everything through."""
    return is_plain(nn.Dropout, dropout) and not (dropout.training and dropout.p)


def last_of(values: Tensor, lengths: Tensor | None, count: int) -> Tensor:
    """Return the last `count` positions of each row of (B, L, ...); undefined before a row."""
    length = values.shape[1]
    if lengths is None and length >= count:
        return values[:, length - count :]
    device = values.device
    at = last_positions(values, lengths)[:, None] - torch.arange(count, device=device).flip(0)
    return values[torch.arange(len(values), device=device)[:, None], at.clamp(min=0)]


def _last_projections(ends: Tensor, tail: Tensor, lengths: Tensor | None, length: int) -> Tensor:
    """Return the last projections (B, C, n) of each row, the tail's where a row is shorter."""
    count, past = ends.shape[2], tail.shape[2]
    if lengths is None:
        if length >= count:
            return ends
        lengths = torch.full((len(ends),), length, device=ends.device)
    at = lengths[:, None] - torch.arange(count, 0, -1, device=ends.device)
    index = (at + past).clamp(0, past - 1)[:, None].expand(-1, tail.shape[1], -1)
    earlier = tail.expand(len(ends), -1, -1).gather(2, index)
    return torch.where(at[:, None] < 0, earlier, ends)


class _InputProjection(torch.autograd.Function):
    """Norm and projection: (B, L, D) to (B, C, L), channels first, without a copy."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, norm: nn.LayerNorm, weight: Tensor) -> Tensor:
        signal, mean, scale = layer_norm(hidden, norm)
        ctx.save_for_backward(hidden, mean, scale)
        ctx.norm, ctx.weight = norm, weight
        if not _is_long(hidden):
            return torch.bmm(weight.expand(len(hidden), -1, -1), signal.transpose(1, 2))
        result = hidden.new_empty(1, len(weight), hidden.shape[1])

        def project(part: slice) -> None:
            torch.mm(weight[part], signal[0].t(), out=result[0, part])

        run(project, _slices(len(weight), hidden.shape[2]))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, mean, scale = ctx.saved_tensors
        if not _is_long(hidden):
            back = torch.bmm(gradient.transpose(1, 2), ctx.weight.expand(len(hidden), -1, -1))
            return layer_norm_backward(back, hidden, mean, scale, ctx.norm), None, None
        result = torch.empty_like(hidden)

        def differentiate(part: slice) -> None:
            back = gradient[0, :, part].t() @ ctx.weight
            own = hidden[0, part], mean[0, part], scale[0, part]
            result[0, part] = layer_norm_backward(back, *own, ctx.norm)

        run(differentiate, _slices(hidden.shape[1], CHUNK))
        return result, None, None


class _OutputAndMlp(torch.autograd.Function):
    """What follows the gates: hidden + W gated, then the MLP; (B, L, D), chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gated: Tensor, block: Block) -> Tensor:
        out, mlp = block.mixer.out_proj, block.mlp
        weight = out.weight.t().expand(len(hidden), -1, -1)
        stream = torch.baddbmm(hidden, gated.transpose(1, 2), weight)
        result = torch.empty_like(stream)
        wanted = any(ctx.needs_input_grad)

        def compute(part: tuple[Tensor, Tensor]) -> list[Tensor]:
            chunk, target = part
            signal, mean, scale = layer_norm(chunk.add_(out.bias), block.norm2)
            inner = torch.addmm(mlp.fc1.bias, signal, mlp.fc1.weight.t())
            slope = gelu_(inner, wanted)
            torch.addmm(chunk, inner, mlp.fc2.weight.t(), out=target)
            target.add_(mlp.fc2.bias)
            return [] if slope is None else [mean, scale, slope]

        chunks = zip(_chunks(stream), _chunks(result), strict=True)
        kept = [x for part in side_by_side(compute, chunks) for x in part]
        ctx.save_for_backward(stream, *kept)
        ctx.block = block
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        stream, *kept = ctx.saved_tensors
        block, mlp = ctx.block, ctx.block.mlp
        gradient, back = gradient.contiguous(), torch.empty_like(stream)

        def differentiate(part: tuple[Tensor, ...]) -> None:
            chunk, outer, target, mean, scale, slope = part
            inner = (outer @ mlp.fc2.weight).mul_(slope) @ mlp.fc1.weight
            inner = layer_norm_backward(inner, chunk, mean, scale, block.norm2)
            torch.add(inner, outer, out=target)

        parts = _chunks(stream), _chunks(gradient), _chunks(back), kept[::3], kept[1::3], kept[2::3]
        run(differentiate, zip(*parts, strict=True))
        weight = block.mixer.out_proj.weight
        if back.shape[1] < SHORT:
            return back, (back @ weight).transpose(1, 2).contiguous(), None
        weight = weight.t().expand(len(back), -1, -1)
        return back, torch.bmm(weight, back.transpose(1, 2)), None


def _is_long(hidden: Tensor) -> bool:
    """Return whether threads share the positions (B, L, D) of one row, and not rows."""
    return len(hidden) == 1 and hidden.shape[1] > CHUNK


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _chunks(hidden: Tensor) -> tuple[Tensor, ...]:
    return hidden.view(-1, hidden.shape[-1]).split(CHUNK)
