"""Short filter, gates and long convolution of a frozen layer after a context, with derivatives.

Signals are (B, C, L); the tail, the context's last projections, is (b, C, w-1), where b is 1 if all
rows share it. Derivatives are for signals and contexts alone.

Where the first layer reads token ids, its projections are looked up: the short filter sees w
neighbouring tokens, so its outputs and the gates take one value for each w-gram that occurs, 64 for
bases and w = 3. A context enters them at the first w-1 positions only, and the long convolution by
its spill, so the context's gradient takes no transform either.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.engine.layer import window, window_index
from backbone.engine.layer_constants import Grams, Short
from backbone.hyena.convolution import (
    fast_length,
    short_convolution,
    short_convolution_backward,
    transform_length,
)
from backbone.side_by_side import run

AT_ONCE = 1 << 18
"""Numbers transformed at once; more would not fit the cache."""


class SegmentMixer(torch.autograd.Function):
    """Projections to x0 * (h conv (x1 * v) + spill), and the segment's own state."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        tail: Tensor,
        spill: Tensor | None,
        short: Short,
        taps: Tensor,
        spectrum: Tensor,
        lengths: Tensor | None,
        room: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return gated (B, D, L), the new tail (B, 3D, w-1), the own spill (B, D, room)."""
        length, width = projected.shape[2], len(taps)
        weight, bias = short
        x0 = short_convolution(projected[:, :width], weight[:width], bias[:width], tail[:, :width])
        inner = short_convolution(
            projected[:, width:], weight[width:], bias[width:], tail[:, width:]
        )
        padded = _gated(inner, lengths, transform_length(length, length + room))
        mixed, after = _mixed(padded, spectrum, spill, lengths, length, room)
        ctx.save_for_backward(x0, inner, mixed, spectrum, lengths)
        ctx.weight, ctx.shared = weight, (tail.shape, shape_of(spill))
        return x0 * mixed, _tail_after(projected, tail, lengths), after

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, for_gated: Tensor, for_tail: Tensor, for_after: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of projections, tail and spill."""
        x0, inner, mixed, spectrum, lengths = ctx.saved_tensors
        width, length = x0.shape[1:]
        size = transform_length(length, length + for_after.shape[2])
        outer, for_spill = outer_gradient(for_gated, x0, for_after, lengths, size, ctx.shared[1])
        for_inner = transformed(outer, spectrum.conj(), 0, length)
        gradients = for_gated * mixed, gates_backward(for_inner, inner, lengths)
        for_projected = for_gated.new_empty(len(x0), 3 * width, length)
        for_earlier = for_gated.new_zeros(len(x0), *for_tail.shape[1:])
        for part, gradient in zip(parts(width), gradients, strict=True):
            short_convolution_backward(
                gradient, ctx.weight[part], for_earlier[:, part], out=for_projected[:, part]
            )
        _tail_after_backward(for_tail, for_projected, for_earlier, lengths, length)
        return for_projected, summed(for_earlier, ctx.shared[0]), for_spill, *[None] * 5


class TokenMixer(torch.autograd.Function):
    """Token ids to x0 * (h conv (x1 * v) + spill), and the segment's own spill."""

    @staticmethod
    def forward(
        ctx: Any,
        ids: Tensor,
        grams: Grams,
        tail: Tensor,
        spill: Tensor | None,
        taps: Tensor,
        spectrum: Tensor,
        lengths: Tensor | None,
        room: int,
    ) -> tuple[Tensor, Tensor]:
        """Return gated (B, D, L) and the own spill (B, D, room).

        `grams` holds the gates of neighbouring tokens; the others are as for `SegmentMixer`.
        """
        length, width, short = ids.shape[1], len(taps), grams.short
        head = min(tail.shape[2], length)
        x0, padded = looked_up(ids, grams, transform_length(length, length + room))
        start = short_convolution(grams.table[:, ids[:, :head]].transpose(0, 1), *short, tail)
        first, inner = start[:, :width], start[:, width:]
        x0[..., :head] = first
        padded[..., :head] = inner[:, :width] * inner[:, width:]
        if lengths is not None:
            padded[..., :length].mul_(inside(lengths, length, padded.dtype))
        mixed, after = _mixed(padded, spectrum, spill, lengths, length, room)
        ctx.save_for_backward(x0, inner, mixed[..., :head].clone(), lengths)
        ctx.weight, ctx.taps, ctx.shared = short[0], taps, (tail.shape, shape_of(spill))
        return x0 * mixed, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_gated: Tensor, for_after: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of tail and spill."""
        x0, inner, mixed, lengths = ctx.saved_tensors
        width, head, size = x0.shape[1], mixed.shape[2], x0.shape[2] + for_after.shape[2]
        outer, for_spill = outer_gradient(for_gated, x0, for_after, lengths, size, ctx.shared[1])
        sums = [(outer[..., i:] * ctx.taps[:, : size - i]).sum(-1) for i in range(head)]
        for_inner = torch.stack(sums, dim=2)
        gradients = for_gated[..., :head] * mixed, gates_backward(for_inner, inner, lengths)
        for_tail = x0.new_zeros(len(x0), *ctx.shared[0][1:])
        for part, gradient in zip(parts(width), gradients, strict=True):
            short_convolution_backward(gradient, ctx.weight[part], for_tail[:, part])
        return None, None, summed(for_tail, ctx.shared[0]), for_spill, *[None] * 4


class EndConvolution(torch.autograd.Function):
    """The long convolution of x1 * v at some positions around each row's end."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        tail: Tensor,
        short: Short,
        spectrum: Tensor,
        lengths: Tensor | None,
        first: int,
        count: int,
    ) -> Tensor:
        """Return (B, D, count): positions `first` .. first + count - 1 counted from the end.

        `projected` holds x1 and v alone, (B, 2D, L), and so does the tail.
        """
        length = projected.shape[2]
        stop = length + first + count
        size = EndConvolution.transform_length(length, first, count, lengths)
        inner = short_convolution(projected, *short, tail)
        padded = _gated(inner, lengths, size)
        if lengths is None:
            result = transformed(padded, spectrum, stop - count, stop)
        else:
            result = window(transformed(padded, spectrum, 0, stop), lengths + first, count)
        ctx.save_for_backward(inner, spectrum, lengths)
        ctx.weight, ctx.shape, ctx.first, ctx.size = short[0], tail.shape, first, size
        return result.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of projections and tail."""
        inner, spectrum, lengths = ctx.saved_tensors
        length, count = inner.shape[2], gradient.shape[2]
        padded = gradient.new_zeros(*gradient.shape[:2], ctx.size)
        if lengths is None:
            start = length + ctx.first
            padded[..., start : start + count] = gradient
        else:
            padded.scatter_add_(2, window_index(padded, lengths + ctx.first, count), gradient)
        for_inner = transformed(padded, spectrum.conj(), 0, length)
        gates = gates_backward(for_inner, inner, lengths)
        for_tail = inner.new_zeros(len(inner), *ctx.shape[1:])
        for_projected = short_convolution_backward(gates, ctx.weight, for_tail)
        return for_projected, summed(for_tail, ctx.shape), *[None] * 5

    @staticmethod
    def transform_length(length: int, first: int, count: int, lengths: Tensor | None) -> int:
        """Return a sufficient size: positions that are not read may wrap around.

        If all rows end together, position t of the whole convolution falls on t - size, which for
        every t < 2 length + first + count - 1 lies before the first position read.
        """
        stop = length + first + count
        if lengths is not None:
            return transform_length(length, stop)
        return fast_length(max(stop, length + count - 1))


def looked_up(ids: Tensor, grams: Grams, size: int) -> tuple[Tensor, Tensor]:
    """Return x0 (B, D, L), and x1 * v in a buffer (B, D, size) that is zero from L on.

    They are valid from position w-1 on, where they depend on the row's own tokens only.
    """
    gates, index = grams.gates(ids)
    (rows, length), width = ids.shape, len(gates) // 2
    index = index[:, None].expand(-1, width, -1)
    outer, inner = (part.expand(rows, -1, -1) for part in gates.split(width))
    padded = gates.new_empty(rows, width, size)
    torch.gather(inner, 2, index, out=padded[..., :length])
    padded[..., length:] = 0
    return outer.gather(2, index), padded


def parts(width: int) -> tuple[slice, slice]:
    """Return where the projections hold x0, and where x1 and v."""
    return slice(0, width), slice(width, 3 * width)


def shape_of(spill: Tensor | None) -> torch.Size | None:
    """Return the shape of a context's spill, if there is a context."""
    return None if spill is None else spill.shape


def _mixed(
    padded: Tensor,
    spectrum: Tensor,
    spill: Tensor | None,
    lengths: Tensor | None,
    length: int,
    room: int,
) -> tuple[Tensor, Tensor]:
    """Convolve a segment: (B, D, L) with the context's spill, and the own spill (B, D, room)."""
    mixed = transformed(padded, spectrum, 0, length + room)
    after = mixed[..., length:] if lengths is None else window(mixed, lengths, room)
    after = after.clone()
    mixed = mixed[..., :length]
    if spill is not None:
        mixed += spill[..., :length]
    return mixed, after


def _gated(inner: Tensor, lengths: Tensor | None, size: int) -> Tensor:
    """Return x1 * v of (B, 2D, L), zero from each row's end on, in a buffer (B, D, size)."""
    x1, v = inner.chunk(2, dim=1)
    length = inner.shape[2]
    padded = inner.new_empty(*x1.shape[:2], size)
    torch.mul(x1, v, out=padded[..., :length])
    padded[..., length:] = 0
    if lengths is not None:
        padded[..., :length].mul_(inside(lengths, length, inner.dtype))
    return padded


def gates_backward(gradient: Tensor, inner: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the gradient (B, 2D, L) of x1 and v at the first L positions."""
    count = gradient.shape[2]
    inner = inner[..., :count]
    x1, v = inner.chunk(2, dim=1)
    if lengths is not None:
        gradient = gradient * inside(lengths, count, gradient.dtype)
    result = torch.empty_like(inner, memory_format=torch.contiguous_format)
    torch.mul(gradient, v, out=result[:, : v.shape[1]])
    torch.mul(gradient, x1, out=result[:, v.shape[1] :])
    return result


def inside(lengths: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Return (B, 1, L): 1 up to each row's end, 0 after it."""
    return (torch.arange(length, device=lengths.device) < lengths[:, None])[:, None].to(dtype)


def transformed(padded: Tensor, spectrum: Tensor, start: int, stop: int) -> Tensor:
    """Convolve (B, D, n) a few channels at a time; return positions start .. stop - 1."""
    rows, width, n = padded.shape
    some = max(1, AT_ONCE // (rows * n))
    if some >= width:
        return torch.fft.irfft(torch.fft.rfft(padded).mul_(spectrum), n=n)[..., start:stop]
    result = padded.new_empty(rows, width, stop - start)

    def convolve(channel: int) -> None:
        part = slice(channel, channel + some)
        product = torch.fft.rfft(padded[:, part]).mul_(spectrum[part])
        result[:, part] = torch.fft.irfft(product, n=n)[..., start:stop]

    run(convolve, range(0, width, some))
    return result


def outer_gradient(
    for_gated: Tensor,
    x0: Tensor,
    for_after: Tensor,
    lengths: Tensor | None,
    size: int,
    spill: torch.Size | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradient of the segment's convolution, in a buffer (B, D, size).

    The second result is that of the context's spill, of the shape given, if there was one.
    """
    length, room = x0.shape[2], for_after.shape[2]
    outer = for_gated.new_empty(*x0.shape[:2], size)
    torch.mul(for_gated, x0, out=outer[..., :length])
    outer[..., length:] = 0
    for_spill = None
    if spill is not None:
        for_spill = for_gated.new_zeros(spill)
        for_spill[..., :length] = summed(outer[..., :length], spill)
    if lengths is None:
        outer[..., length : length + room] = for_after
    else:
        outer.scatter_add_(2, window_index(outer, lengths, room), for_after)
    return outer, for_spill


def summed(gradient: Tensor, shape: torch.Size) -> Tensor:
    """Sum the gradient of a context over rows, if they share it."""
    return gradient.sum(0, keepdim=True) if shape[0] == 1 and len(gradient) > 1 else gradient


def _tail_after(projected: Tensor, tail: Tensor, lengths: Tensor | None) -> Tensor:
    """Cut the last w-1 projections of each row, reaching into the tail where it is shorter."""
    past, length = tail.shape[2], projected.shape[2]
    if lengths is None and length >= past:
        return projected[..., length - past :].clone()
    earlier = tail.expand(len(projected), -1, -1)
    if lengths is None:
        return torch.cat([earlier[..., length:], projected], dim=2)
    whole = torch.cat([earlier, projected[..., : int(lengths.max())]], dim=2)
    return window(whole, lengths, past)


def _tail_after_backward(
    gradient: Tensor,
    projected: Tensor,
    tail: Tensor,
    lengths: Tensor | None,
    length: int,
) -> None:
    """Add the gradient of `_tail_after` to those of projections and tail."""
    past = tail.shape[2]
    if lengths is None:
        lengths = torch.full((len(gradient),), length, device=gradient.device)
    at = (lengths[:, None] - torch.arange(past, 0, -1, device=gradient.device))[:, None]
    earlier = gradient * (at < 0)
    index = (at + past).clamp(0, past - 1).expand_as(gradient)
    tail.scatter_add_(2, index, earlier)
    projected.scatter_add_(2, at.clamp(min=0).expand_as(gradient), gradient - earlier)
