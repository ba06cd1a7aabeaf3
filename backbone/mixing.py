"""Short filter, gates and long convolution of a frozen layer behind a context, with derivatives.

Shapes: signals are (B, C, L); the context's last projections, its tail, (b, C, w-1), where b is 1
if all rows share it. Derivatives are for signals and contexts alone.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.hyena import transform_length
from backbone.layer import window, window_index

Short = tuple[Tensor, Tensor]
"""Weights (C, w) and bias (C,) of the short filter."""

AT_ONCE = 1 << 18
"""Numbers that are transformed at once; more would leave the cache."""


class Mix(torch.autograd.Function):
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
        """Returns gated (B, D, L), the new tail (B, 3D, w-1), the own spill (B, D, room)."""
        length, width = projected.shape[2], len(taps)
        weight, bias = short
        x0 = _short(projected[:, :width], tail[:, :width], weight[:width], bias[:width])
        inner = _short(projected[:, width:], tail[:, width:], weight[width:], bias[width:])
        padded = _gated(inner, lengths, transform_length(length, length + room))
        mixed = _transformed(padded, spectrum, length + room)
        after = mixed[..., length:] if lengths is None else window(mixed, lengths, room)
        after = after.clone()
        mixed = mixed[..., :length]
        if spill is not None:
            mixed += spill[..., :length]
        kept = inner, mixed
        if not ctx.needs_input_grad[0]:  # the derivative then needs the first positions only
            kept = inner[..., : tail.shape[2]].clone(), mixed[..., : tail.shape[2]].clone()
        ctx.save_for_backward(x0, *kept, spectrum, lengths)
        ctx.weight, ctx.taps, ctx.shared = weight, taps, (tail.shape, _shape(spill))
        return x0 * mixed, _tail_after(projected, tail, lengths), after

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, for_gated: Tensor, for_tail: Tensor, for_after: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gives the gradients of projections, tail and spill."""
        x0, inner, mixed, spectrum, lengths = ctx.saved_tensors
        width, length = x0.shape[1:]
        past, size = for_tail.shape[2], length + for_after.shape[2]
        padded = for_gated.new_empty(*x0.shape[:2], transform_length(length, size))
        torch.mul(for_gated, x0, out=padded[..., :length])
        padded[..., length:] = 0
        for_spill = _spill_gradient(padded[..., :length], ctx.shared[1])
        if lengths is None:
            padded[..., length:size] = for_after
        else:
            padded.scatter_add_(2, window_index(padded, lengths, for_after.shape[2]), for_after)
        if ctx.needs_input_grad[0]:
            for_inner = _transformed(padded, spectrum.conj(), length)
        else:
            for_gated = for_gated[..., :past]
            for_inner = _first(padded, ctx.taps, min(past, length), size)
        gradients = for_gated * mixed, _gates_backward(for_inner, inner, lengths)
        kept = gradients[1].shape[2]
        for_projected = for_gated.new_empty(len(x0), 3 * width, kept)
        for_earlier = for_gated.new_zeros(len(x0), 3 * width, past)
        for part, gradient in zip(_parts(width), gradients, strict=True):
            weight = ctx.weight[part]
            _short_backward(gradient, weight, for_projected[:, part], for_earlier[:, part])
        whole = for_projected if ctx.needs_input_grad[0] else None
        _tail_after_backward(for_tail, whole, for_earlier, lengths, length)
        return whole, _summed(for_earlier, ctx.shared[0]), for_spill, *[None] * 5


class Ends(torch.autograd.Function):
    """The long convolution of x1 * v at a few positions around each row's end."""

    DIRECT: ClassVar[int] = 8
    """So many positions take a dot product each; for more a transform is cheaper."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        tail: Tensor,
        short: Short,
        taps: Tensor,
        spectrum: Tensor | None,
        lengths: Tensor | None,
        first: int,
        count: int,
    ) -> Tensor:
        """Returns (B, D, count): positions `first` .. first + count - 1 counted from the end.

        `projected` holds x1 and v alone, (B, 2D, L), and so does the tail.
        """
        length = projected.shape[2]
        inner = _short(projected, tail, *short)
        kernels: list[Tensor] = []
        if spectrum is None:
            kernels = [_backwards(taps, length, lengths, first + i) for i in range(count)]
            gated = _gated(inner, lengths, length)
            columns = [(gated * kernel).sum(-1) for kernel in kernels]
            result = torch.stack(columns, dim=2) if columns else gated[..., :0]
        else:
            size = length + first + count
            mixed = _transformed(
                _gated(inner, lengths, transform_length(length, size)), spectrum, size
            )
            starts = None if lengths is None else lengths + first
            result = mixed[..., size - count :] if starts is None else window(mixed, starts, count)
            result = result.clone()
        ctx.save_for_backward(inner, spectrum, lengths, *kernels)
        ctx.weight, ctx.shape, ctx.first = short[0], tail.shape, first
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gives the gradients of projections and tail."""
        inner, spectrum, lengths, *kernels = ctx.saved_tensors
        length, count = inner.shape[2], gradient.shape[2]
        if spectrum is None:
            for_inner = inner.new_zeros(len(inner), inner.shape[1] // 2, length)
            for i, kernel in enumerate(kernels):
                for_inner.addcmul_(gradient[..., i : i + 1], kernel)
        else:
            size = length + ctx.first + count
            padded = gradient.new_zeros(*gradient.shape[:2], transform_length(length, size))
            if lengths is None:
                padded[..., size - count : size] = gradient
            else:
                index = window_index(padded, lengths + ctx.first, count)
                padded.scatter_add_(2, index, gradient)
            for_inner = _transformed(padded, spectrum.conj(), length)
        gates = _gates_backward(for_inner, inner, lengths)
        for_projected = torch.empty_like(inner)
        for_tail = inner.new_zeros(len(inner), *ctx.shape[1:])
        _short_backward(gates, ctx.weight, for_projected, for_tail)
        return for_projected, _summed(for_tail, ctx.shape), *[None] * 6


def _parts(width: int) -> tuple[slice, slice]:
    return slice(0, width), slice(width, 3 * width)


def _shape(spill: Tensor | None) -> torch.Size | None:
    return None if spill is None else spill.shape


def _short(signal: Tensor, tail: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolves (B, C, L) behind its tail with (C, w): shifted products, all in one buffer."""
    past, length = tail.shape[2], signal.shape[2]
    result = torch.mul(signal, weight[:, past:]).add_(bias[:, None])
    for lag in range(1, past + 1):
        tap, reach = weight[:, past - lag, None], min(lag, length)
        result[..., lag:].addcmul_(signal[..., : length - reach], tap)
        result[..., :lag].addcmul_(tail[..., past - lag : past - lag + reach], tap)
    return result


def _short_backward(gradient: Tensor, weight: Tensor, signal: Tensor, tail: Tensor) -> None:
    """Writes the gradient of the signal (B, C, L), and adds that of the tail, a row each."""
    past, length = tail.shape[2], gradient.shape[2]
    torch.mul(gradient, weight[:, past:], out=signal)
    for lag in range(1, past + 1):
        tap, reach = weight[:, past - lag, None], min(lag, length)
        signal[..., : length - reach].addcmul_(gradient[..., reach:], tap)
        tail[..., past - lag : past - lag + reach].addcmul_(gradient[..., :reach], tap)


def _gated(inner: Tensor, lengths: Tensor | None, size: int) -> Tensor:
    """Returns x1 * v of (B, 2D, L), zero from each row's end on, in a buffer (B, D, size)."""
    x1, v = inner.chunk(2, dim=1)
    length = inner.shape[2]
    padded = inner.new_empty(*x1.shape[:2], size)
    torch.mul(x1, v, out=padded[..., :length])
    padded[..., length:] = 0
    if lengths is not None:
        padded[..., :length].mul_(_inside(lengths, length, inner.dtype))
    return padded


def _gates_backward(gradient: Tensor, inner: Tensor, lengths: Tensor | None) -> Tensor:
    """Returns the gradient (B, 2D, L) of x1 and v, of which the first positions may be enough."""
    count = gradient.shape[2]
    inner = inner[..., :count]
    x1, v = inner.chunk(2, dim=1)
    if lengths is not None:
        gradient = gradient * _inside(lengths, count, gradient.dtype)
    result = torch.empty_like(inner, memory_format=torch.contiguous_format)
    torch.mul(gradient, v, out=result[:, : v.shape[1]])
    torch.mul(gradient, x1, out=result[:, v.shape[1] :])
    return result


def _inside(lengths: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    return (torch.arange(length) < lengths[:, None])[:, None].to(dtype)


def _transformed(padded: Tensor, spectrum: Tensor, length: int) -> Tensor:
    """Convolves (B, D, n), as much as fits the cache at a time; the first (B, D, length)."""
    rows, width, n = padded.shape
    some = max(1, AT_ONCE // (rows * n))
    if some >= width:
        return torch.fft.irfft(torch.fft.rfft(padded).mul_(spectrum), n=n)[..., :length]
    result = padded.new_empty(rows, width, length)
    for start in range(0, width, some):
        part = slice(start, start + some)
        product = torch.fft.rfft(padded[:, part]).mul_(spectrum[part])
        result[:, part] = torch.fft.irfft(product, n=n)[..., :length]
    return result


def _first(padded: Tensor, taps: Tensor, count: int, size: int) -> Tensor:
    """Correlates (B, D, n) with the taps at the first positions only; (B, D, count)."""
    columns = [
        torch.einsum("bdt,dt->bd", padded[..., i:size], taps[:, : size - i]) for i in range(count)
    ]
    return torch.stack(columns, dim=2)


def _backwards(taps: Tensor, length: int, lengths: Tensor | None, offset: int) -> Tensor:
    """Returns taps by position, (D, L) or (B, D, L): lag end + offset - s at position s."""
    size = taps.shape[1]
    backwards = F.pad(taps.flip(1), (0, length))
    if lengths is None:
        start = size - 1 - length - offset
        return backwards[:, start : start + length]
    starts = size - 1 - (lengths + offset)
    return backwards.unfold(1, length, 1)[:, starts].transpose(0, 1)


def _spill_gradient(gradient: Tensor, shape: torch.Size | None) -> Tensor | None:
    if shape is None:
        return None
    result = gradient.new_zeros(shape)
    shared = shape[0] == 1 and len(gradient) > 1
    result[..., : gradient.shape[2]] = gradient.sum(0, keepdim=True) if shared else gradient
    return result


def _summed(gradient: Tensor, shape: torch.Size) -> Tensor:
    return gradient.sum(0, keepdim=True) if shape[0] == 1 else gradient


def _tail_after(projected: Tensor, tail: Tensor, lengths: Tensor | None) -> Tensor:
    """Cuts the last w-1 projections of each row, reaching into the tail where it is shorter."""
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
    projected: Tensor | None,
    tail: Tensor,
    lengths: Tensor | None,
    length: int,
) -> None:
    """Adds the gradient of `_tail_after` to those of projections (if any) and tail."""
    past = tail.shape[2]
    if lengths is None:
        lengths = torch.full((len(gradient),), length)
    at = (lengths[:, None] - torch.arange(past, 0, -1))[:, None]
    earlier = gradient * (at < 0)
    index = (at + past).clamp(0, past - 1).expand_as(gradient)
    tail.scatter_add_(2, index, earlier)
    if projected is not None:
        projected.scatter_add_(2, at.clamp(min=0).expand_as(gradient), gradient - earlier)
