"""The last layer of a frozen model, computed only for each row's last position.

What the position reads from the others is one sum of x1 * v over all of them, weighted by the
reversed filter. No transform follows, so signals stay as the residual stream is, positions before
channels, and everything from the norm to the sum is done for a few rows at a time, in the cache.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_mixer import summed
from backbone.hyena.mlp import norm_backward, normed

POSITIONS = 2048
"""Positions at a time: their projections fit a core's cache."""


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
        """Returns the sums, one for each of K kernels.

        Args:
            ctx: what the backward pass needs.
            hidden: (B, L, D).
            tail: (b, w-1, 2D), projections of what stands before to x1 and v; b is 1 or B.
            norm: the norm before the projections.
            weight: (2D, D), projects to x1 and v, without a bias.
            short: weights (w, 2D) and bias (2D,) of the short filter.
            kernels: (K, b, L, D) of `kernels`; b is 1 or B.
        """
        rows, length, width = hidden.shape
        inner = hidden.new_empty(rows, length, 2 * width)
        result, kept = hidden.new_empty(rows, width, len(kernels)), []
        for part in _parts(rows, length):
            signal, mean, scale = normed(hidden[part].reshape(-1, width), norm)
            projected = (signal @ weight.t()).view(-1, length, 2 * width)
            x1, v = _short(projected, _of(tail, part), *short, out=inner[part]).chunk(2, dim=2)
            gated = x1 * v
            for k, kernel in enumerate(kernels):
                result[part, :, k] = (gated * _of(kernel, part)).sum(1)
            kept += [mean, scale]
        ctx.save_for_backward(hidden, inner, kernels, *kept)
        ctx.norm, ctx.weight, ctx.taps, ctx.tail = norm, weight, short[0], tail.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gives the gradients of the stream and the tail."""
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
            for_projected = _short_backward(gates, ctx.taps, for_tail[part])
            for_signal = for_projected.view(-1, 2 * width) @ ctx.weight
            whole, (mean, scale) = hidden[part].reshape(-1, width), kept[2 * i : 2 * i + 2]
            found = norm_backward(for_signal, whole, mean, scale, ctx.norm)
            back[part] = found.view(-1, length, width)
        return back, summed(for_tail, ctx.tail), *[None] * 4


def kernels(taps: Tensor, length: int, lengths: Tensor | None, first: int, count: int) -> Tensor:
    """Returns taps by position, (K, b, L, D): lag end + offset - s at position s, else zero.

    Args:
        taps: (D, M) with M = length + first + count.
        length: L.
        lengths: (B,), where each row ends; None for all at L, then b is 1.
        first: the first offset from the end.
        count: K, how many offsets.
    """
    backwards = F.pad(taps.flip(1), (0, length)).t().contiguous()
    ends = torch.tensor([length]) if lengths is None else lengths
    starts = taps.shape[1] - 1 - ends - torch.arange(first, first + count)[:, None]
    positions = torch.arange(length)
    found = backwards[starts[..., None] + positions]
    return found if lengths is None else found * (positions < ends[:, None])[..., None]


def _parts(rows: int, length: int) -> list[slice]:
    some = max(1, POSITIONS // length)
    return [slice(start, min(start + some, rows)) for start in range(0, rows, some)]


def _of(shared: Tensor, part: slice) -> Tensor:
    return shared if len(shared) == 1 else shared[part]


def _short(signal: Tensor, tail: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """Convolves (B, L, C) behind its tail (b, w-1, C) with (w, C), into `out`."""
    past, length = tail.shape[1], signal.shape[1]
    torch.addcmul(bias, signal, weight[past], out=out)
    for lag in range(1, past + 1):
        tap, reach = weight[past - lag], min(lag, length)
        out[:, lag:].addcmul_(signal[:, : length - reach], tap)
        out[:, :lag].addcmul_(tail[:, past - lag : past - lag + reach], tap)
    return out


def _short_backward(gradient: Tensor, weight: Tensor, tail: Tensor) -> Tensor:
    """Returns the gradient of the signal (B, L, C), and adds that of the tail, a row each."""
    past, length = tail.shape[1], gradient.shape[1]
    signal = gradient * weight[past]
    for lag in range(1, past + 1):
        tap, reach = weight[past - lag], min(lag, length)
        signal[:, : length - reach].addcmul_(gradient[:, reach:], tap)
        tail[:, past - lag : past - lag + reach].addcmul_(gradient[:, :reach], tap)
    return signal
