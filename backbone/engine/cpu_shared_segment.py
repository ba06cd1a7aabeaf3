"""The first layer of a frozen model over one segment of vectors after many contexts.

Vectors that follow every row, such as a prompt's after its queries, are the same for all rows
where they enter the first layer: projections and the long convolution are computed once. A context
enters at the first w-1 positions, where the short filter reaches back into it, from there through
the long filter to all later ones, and by its spill; see `backbone.engine.cpu_first_layer`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_mixer import shape_of, summed, transformed
from backbone.engine.layer_constants import Short
from backbone.hyena.convolution import short_convolution, short_convolution_backward


class SharedMixer(torch.autograd.Function):
    """Projections of one segment to x0 * (h conv (x1 * v) + spill) after each context."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        tail: Tensor,
        spill: Tensor,
        short: Short,
        taps: Tensor,
        spectrum: Tensor,
    ) -> Tensor:
        """Return the gated signal (B, D, L).

        Args:
            ctx: Receives what the backward pass needs.
            projected: (1, 3D, L), L of w or more.
            tail: (b, 3D, w-1), projections of a context's last positions, without their bias.
            spill: (B, D, room) of the contexts.
            short: Weights and bias of the short filter, the projections' bias in it.
            taps: (D, L), the long filter.
            spectrum: The filter's transform of a size that holds segment and filter.
        """
        length, head, rows = taps.shape[1], tail.shape[2], len(spill)
        start = projected[..., :head].expand(rows, -1, -1)
        x0_start, x1_start, v_start = short_convolution(start, *short, tail).chunk(3, dim=1)
        x0, x1, v = short_convolution(projected, *short).chunk(3, dim=1)
        signal = _later(x1 * v, head, spectrum)
        mixed = transformed(signal, spectrum, 0, length) + spill[..., :length]
        first = x1_start * v_start
        for i in range(head):
            mixed[..., i:].addcmul_(first[..., i : i + 1], taps[:, : length - i])
        gated = x0 * mixed
        torch.mul(x0_start, mixed[..., :head], out=gated[..., :head])
        ctx.save_for_backward(x0, x1, v, x0_start, x1_start, v_start, mixed, taps, spectrum)
        ctx.weight, ctx.shared = short[0], (tail.shape, shape_of(spill))
        return gated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of projections, tail and spill."""
        x0, x1, v, x0_start, x1_start, v_start, mixed, taps, spectrum = ctx.saved_tensors
        length, head, (tail, spill) = taps.shape[1], x0_start.shape[2], ctx.shared
        outer = gradient * x0
        torch.mul(gradient[..., :head], x0_start, out=outer[..., :head])
        sums = [(outer[..., i:] * taps[:, : length - i]).sum(-1) for i in range(head)]
        first = torch.stack(sums, dim=2)
        start = torch.cat(
            [gradient[..., :head] * mixed[..., :head], first * v_start, first * x1_start], dim=1
        )
        signal = _later(outer.sum(0, keepdim=True), 0, spectrum)
        inner = transformed(signal, spectrum.conj(), 0, length)
        x0_gradient = (gradient * mixed).sum(0, keepdim=True)
        gates = torch.cat([x0_gradient, inner * v, inner * x1], dim=1)
        gates[..., :head] = start.sum(0)
        for_tail = for_spill = None
        if ctx.needs_input_grad[1]:
            for_tail = start.new_zeros(len(start), *tail[1:])
            short_convolution_backward(start, ctx.weight, for_tail)
            for_tail = summed(for_tail, tail)
        if ctx.needs_input_grad[2]:
            for_spill = F.pad(outer, (0, spill[2] - length))
        return short_convolution_backward(gates, ctx.weight), for_tail, for_spill, *[None] * 3


def _later(signal: Tensor, head: int, spectrum: Tensor) -> Tensor:
    """Return (1, D, L) from position `head` on, in a buffer of the transform's size."""
    padded = F.pad(signal, (0, 2 * (spectrum.shape[1] - 1) - signal.shape[2]))
    padded[..., :head] = 0
    return padded
