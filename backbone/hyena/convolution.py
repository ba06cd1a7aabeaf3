"""What mixes positions in a Hyena operator: x0 * (h conv (x1 * v)), a few channels at a time.

Source: Poli et al. 2023 (arXiv 2302.10866), equation 4, for order 2. Channels do not meet here, so
a few of them go through short convolution, gates and transforms together, in buffers that stay in
the caches, or at least in memory that the process already holds. The backward pass computes short
convolutions and transforms again in the same way: what is kept is the projections, the filters and
the convolution's result. Nothing but shapes decides which channels go together.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

AT_ONCE = {"cpu": 1 << 18}
"""Numbers that are transformed at once, by device type: what fits a core's caches."""

AT_ONCE_ELSEWHERE = 1 << 27
"""The same on accelerators, where memory is the only bound."""

TOGETHER, MOST = 8, 1 << 20
"""So many transforms at once are faster than fewer, while they are no more than MOST numbers."""

LEAST = 2
"""Transforms at once, at least: a single one takes a slower way through the library."""


class GatedConvolution(torch.autograd.Function):
    """Projections (B, 3D, L) to gated (B, D, L), with gradients for weights and filters."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
        """Convolves and gates; see `gated_convolution`."""
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
        """Gives the gradients of projections, short filter and long filters."""
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
                signal = projected[:, own].to(taps.dtype)
                for_projected[:, own] = _short_backward(for_gate, weight[own].to(taps.dtype))
                for_weight[own] = _weight_gradient(for_gate, signal, weight.shape[1])
                for_bias[own] = for_gate.sum((0, 2))
        return for_projected, for_weight, for_bias, for_taps


def gated_convolution(projected: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
    """Runs a short convolution on projections, gates, and a long causal convolution between gates.

    Args:
        projected: (B, 3D, L), the projections to x0, x1 and v; half precision is worked on in the
            filters' precision.
        weight: (3D, w), the short depthwise filters; the last column weighs the position itself.
        bias: (3D,), the short filters' bias.
        taps: (D, L), the long filters, in float32 or float64.

    Returns:
        x0 * (taps conv (x1 * v)), (B, D, L), in the projections' dtype.
    """
    return GatedConvolution.apply(projected, weight, bias, taps)


def _groups(rows: int, width: int, n: int, device: str) -> Iterator[slice]:
    """Divides the channels into groups of as many as are transformed together."""
    at_once = AT_ONCE.get(device, AT_ONCE_ELSEWHERE)
    transforms = max(at_once // n, min(TOGETHER, MOST // n), LEAST)
    size = max(1, transforms // rows)
    for start in range(0, width, size):
        yield slice(start, min(start + size, width))


def _buffer(projected: Tensor, taps: Tensor) -> Tensor:
    """Returns a buffer (B, D of a group, n) whose last n - L columns are zero, and stay so."""
    width, length = taps.shape
    rows, n = len(projected), transform_length(length, length)
    size = next(_groups(rows, width, n, taps.device.type)).stop
    buffer = taps.new_empty(rows, size, n)
    buffer[..., length:] = 0
    return buffer


def _fill(buffer: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Writes a * b, (B, c, L), into the buffer; returns its first c channels, (B, c, n)."""
    channels, length = a.shape[1:]
    torch.mul(a, b, out=buffer[:, :channels, :length])
    return buffer[:, :channels]


def _filtered(
    projected: Tensor, weight: Tensor, bias: Tensor, part: slice, dtype: torch.dtype
) -> list[Tensor]:
    """Returns x0, x1 and v of some channels, (B, c, L) each."""
    width = projected.shape[1] // 3
    found = []
    for start in (0, width, 2 * width):
        own = slice(start + part.start, start + part.stop)
        signal = projected[:, own].to(dtype)
        found.append(_short(signal, weight[own].to(dtype), bias[own].to(dtype)))
    return found


def _short(signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolves (B, c, L) with (c, w), causally: shifted products, all in one buffer."""
    past, length = weight.shape[1] - 1, signal.shape[2]
    result = torch.addcmul(bias[:, None], signal, weight[:, past:])
    for lag in range(1, min(past + 1, length)):
        result[..., lag:].addcmul_(signal[..., : length - lag], weight[:, past - lag, None])
    return result


def _short_backward(gradient: Tensor, weight: Tensor) -> Tensor:
    """Returns the gradient of the signal, (B, c, L)."""
    past, length = weight.shape[1] - 1, gradient.shape[2]
    result = gradient * weight[:, past:]
    for lag in range(1, min(past + 1, length)):
        result[..., : length - lag].addcmul_(gradient[..., lag:], weight[:, past - lag, None])
    return result


def _weight_gradient(gradient: Tensor, signal: Tensor, size: int) -> Tensor:
    """Returns the gradient of the weights, (c, w): sums of shifted products."""
    past, length = size - 1, signal.shape[2]
    columns = [
        torch.linalg.vecdot(gradient[..., lag:], signal[..., : length - lag]).sum(0)
        for lag in range(min(past + 1, length))
    ]
    return F.pad(torch.stack(columns, dim=1).flip(1), (size - len(columns), 0))


class _LongConvolution(torch.autograd.Function):
    """Convolution by real transforms, with its own backward.

    Autograd's derivative of a real transform runs a complex one of twice the length; this one
    costs what the forward pass costs, and keeps the signal's spectrum only if filters are trained.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, signal: Tensor, filters: Tensor, spectrum: Tensor | None
    ) -> Tensor:
        n = transform_length(signal.shape[-1], filters.shape[-1])
        signal_f = torch.fft.rfft(signal, n=n)
        filters_f = torch.fft.rfft(filters, n=n) if spectrum is None else spectrum
        kept = signal_f if ctx.needs_input_grad[1] else signal.new_empty(0)  # type: ignore[attr-defined]
        ctx.save_for_backward(kept, filters_f)
        ctx.lengths = signal.shape[-1], filters.shape[-1]  # type: ignore[attr-defined]
        return torch.fft.irfft(signal_f * filters_f, n=n)[..., : filters.shape[-1]]

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        signal_f, filters_f = ctx.saved_tensors  # type: ignore[attr-defined]
        signal_length, filter_length = ctx.lengths  # type: ignore[attr-defined]
        n = transform_length(signal_length, filter_length)
        gradient_f = torch.fft.rfft(gradient, n=n)
        for_signal = for_filters = None
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            for_signal = torch.fft.irfft(gradient_f * filters_f.conj(), n=n)[..., :signal_length]
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            spectrum = torch.einsum("bdf,bdf->df", gradient_f, signal_f.conj())
            for_filters = torch.fft.irfft(spectrum, n=n)[..., :filter_length]
        return for_signal, for_filters, None


def long_convolution(signal: Tensor, filters: Tensor, spectrum: Tensor | None = None) -> Tensor:
    """Convolves every channel with its filter, causally: y[t] = sum over s <= t of h[t-s] x[s].

    Args:
        signal: (B, D, L); a half-precision signal is transformed in float32.
        filters: (D, M) with M >= L, in float32 or float64; M > L asks for the outputs after the
            signal's end too, as if zeros followed it.
        spectrum: the filters' transform of size `transform_length(L, M)`, where it is kept.

    Returns:
        (B, D, M) in the signal's dtype.
    """
    result = _LongConvolution.apply(signal.to(filters.dtype), filters, spectrum)
    return result.to(signal.dtype)


class _ShortConvolution(torch.autograd.Function):
    """Depthwise convolution by a few shifted products; the derivative is for the signal alone.

    Several times faster on a CPU than the general convolution, which also derives the weights.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, signal: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        past = weight.shape[1] - 1
        length = signal.shape[-1] - past
        result = torch.addcmul(bias[:, None], signal[..., past:], weight[:, past:])
        for i in range(past):
            result.addcmul_(signal[..., i : i + length], weight[:, i : i + 1])
        return result

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors  # type: ignore[attr-defined]
        past, length = weight.shape[1] - 1, gradient.shape[-1]
        result = gradient.new_empty(*gradient.shape[:-1], length + past)
        result[..., :past] = 0
        torch.mul(gradient, weight[:, past:], out=result[..., past:])
        for i in range(past):
            result[..., i : i + length].addcmul_(gradient, weight[:, i : i + 1])
        return result, None, None


def short_convolution(signal: Tensor, short: nn.Conv1d) -> Tensor:
    """Applies a frozen depthwise convolution of width w to (B, C, w-1+L); returns (B, C, L).

    Only the signal receives a gradient.
    """
    weight, bias = short.weight[:, 0].to(signal.dtype), short.bias
    assert bias is not None
    return _ShortConvolution.apply(signal, weight, bias.to(signal.dtype))


ODD = (1, 3, 5, 9, 15, 25, 27)
"""Odd factors of transform lengths: with more of them a transform takes longer than it saves."""


@lru_cache(maxsize=4096)
def fast_length(least: int) -> int:
    """Returns a length >= `least` that transforms fast: a power of two times one of ODD, even."""
    return min(odd << max(1, ((least - 1) // odd).bit_length()) for odd in ODD)


def transform_length(signal: int, filters: int) -> int:
    """Returns a fast size in which a signal and a filter convolve without wrapping around."""
    return fast_length(signal + filters - 1)
