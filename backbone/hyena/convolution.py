"""The convolutions of a Hyena operator: short and depthwise, long by FFT, and both between gates.

Source: Poli et al. 2023, "Hyena Hierarchy" (arXiv 2302.10866), equation 4, for order 2:
x0 * (h conv (x1 * v)), with x0, x1 and v short-convolved projections. Tensors are channels first,
(B, C, L). Channels do not interact here, so a few of them at a time go through short convolution,
gates and transforms, in buffers that fit the caches. Backward passes recompute what is cheap:
short convolutions and transforms. How channels are grouped depends on shapes alone.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ODD_FACTORS = (1, 3, 5, 9, 15, 25, 27)
"""Odd factors of transform lengths; with more of them a transform takes longer than it saves."""

NUMBERS_AT_ONCE = {"cpu": 1 << 18}
"""Numbers transformed at once, by device type: what fits a core's caches."""

NUMBERS_AT_ONCE_ELSEWHERE = 1 << 27
"""The same on accelerators, where memory is the only limit."""

TRANSFORMS_TOGETHER, NUMBERS_TOGETHER = 8, 1 << 20
"""This many transforms at once are faster than fewer, up to this many numbers."""

MIN_TRANSFORMS = 2
"""Fewest transforms at once: a single one takes a slower path through the library."""


@lru_cache(maxsize=4096)
def fast_length(least: int) -> int:
    """Return an even length >= `least` that transforms fast: a power of two times an odd factor."""
    return min(odd << max(1, ((least - 1) // odd).bit_length()) for odd in ODD_FACTORS)


def transform_length(signal: int, filters: int) -> int:
    """Return a fast size in which a signal and a filter convolve without wrapping around."""
    return fast_length(signal + filters - 1)


def short_convolution(
    signal: Tensor,
    weight: Tensor,
    bias: Tensor,
    tail: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Convolve each channel with its short filter, causally, by shifted products in one buffer.

    On a CPU several times faster than the general depthwise convolution. It is for use inside
    autograd functions; `short_filtered` differentiates.

    Args:
        signal: (B, C, L).
        weight: (C, w); the last column weighs the position itself.
        bias: (C,).
        tail: (b, C, w-1), the positions before the signal, b being 1 or B; None for zeros.
        out: (B, C, L), where to write the result.

    Returns:
        (B, C, L).
    """
    past, length = weight.shape[1] - 1, signal.shape[2]
    result = torch.mul(signal, weight[:, past:], out=out).add_(bias[:, None])
    for lag in range(1, past + 1):
        tap, reach = weight[:, past - lag, None], min(lag, length)
        if lag < length:
            result[..., lag:].addcmul_(signal[..., : length - lag], tap)
        if tail is not None:
            result[..., :lag].addcmul_(tail[..., past - lag : past - lag + reach], tap)
    return result


def short_convolution_backward(
    gradient: Tensor, weight: Tensor, for_tail: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """Return the gradient of the signal of `short_convolution`, (B, C, L).

    Args:
        gradient: (B, C, L), that of the result.
        weight: (C, w).
        for_tail: (B, C, w-1), to which the gradient of the tail is added, one for each row.
        out: (B, C, L), where to write the result.
    """
    past, length = weight.shape[1] - 1, gradient.shape[2]
    result = torch.mul(gradient, weight[:, past:], out=out)
    for lag in range(1, past + 1):
        tap, reach = weight[:, past - lag, None], min(lag, length)
        if lag < length:
            result[..., : length - lag].addcmul_(gradient[..., lag:], tap)
        if for_tail is not None:
            target = for_tail[..., past - lag : past - lag + reach]
            target.addcmul_(gradient[..., :reach], tap)
    return result


class _ShortConvolution(torch.autograd.Function):
    """`short_convolution` of a signal whose first w-1 positions are its tail."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(signal if ctx.needs_input_grad[1] else signal.new_empty(0), weight)
        past = weight.shape[1] - 1
        return short_convolution(signal[..., past:], weight, bias, signal[..., :past])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        signal, weight = ctx.saved_tensors
        size, length = weight.shape[1], gradient.shape[2]
        result = gradient.new_zeros(*gradient.shape[:2], size - 1 + length)
        tail, own = result[..., : size - 1], result[..., size - 1 :]
        short_convolution_backward(gradient, weight, tail, out=own)
        for_weight = for_bias = None
        if ctx.needs_input_grad[1]:
            shifted = [signal[..., i : i + length] for i in range(size)]
            columns = [torch.linalg.vecdot(gradient, some).sum(0) for some in shifted]
            for_weight = torch.stack(columns, dim=1)
        if ctx.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2))
        return result, for_weight, for_bias


def short_filtered(signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (B, C, w-1+L) with short filters (C, w), differentiably; return (B, C, L)."""
    if not torch.is_grad_enabled():  # a position at a time, autograd's entry would cost most
        past = weight.shape[1] - 1
        return short_convolution(signal[..., past:], weight, bias, signal[..., :past])
    return _ShortConvolution.apply(signal, weight, bias)


class _LongConvolution(torch.autograd.Function):
    """Convolution by real transforms, with its own backward pass.

    Autograd's derivative of a real transform runs a complex one of twice the length; this one
    costs what the forward pass costs, and keeps the signal's spectrum only if filters are trained.
    """

    @staticmethod
    def forward(ctx: Any, signal: Tensor, filters: Tensor, spectrum: Tensor | None) -> Tensor:
        n = transform_length(signal.shape[-1], filters.shape[-1])
        signal_f = torch.fft.rfft(signal, n=n)
        filters_f = torch.fft.rfft(filters, n=n) if spectrum is None else spectrum
        kept = signal_f if ctx.needs_input_grad[1] else signal.new_empty(0)
        ctx.save_for_backward(kept, filters_f)
        ctx.lengths = signal.shape[-1], filters.shape[-1]
        return torch.fft.irfft(signal_f * filters_f, n=n)[..., : filters.shape[-1]]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        signal_f, filters_f = ctx.saved_tensors
        signal_length, filter_length = ctx.lengths
        n = transform_length(signal_length, filter_length)
        gradient_f = torch.fft.rfft(gradient, n=n)
        for_signal = for_filters = None
        if ctx.needs_input_grad[0]:
            for_signal = torch.fft.irfft(gradient_f * filters_f.conj(), n=n)[..., :signal_length]
        if ctx.needs_input_grad[1]:
            spectrum = torch.einsum("bdf,bdf->df", gradient_f, signal_f.conj())
            for_filters = torch.fft.irfft(spectrum, n=n)[..., :filter_length]
        return for_signal, for_filters, None


def long_convolution(signal: Tensor, filters: Tensor, spectrum: Tensor | None = None) -> Tensor:
    """Convolve every channel with its filter, causally: y[t] = sum over s <= t of h[t-s] x[s].

    Args:
        signal: (B, D, L); a half-precision signal is transformed in float32.
        filters: (D, M) with M >= L, in float32 or float64; M > L also gives the outputs after the
            end of the signal, as if zeros followed it.
        spectrum: The filters' transform of size `transform_length(L, M)`, where it is kept.

    Returns:
        (B, D, M) in the signal's dtype.
    """
    result = _LongConvolution.apply(signal.to(filters.dtype), filters, spectrum)
    return result.to(signal.dtype)


class _GatedConvolution(torch.autograd.Function):
    """Projections (B, 3D, L) to gated (B, D, L), with gradients for weights and filters."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
        width, length = taps.shape
        result = projected.new_empty(len(projected), width, length)
        keeps = any(ctx.needs_input_grad)
        mixed = torch.empty_like(result) if keeps else result
        padded = _buffer(projected, taps)
        n = padded.shape[2]
        for part in _groups(len(projected), width, n, taps.device.type):
            x0, x1, v = _filtered(projected, weight, bias, part, taps.dtype)
            signal_f = torch.fft.rfft(_fill(padded, x1, v))
            signal_f.mul_(torch.fft.rfft(taps[part], n=n))
            convolved = torch.fft.irfft(signal_f, n=n)[..., :length]
            if keeps:
                mixed[:, part] = convolved
            result[:, part] = x0.mul_(convolved)
        if keeps:
            ctx.save_for_backward(projected, weight, bias, taps, mixed)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        projected, weight, bias, taps, mixed = ctx.saved_tensors
        width, length = taps.shape
        for_projected = torch.empty_like(projected)
        for_weight, for_bias = torch.empty_like(weight), torch.empty_like(bias)
        for_taps = torch.empty_like(taps) if ctx.needs_input_grad[3] else None
        padded = _buffer(projected, taps)
        n = padded.shape[2]
        for part in _groups(len(projected), width, n, taps.device.type):
            x0, x1, v = _filtered(projected, weight, bias, part, taps.dtype)
            outer = gradient[:, part].to(taps.dtype)
            if for_taps is not None:
                signal_f = torch.fft.rfft(_fill(padded, x1, v)).conj_physical_()
            gradient_f = torch.fft.rfft(_fill(padded, x0, outer))
            if for_taps is not None:
                product = signal_f.mul_(gradient_f)
                product = product[0] if len(product) == 1 else product.sum(0)
                for_taps[part] = torch.fft.irfft(product, n=n)[..., :length]
            gradient_f.mul_(torch.fft.rfft(taps[part], n=n).conj_physical_())
            inner = torch.fft.irfft(gradient_f, n=n)[..., :length]
            gates = outer * mixed[:, part], inner * v, inner.mul_(x1)
            for i, for_gate in enumerate(gates):
                own = slice(i * width + part.start, i * width + part.stop)
                signal, own_weight = projected[:, own].to(taps.dtype), weight[own].to(taps.dtype)
                for_projected[:, own] = short_convolution_backward(for_gate, own_weight)
                for_weight[own] = _weight_gradient(for_gate, signal, weight.shape[1])
                for_bias[own] = for_gate.sum((0, 2))
        return for_projected, for_weight, for_bias, for_taps


def gated_convolution(projected: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
    """Run a short convolution on projections, gates, and a long causal convolution between gates.

    Args:
        projected: (B, 3D, L), the projections to x0, x1 and v; half precision is processed in the
            filters' precision.
        weight: (3D, w), the short depthwise filters; the last column weighs the position itself.
        bias: (3D,), the short filters' bias.
        taps: (D, L), the long filters, in float32 or float64.

    Returns:
        x0 * (taps conv (x1 * v)), (B, D, L), in the projections' dtype.
    """
    return _GatedConvolution.apply(projected, weight, bias, taps)


def _groups(rows: int, width: int, n: int, device: str) -> Iterator[slice]:
    """Divide the channels into groups that are transformed together."""
    at_once = NUMBERS_AT_ONCE.get(device, NUMBERS_AT_ONCE_ELSEWHERE)
    together = min(TRANSFORMS_TOGETHER, NUMBERS_TOGETHER // n)
    transforms = max(at_once // n, together, MIN_TRANSFORMS)
    size = max(1, transforms // rows)
    for start in range(0, width, size):
        yield slice(start, min(start + size, width))


def _buffer(projected: Tensor, taps: Tensor) -> Tensor:
    """Return a buffer (B, D of a group, n) whose last n - L columns are zero, and stay so."""
    width, length = taps.shape
    rows, n = len(projected), transform_length(length, length)
    size = next(_groups(rows, width, n, taps.device.type)).stop
    buffer = taps.new_empty(rows, size, n)
    buffer[..., length:] = 0
    return buffer


def _fill(buffer: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Write a * b, (B, c, L), into the buffer; return its first c channels, (B, c, n)."""
    channels, length = a.shape[1:]
    torch.mul(a, b, out=buffer[:, :channels, :length])
    return buffer[:, :channels]


def _filtered(
    projected: Tensor, weight: Tensor, bias: Tensor, part: slice, dtype: torch.dtype
) -> list[Tensor]:
    """Return x0, x1 and v of a group of channels, (B, c, L) each."""
    width = projected.shape[1] // 3
    found = []
    for start in (0, width, 2 * width):
        own = slice(start + part.start, start + part.stop)
        signal = projected[:, own].to(dtype)
        found.append(short_convolution(signal, weight[own].to(dtype), bias[own].to(dtype)))
    return found


def _weight_gradient(gradient: Tensor, signal: Tensor, size: int) -> Tensor:
    """Return the gradient (c, w) of short filters before whose signal stand zeros."""
    past, length = size - 1, signal.shape[2]
    columns = [
        torch.linalg.vecdot(gradient[..., lag:], signal[..., : length - lag]).sum(0)
        for lag in range(min(past + 1, length))
    ]
    return F.pad(torch.stack(columns, dim=1).flip(1), (size - len(columns), 0))
