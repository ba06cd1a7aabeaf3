"""The first layer of a frozen model over the same token ids after several contexts.

Of token ids the first layer computes nearly everything whatever precedes them: outer gates and
the long convolution of the inner ones. A context enters at the first w-1 positions, where the short
filter reaches back into it, from there through the long filter to all later ones, and by its spill:

    gated  =  x0 * (h conv (x1 * v))  +  x0 * (spill + sum over i < w-1 of h[t - i] (x1 * v)[i]),

where the first term is that of the positions from w-1 on and is computed once for all contexts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.engine.cpu_mixer import (
    gates_backward,
    looked_up,
    parts,
    shape_of,
    summed,
    transformed,
)
from backbone.engine.layer_constants import Grams, Short
from backbone.hyena.convolution import short_convolution, short_convolution_backward


@dataclass(frozen=True)
class TokenSegment:
    """Token ids in the first layer, whatever precedes them.

    Attributes:
        start: (B, 3D, w-1), projections of the first positions.
        outer: (B, D, L), the outer gates x0; valid from position w-1 on.
        own: (B, D, L), x0 times the convolution of the positions from w-1 on.
        short: Weights and bias of the short filter, the projections' bias in it.
        taps: (D, L), the long filter.
    """

    start: Tensor
    outer: Tensor
    own: Tensor
    short: Short
    taps: Tensor

    @staticmethod
    def of(ids: Tensor, grams: Grams, taps: Tensor, spectrum: Tensor) -> "TokenSegment":
        """Compute what does not depend on a context.

        Args:
            ids: (B, L).
            grams: The gates of neighbouring tokens.
            taps: (D, L).
            spectrum: The filter's transform of a size that holds ids and filter.
        """
        length, head = ids.shape[1], min(grams.short[0].shape[1] - 1, ids.shape[1])
        outer, padded = looked_up(ids, grams, 2 * (spectrum.shape[1] - 1))
        padded[..., :head] = 0
        own = transformed(padded, spectrum, 0, length).mul_(outer)
        start = grams.table[:, ids[:, :head]].transpose(0, 1)
        return TokenSegment(start, outer, own, grams.short, taps)

    def behind(self, tail: Tensor, spill: Tensor | None) -> Tensor:
        """Return the gated signal (B, D, L) after a context that all rows share, or one each.

        Args:
            tail: (b, 3D, w-1), projections of the context's last positions, without their bias.
            spill: (b, D, room) of the context; None for none.
        """
        return _Behind.apply(tail, spill, self)


class _Behind(torch.autograd.Function):
    """A context's tail and spill to the gated signal of a segment."""

    @staticmethod
    def forward(ctx: Any, tail: Tensor, spill: Tensor | None, segment: TokenSegment) -> Tensor:
        start, outer, taps = segment.start, segment.outer, segment.taps
        (width, length), head = taps.shape, start.shape[2]
        edge = short_convolution(start, *segment.short, tail)
        first, inner = edge[:, :width], edge[:, width:]
        x1, v = inner.chunk(2, dim=1)
        signal = x1 * v
        mixed = signal[..., :1] * taps
        for i in range(1, head):
            mixed[..., i:].addcmul_(signal[..., i : i + 1], taps[:, : length - i])
        if spill is not None:
            mixed += spill[..., :length]
        gated = torch.addcmul(segment.own, outer, mixed)
        gated[..., :head] = first * mixed[..., :head]
        ctx.save_for_backward(outer, first, inner, mixed[..., :head].clone(), taps)
        ctx.weight, ctx.shared = segment.short[0], (tail.shape, shape_of(spill))
        return gated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_gated: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of tail and spill."""
        x0, first, inner, mixed, taps = ctx.saved_tensors
        tail, spill = ctx.shared
        (width, length), head = taps.shape, first.shape[2]
        outer = for_gated * x0
        outer[..., :head] = for_gated[..., :head] * first
        for_spill = None
        if spill is not None:
            for_spill = outer.new_zeros(spill)
            for_spill[..., :length] = summed(outer, spill)
        sums = [(outer[..., i:] * taps[:, : length - i]).sum(-1) for i in range(head)]
        for_inner = gates_backward(torch.stack(sums, dim=2), inner, None)
        for_tail = outer.new_zeros(len(outer), *tail[1:])
        for part, gradient in zip(
            parts(width), (for_gated[..., :head] * mixed, for_inner), strict=True
        ):
            short_convolution_backward(gradient, ctx.weight[part], for_tail[:, part])
        return summed(for_tail, tail), for_spill, None
