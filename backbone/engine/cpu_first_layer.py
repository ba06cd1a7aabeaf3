"""The first layer of a frozen model where it reads token ids: what can be looked up is.

The short filter sees w neighbouring tokens, so its outputs and the gates take one value for each
w-gram that occurs: 64 for bases and w = 3. A context enters them at the first w-1 positions only,
and the long convolution by its spill, so the context's gradient takes no transform either.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_mixer import (
    Short,
    gates_backward,
    inside,
    outer_gradient,
    parts,
    shape_of,
    short_backward,
    short_filtered,
    summed,
    transformed,
)
from backbone.engine.layer import window
from backbone.hyena.convolution import transform_length


class MixTokens(torch.autograd.Function):
    """Token ids to x0 * (h conv (x1 * v) + spill), and the segment's own spill."""

    @staticmethod
    def forward(
        ctx: Any,
        ids: Tensor,
        table: Tensor,
        tail: Tensor,
        spill: Tensor | None,
        short: Short,
        taps: Tensor,
        spectrum: Tensor,
        lengths: Tensor | None,
        room: int,
    ) -> tuple[Tensor, Tensor]:
        """Returns gated (B, D, L) and the own spill (B, D, room).

        `table` holds the projections (3D, V) of all tokens; the others are as for `mixing.Mix`.
        """
        length, width = ids.shape[1], len(taps)
        head = min(tail.shape[2], length)
        x0, padded = _looked_up(ids, table, short, transform_length(length, length + room))
        start = short_filtered(table[:, ids[:, :head]].transpose(0, 1), tail, *short)
        first, inner = start[:, :width], start[:, width:]
        x0[..., :head] = first
        padded[..., :head] = inner[:, :width] * inner[:, width:]
        if lengths is not None:
            padded[..., :length].mul_(inside(lengths, length, padded.dtype))
        mixed = transformed(padded, spectrum, 0, length + room)
        after = mixed[..., length:] if lengths is None else window(mixed, lengths, room)
        after = after.clone()
        mixed = mixed[..., :length]
        if spill is not None:
            mixed += spill[..., :length]
        ctx.save_for_backward(x0, inner, mixed[..., :head].clone(), lengths)
        ctx.weight, ctx.taps, ctx.shared = short[0], taps, (tail.shape, shape_of(spill))
        return x0 * mixed, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_gated: Tensor, for_after: Tensor) -> tuple[Tensor | None, ...]:
        """Gives the gradients of tail and spill."""
        x0, inner, mixed, lengths = ctx.saved_tensors
        width, head, size = x0.shape[1], mixed.shape[2], x0.shape[2] + for_after.shape[2]
        outer, for_spill = outer_gradient(for_gated, x0, for_after, lengths, size, ctx.shared[1])
        sums = [(outer[..., i:] * ctx.taps[:, : size - i]).sum(-1) for i in range(head)]
        for_inner = torch.stack(sums, dim=2)
        gradients = for_gated[..., :head] * mixed, gates_backward(for_inner, inner, lengths)
        for_tail = x0.new_zeros(len(x0), *ctx.shared[0][1:])
        for part, gradient in zip(parts(width), gradients, strict=True):
            unread = torch.empty_like(gradient)
            short_backward(gradient, ctx.weight[part], unread, for_tail[:, part])
        return None, None, summed(for_tail, ctx.shared[0]), for_spill, *[None] * 5


def _looked_up(ids: Tensor, table: Tensor, short: Short, size: int) -> tuple[Tensor, Tensor]:
    """Returns x0 (B, D, L), and x1 * v in a buffer (B, D, size) that is zero from L on.

    They hold from position w-1 on, where a row's own tokens decide them alone.
    """
    gates, index = _by_grams(ids, table, short)
    (rows, length), width = ids.shape, len(gates) // 2
    index = index[:, None].expand(-1, width, -1)
    outer, inner = (part.expand(rows, -1, -1) for part in gates.split(width))
    padded = table.new_empty(rows, width, size)
    torch.gather(inner, 2, index, out=padded[..., :length])
    padded[..., length:] = 0
    return outer.gather(2, index), padded


def _by_grams(ids: Tensor, table: Tensor, short: Short) -> tuple[Tensor, Tensor]:
    """Returns x0 and x1 * v (2D, U) of all w-grams that occur, and which occurs where (B, L)."""
    weight, bias = short
    tokens, past, length = table.shape[1], weight.shape[1] - 1, ids.shape[1]
    grams = ids.clone()
    for lag in range(1, min(past, length - 1) + 1):
        grams[:, lag:] += ids[:, : length - lag] * tokens**lag
    found, index = torch.unique(grams, return_inverse=True)
    filtered = bias[:, None].clone().expand(-1, len(found)).contiguous()
    for lag in range(past + 1):
        filtered.addcmul_(table[:, found // tokens**lag % tokens], weight[:, past - lag, None])
    x0, x1, v = filtered.chunk(3)
    return torch.cat([x0, x1 * v]), index
