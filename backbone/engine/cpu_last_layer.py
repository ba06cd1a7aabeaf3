"""The last layer of a frozen model, computed only for each row's last position.

What that position reads from the others is one sum of x1 * v over all of them, weighted by the
reversed filter. No transform follows, so signals stay positions first, like the residual stream,
and everything from the norm to the sum is done for a few rows at a time, in the cache.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_mixer import summed
from backbone.hyena.convolution import short_convolution, short_convolution_backward
from backbone.hyena.mlp import layer_norm, layer_norm_backward

POSITIONS = 2048
"""Positions processed at a time: their projections fit a core's cache."""


class LastPositionSum(torch.autograd.Function):
    """Residual stream (B, L, D) to sums over positions of kernel * x1 * v, (B, D, K)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        tail: Tensor,
        norm: nn.LayerNorm,
        weight: Tensor,
        short: tuple[Tensor, Tensor],
        kernels: Tensor,
    ) -> Tensor:
        """Return the sums, one for each of K kernels.

        Args:
            ctx: Receives what the backward pass needs.
            hidden: (B, L, D).
            tail: (b, 2D, w-1), projections of the positions before to x1 and v; b is 1 or B.
            norm: The norm before the projections.
            weight: (2D, D), projects to x1 and v, without a bias.
            short: Weights (2D, w) and bias (2D,) of the short filter.
            kernels: (K, b, L, D) of `kernels`; b is 1 or B.
        """
        rows, length, width = hidden.shape
        inner = hidden.new_empty(rows, length, 2 * width)
        result, kept = hidden.new_empty(rows, width, len(kernels)), []
        taps = short[0].t().contiguous().t()  # each tap's channels side by side, like the signal's
        for part in _parts(rows, length):
            signal, mean, scale = layer_norm(hidden[part].reshape(-1, width), norm)
            projected = (signal @ weight.t()).view(-1, length, 2 * width)
            target = inner[part].transpose(1, 2)
            short_convolution(projected.transpose(1, 2), taps, short[1], _of(tail, part), target)
            x1, v = inner[part].chunk(2, dim=2)
            gated = x1 * v
            for k, kernel in enumerate(kernels):
                result[part, :, k] = (gated * _of(kernel, part)).sum(1)
            kept += [mean, scale]
        ctx.save_for_backward(hidden, inner, kernels, *kept)
        ctx.norm, ctx.weight, ctx.taps, ctx.tail = norm, weight, taps, tail.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the stream and the tail."""
        hidden, inner, kernels, *kept = ctx.saved_tensors
        rows, length, width = hidden.shape
        back = torch.empty_like(hidden)
        for_tail = hidden.new_zeros(rows, *ctx.tail[1:])
        for i, part in enumerate(_parts(rows, length)):
            x1, v = inner[part].chunk(2, dim=2)
            outer = gradient[part, None, :, 0] * _of(kernels[0], part)
            for k, kernel in enumerate(kernels[1:], 1):
                outer.addcmul_(gradient[part, None, :, k], _of(kernel, part))
            gates = torch.empty_like(inner[part])
            torch.mul(outer, v, out=gates[..., :width])
            torch.mul(outer, x1, out=gates[..., width:])
            for_projected = torch.empty_like(gates)
            short_convolution_backward(
                gates.transpose(1, 2), ctx.taps, for_tail[part], out=for_projected.transpose(1, 2)
            )
            for_signal = for_projected.view(-1, 2 * width) @ ctx.weight
            whole, (mean, scale) = hidden[part].reshape(-1, width), kept[2 * i : 2 * i + 2]
            found = layer_norm_backward(for_signal, whole, mean, scale, ctx.norm)
            back[part] = found.view(-1, length, width)
        return back, summed(for_tail, ctx.tail), *[None] * 4


def kernels(taps: Tensor, length: int, lengths: Tensor | None, first: int, count: int) -> Tensor:
    """Return taps by position, (K, b, L, D): lag end + offset - s at position s, else zero.

    Args:
        taps: (D, M) with M = length + first + count.
        length: L.
        lengths: (B,), where each row ends; None if all end at L, then b is 1.
        first: The first offset from the end.
        count: K, how many offsets.
    """
    backwards = F.pad(taps.flip(1), (0, length)).t().contiguous()
    device = taps.device
    ends = torch.tensor([length], device=device) if lengths is None else lengths
    offsets = torch.arange(first, first + count, device=device)
    starts = taps.shape[1] - 1 - ends - offsets[:, None]
    positions = torch.arange(length, device=device)
    found = backwards[starts[..., None] + positions]
    return found if lengths is None else found * (positions < ends[:, None])[..., None]


def _parts(rows: int, length: int) -> list[slice]:
    some = max(1, POSITIONS // length)
    return [slice(start, min(start + some, rows)) for start in range(0, rows, some)]


def _of(shared: Tensor, part: slice) -> Tensor:
    return shared if len(shared) == 1 else shared[part]
