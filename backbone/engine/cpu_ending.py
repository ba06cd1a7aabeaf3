"""A few vectors after many kept contexts, read at their last position, in one function.

This is a training step of a prompt after its queries: the vectors are the same for all rows, and
contexts, weights and what is read of them are constant. Two plain frozen layers go through as one
function with its derivative by hand, positions first, (B, P, D): small operations cost more than
the arithmetic in them, so there are as few as possible. `backbone.engine.cpu_layer` computes the
same layer by layer, for any length, and `backbone.engine.cpu_shared_segment` says how a context
enters the first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_layer import CPULayer
from backbone.engine.layer import LayerState
from backbone.hooks import is_plain
from backbone.hyena.mlp import gelu_, layer_norm, layer_norm_backward
from backbone.hyena.model import Block
from backbone.side_by_side import side_by_side

MOST_VECTORS = 64
"""Most vectors: the first layer's convolution takes their number squared."""

Contexts = tuple[LayerState, LayerState]
"""States of the first and of the last layer, one for each row."""


@dataclass(frozen=True)
class Ending:
    """Two layers and the final norm, for a number of vectors.

    Attributes:
        first: The first layer.
        last: The second and last layer.
        norm: The norm after it.
        lags: (P, P, D), the first layer's filter by position and earlier position, zero where the
            earlier one is among the first w-1 or comes later.
        taps: (w-1, P, D), the same for each of the first w-1 positions.
        kernel: (P, D), the last layer's filter, as the last position sees it.
    """

    first: CPULayer
    last: CPULayer
    norm: nn.LayerNorm
    lags: Tensor
    taps: Tensor
    kernel: Tensor

    @staticmethod
    def of(first: CPULayer, last: CPULayer, norm: nn.LayerNorm, count: int) -> "Ending":
        """Return what reads `count` vectors, more than the short filter looks back."""
        past = first.block.mixer.past
        taps = first.filters.taps(first.index, count).t()
        at = torch.arange(count, device=taps.device)
        lag = at[:, None] - at
        lags = taps[lag.clamp(min=0)] * (lag >= 0)[..., None]
        starts = lags[:, :past].transpose(0, 1).contiguous()
        lags[:, :past] = 0
        kernel = last.filters.taps(last.index, count).flip(1).t().contiguous()
        return Ending(first, last, norm, lags, starts, kernel)

    def read(self, vectors: Tensor, parts: Sequence[Contexts]) -> Tensor:
        """Return the final hidden state (B, D) at the last of the vectors (P, D).

        Args:
            vectors: What follows every context.
            parts: The contexts, a few rows at a time, which threads share.
        """
        return _Read.apply(vectors, self, parts)


def can_end(norm: nn.Module, *tensors: Tensor) -> bool:
    """Return whether norm and contexts are constant, as `Ending` takes them."""
    plain = is_plain(nn.LayerNorm, norm) and not any(p.requires_grad for p in norm.parameters())
    return plain and not any(tensor.requires_grad for tensor in tensors)


class _Read(torch.autograd.Function):
    """Vectors (P, D) after contexts to the final hidden state (B, D)."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, ending: Ending, parts: Sequence[Contexts]) -> Tensor:
        """Return the hidden states; `ctx` receives what the backward pass needs."""
        read = partial(_forward, ending, vectors, ctx.needs_input_grad[0])
        results, kept = zip(*side_by_side(read, parts), strict=True)
        ctx.save_for_backward(vectors)
        ctx.ending, ctx.kept, ctx.rows = ending, kept, [len(result) for result in results]
        return results[0] if len(results) == 1 else torch.cat(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the vectors, summed in the order of the parts."""
        if ctx.kept is None:
            raise RuntimeError("vectors after kept contexts are differentiated once")
        (vectors,) = ctx.saved_tensors
        parts = list(zip(gradient.split(ctx.rows), ctx.kept, strict=True))
        ctx.kept = None
        first, *others = side_by_side(partial(_backward, ctx.ending, vectors), parts)
        for other in others:
            first += other
        return first, None, None


def _forward(
    ending: Ending, vectors: Tensor, wanted: bool, contexts: Contexts
) -> tuple[Tensor, list[Tensor]]:
    """Return the final hidden state (B, D), and what `_backward` needs if that is wanted."""
    first, last = contexts
    (length, width), rows = vectors.shape, len(first.spill)
    layer, block = ending.first.constants, ending.first.block
    past = block.mixer.past
    signal, *norm = layer_norm(vectors, block.norm1)
    projected = signal @ block.mixer.in_proj.weight.t()
    shared = _short(projected, layer.short_rows, layer.short[1])
    x0, x1, v = shared.chunk(3, dim=1)
    start = shared[:past] + _reaching(first.tail, layer.before, layer.short_rows)
    x0_start, x1_start, v_start = start.chunk(3, dim=2)
    own = (ending.lags * (x1 * v)).sum(1)
    mixed = vectors.new_empty(rows, length, width)
    torch.add(first.spill[..., :length].transpose(1, 2), own, out=mixed)
    inner = x1_start * v_start
    for i in range(past):
        mixed.addcmul_(inner[:, i : i + 1], ending.taps[i])
    gated = mixed * x0
    torch.mul(mixed[:, :past], x0_start, out=gated[:, :past])
    stream = gated.view(-1, width) @ block.mixer.out_proj.weight.t()
    stream.view(rows, length, width).add_(vectors + block.mixer.out_proj.bias)
    hidden, mlp = _mlp(stream, block, wanted)

    layer, block = ending.last.constants, ending.last.block
    signal, *norm_last = layer_norm(hidden, block.norm1)
    projected = (signal @ block.mixer.in_proj.weight[width:].t()).view(rows, length, -1)
    gates = _short(projected, layer.short_rows[:, width:], layer.short[1][width:])
    before, earlier = layer.before[:, width:], last.tail[:, width:]
    gates[:, :past] += _reaching(earlier, before, layer.short_rows[:, width:])
    x1_last, v_last = gates.chunk(2, dim=2)
    mixed_last = (x1_last * v_last).mul_(ending.kernel).sum(1)
    mixed_last += last.spill[..., length - 1]
    recent = signal.view(rows, -1)[:, (length - past - 1) * width :]
    x0_last = torch.addmm(layer.short[1][:width], recent, layer.outer_gate)
    out = block.mixer.out_proj
    end = torch.addmm(out.bias, x0_last * mixed_last, out.weight.t())
    end += hidden.view(rows, length, width)[:, -1]
    answer, mlp_last = _mlp(end, block, wanted)
    result, *norm_end = layer_norm(answer, ending.norm)
    if not wanted:
        return result, []
    return result, [
        *(*norm, x0, x1, v, x0_start, x1_start, v_start, mixed, stream, *mlp),
        *(hidden, *norm_last, x1_last, v_last, x0_last, mixed_last, end, *mlp_last),
        *(answer, *norm_end),
    ]


def _backward(ending: Ending, vectors: Tensor, part: tuple[Tensor, list[Tensor]]) -> Tensor:
    """Return the gradient (P, D) of the vectors, given that of the result of `_forward`."""
    gradient, kept = part
    saved = iter(kept)

    def take(count: int) -> list[Tensor]:
        return [next(saved) for _ in range(count)]

    norm = take(2)
    x0, x1, v, x0_start, x1_start, v_start, mixed, stream, *mlp = take(11)
    hidden, *norm_last = take(3)
    x1_last, v_last, x0_last, mixed_last, end, *mlp_last = take(8)
    answer, *norm_end = take(3)
    (length, width), rows = vectors.shape, len(mixed)

    layer, block = ending.last.constants, ending.last.block
    past = block.mixer.past
    back = _norm_backward(gradient, answer, norm_end, ending.norm)
    for_end = _mlp_backward(back, end, mlp_last, block)
    back = for_end @ block.mixer.out_proj.weight
    for_recent = (back * mixed_last) @ layer.outer_gate.t()
    outer = (back * x0_last)[:, None] * ending.kernel
    gates = torch.cat([outer * v_last, outer * x1_last], dim=2)
    gates = _short_backward(gates, layer.short_rows[:, width:]).view(rows * length, -1)
    back = gates @ block.mixer.in_proj.weight[width:]
    back.view(rows, -1)[:, (length - past - 1) * width :] += for_recent
    back = _norm_backward(back, hidden, norm_last, block.norm1)
    back.view(rows, length, width)[:, -1] += for_end

    layer, block = ending.first.constants, ending.first.block
    back = _mlp_backward(back, stream, mlp, block)
    result = back.view(rows, length, width).sum(0)
    gated = (back @ block.mixer.out_proj.weight).view(rows, length, width)
    shared = torch.empty_like(vectors.expand(3, -1, -1).transpose(0, 1).contiguous())
    torch.sum(gated * mixed, 0, out=shared[:, 0])
    outer = gated * x0
    torch.mul(gated[:, :past], x0_start, out=outer[:, :past])
    signal = (ending.lags * outer.sum(0)[:, None]).sum(0)
    torch.mul(signal, v, out=shared[:, 1])
    torch.mul(signal, x1, out=shared[:, 2])
    inner = torch.stack([(outer * taps).sum(1) for taps in ending.taps], dim=1)
    shared[:past, 1] = (inner * v_start).sum(0)
    shared[:past, 2] = (inner * x1_start).sum(0)
    projected = _short_backward(shared.view(length, -1), layer.short_rows)
    back = projected @ block.mixer.in_proj.weight
    result += _norm_backward(back, vectors, norm, block.norm1)
    return result


def _short(projected: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """Run the short filter, taps (w, C), down projections (..., P, C); zeros stand before them."""
    past, length = len(taps) - 1, projected.shape[-2]
    result = torch.addcmul(bias, projected, taps[past])
    for lag in range(1, past + 1):
        later, earlier = result[..., lag:, :], projected[..., : length - lag, :]
        later.addcmul_(earlier, taps[past - lag])
    return result


def _short_backward(gradient: Tensor, taps: Tensor) -> Tensor:
    """Return the gradient of the projections of `_short`."""
    past, length = len(taps) - 1, gradient.shape[-2]
    result = gradient * taps[past]
    for lag in range(1, past + 1):
        result[..., : length - lag, :].addcmul_(gradient[..., lag:, :], taps[past - lag])
    return result


def _reaching(tail: Tensor, before: Tensor, taps: Tensor) -> Tensor:
    """Return what a context's tail (B, C, w-1) adds to the short filter's first outputs.

    The result is (B, w-1, C); `before` (1, C, w-1) is the tail before a sequence, without a bias.
    """
    past = len(taps) - 1
    earlier = torch.add(tail, before).transpose(1, 2)
    result = earlier * taps[0]
    for lag in range(1, past):
        result[:, : past - lag].addcmul_(earlier[:, lag:], taps[lag])
    return result


def _norm_backward(
    gradient: Tensor, hidden: Tensor, kept: list[Tensor], norm: nn.LayerNorm
) -> Tensor:
    mean, scale = kept
    return layer_norm_backward(gradient, hidden, mean, scale, norm)


def _mlp(stream: Tensor, block: Block, wanted: bool) -> tuple[Tensor, list[Tensor]]:
    """Return stream + MLP (N, D), and what the derivative needs: mean, scale and GELU's slope."""
    mlp = block.mlp
    signal, mean, scale = layer_norm(stream, block.norm2)
    inner = torch.addmm(mlp.fc1.bias, signal, mlp.fc1.weight.t())
    slope = gelu_(inner, wanted)
    result = torch.addmm(stream, inner, mlp.fc2.weight.t()).add_(mlp.fc2.bias)
    return result, [] if slope is None else [mean, scale, slope]


def _mlp_backward(gradient: Tensor, stream: Tensor, kept: list[Tensor], block: Block) -> Tensor:
    """Return the gradient (N, D) of the stream before `_mlp`."""
    mean, scale, slope = kept
    inner = (gradient @ block.mlp.fc2.weight).mul_(slope) @ block.mlp.fc1.weight
    return layer_norm_backward(inner, stream, mean, scale, block.norm2).add_(gradient)
