"""One plain frozen layer after a context on a CPU: what `backbone.engine.layer` does, faster.

Besides matrix products, a CPU mostly spends its time on memory traffic, so every step works in
place on chunks that fit the cache, and keeps for the backward pass only what a derivative with
respect to the signal needs: frozen weights need none. Where the signal itself needs none (queries
in the first layer, whose embeddings are frozen too), the context's gradient takes no transform:
the context enters the gates at the first w-1 positions only.

Projections leave out their bias here: it is folded into that of the short filter, which is linear,
so the zeros before a sequence become minus the bias.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_first_layer import TokenSegment
from backbone.engine.cpu_last_layer import LastPositionSum, kernels
from backbone.engine.cpu_mixer import EndConvolution, SegmentMixer, Short, TokenMixer
from backbone.engine.filter_cache import FilterCache, is_constant
from backbone.engine.layer import LayerState, last_positions, pick, spill_after
from backbone.hooks import is_plain
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

CHUNK = 1024
"""Positions of the MLP at a time: their inner activations fit a core's cache. No result depends on
it."""

DIRECT = 8
"""Up to this many positions of a convolution take a dot product each; for more a transform is
cheaper."""


class CPULayer:
    """Runs one plain frozen block on segments that follow a context; see `ModuleLayer`."""

    def __init__(self, block: Block, filters: FilterCache, index: int, embeddings: Tensor) -> None:
        """Hold the block, the filters, the layer's number, and all tokens' embeddings (V, D)."""
        self.block, self.filters, self.index = block, filters, index
        self.embeddings = embeddings

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
            and not any(p.requires_grad for p in block.parameters())
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
        size = transform_length(length, length + room)
        taps = self.filters.taps(self.index, length + room)
        spectrum = self.filters.spectrum(self.index, length + room, size)
        before, tail = None if state is None else state.spill, self._tail(state)
        how = self._short(0), taps, spectrum, lengths, room
        if ids is None:
            projected = _InputProjection.apply(hidden, norm, weight)
            gated, tail, spill = SegmentMixer.apply(projected, tail, before, *how)
        else:
            table = weight @ norm(self.embeddings).t()
            gated, spill = TokenMixer.apply(ids, table, tail, before, *how)
            ends = table[:, last_of(ids, lengths, tail.shape[2])].transpose(0, 1)
            tail = _last_projections(ends, tail, lengths, length)
        return gated, self._state(tail, spill, before, lengths, length, room)

    def tokens(self, ids: Tensor) -> TokenSegment:
        """Compute what the first layer does with token ids (B, L) whatever precedes them."""
        length, mixer = ids.shape[1], self.block.mixer
        spectrum = self.filters.spectrum(self.index, length, transform_length(length, length))
        assert spectrum is not None  # the filter is constant
        table = mixer.in_proj.weight @ self.block.norm1(self.embeddings).t()
        taps = self.filters.taps(self.index, length)
        return TokenSegment.of(ids, table, self._short(0), taps, spectrum)

    def mix_tokens(self, segment: TokenSegment, state: LayerState | None) -> Tensor:
        """Return the gated signal (B, D, L) of token ids behind a context."""
        return segment.behind(self._tail(state), None if state is None else state.spill)

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Project the gated signal (B, D, L) into the stream (B, L, D), and run the MLP."""
        return _OutputAndMlp.apply(hidden, gated, self.block)

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Return the layer's state at the end of each row, and compute nothing else."""
        length, before = hidden.shape[1], None if state is None else state.spill
        past = self.block.mixer.past
        tail = self._project(last_of(hidden, lengths, past), self._tail(state), lengths, length)
        spill = self._convolved(hidden, state, lengths, 0, room)
        return self._state(tail, spill, before, lengths, length, room)

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Return the residual stream (B, D) after the block at each row's last position."""
        mixer, width = self.block.mixer, hidden.shape[2]
        end = last_of(hidden, lengths, mixer.past + 1)
        recent = self._project(end, self._tail(state), lengths, hidden.shape[1])[:, :width]
        weight, bias = self._short(0)
        x0 = short_filtered(recent, weight[:width], bias[:width])[..., 0]
        mixed = self._convolved(hidden, state, lengths, -1, 1)[..., 0]
        if state is not None:
            at = last_positions(hidden, lengths)
            mixed = mixed + pick(state.spill.expand(len(at), -1, -1), at)
        stream = end[:, -1] + mixer.out_proj(x0 * mixed)
        return stream + self.block.mlp(self.block.norm2(stream))

    def _convolved(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        first: int,
        count: int,
    ) -> Tensor:
        """Return the segment's own convolution (B, D, count), from `first` after its end on."""
        (length, width), norm = hidden.shape[1:], self.block.norm1
        weight = self.block.mixer.in_proj.weight[width:]
        taps = self.filters.taps(self.index, length + first + count)
        (short, bias), tail = self._short(width), self._tail(state)[:, width:]
        if count <= DIRECT:
            backwards = kernels(taps, length, lengths, first, count)
            return LastPositionSum.apply(hidden, tail, norm, weight, (short, bias), backwards)
        size = EndConvolution.transform_length(length, first, count, lengths)
        spectrum = self.filters.spectrum(self.index, taps.shape[1], size)
        projected = _InputProjection.apply(hidden, norm, weight)
        return EndConvolution.apply(projected, tail, (short, bias), spectrum, lengths, first, count)

    def _short(self, start: int) -> Short:
        """Return weights (C, w) and bias (C,) of the short filter, the projections' bias in it."""
        short, bias = self.block.mixer.short_filter, self.block.mixer.in_proj.bias
        weight = short.weight[:, 0]
        assert short.bias is not None and bias is not None
        return weight[start:], (short.bias + bias * weight.sum(1))[start:]

    def _bias(self) -> Tensor:
        bias = self.block.mixer.in_proj.bias
        assert bias is not None
        return bias[:, None]

    def _tail(self, state: LayerState | None) -> Tensor:
        if state is None:
            return -self._bias().expand(1, -1, self.block.mixer.past)
        return state.tail.to(self._bias().dtype) - self._bias()

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
        return LayerState(tail + self._bias(), spill)

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
        return torch.bmm(weight.expand(len(hidden), -1, -1), signal.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, mean, scale = ctx.saved_tensors
        back = torch.bmm(gradient.transpose(1, 2), ctx.weight.expand(len(hidden), -1, -1))
        return layer_norm_backward(back, hidden, mean, scale, ctx.norm), None, None


class _OutputAndMlp(torch.autograd.Function):
    """What follows the gates: hidden + W gated, then the MLP; (B, L, D), chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gated: Tensor, block: Block) -> Tensor:
        out, mlp = block.mixer.out_proj, block.mlp
        weight = out.weight.t().expand(len(hidden), -1, -1)
        stream = torch.baddbmm(hidden, gated.transpose(1, 2), weight)
        result = torch.empty_like(stream)
        wanted, kept = any(ctx.needs_input_grad), [stream]
        for chunk, target in zip(_chunks(stream), _chunks(result), strict=True):
            signal, mean, scale = layer_norm(chunk.add_(out.bias), block.norm2)
            inner = torch.addmm(mlp.fc1.bias, signal, mlp.fc1.weight.t())
            slope = gelu_(inner, wanted)
            torch.addmm(chunk, inner, mlp.fc2.weight.t(), out=target)
            target.add_(mlp.fc2.bias)
            if slope is not None:
                kept += [mean, scale, slope]
        ctx.save_for_backward(*kept)
        ctx.block = block
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        stream, *kept = ctx.saved_tensors
        block, mlp = ctx.block, ctx.block.mlp
        gradient, back = gradient.contiguous(), torch.empty_like(stream)
        chunks = zip(_chunks(stream), _chunks(gradient), _chunks(back), strict=True)
        for i, (chunk, outer, target) in enumerate(chunks):
            mean, scale, slope = kept[3 * i : 3 * i + 3]
            inner = (outer @ mlp.fc2.weight).mul_(slope) @ mlp.fc1.weight
            inner = layer_norm_backward(inner, chunk, mean, scale, block.norm2)
            torch.add(inner, outer, out=target)
        weight = block.mixer.out_proj.weight.t().expand(len(back), -1, -1)
        return back, torch.bmm(weight, back.transpose(1, 2)), None


def _chunks(hidden: Tensor) -> tuple[Tensor, ...]:
    return hidden.view(-1, hidden.shape[-1]).split(CHUNK)
