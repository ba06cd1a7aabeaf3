"""What mixes positions in a Hyena operator: x0 * (h conv (x1 * v)), a few channels at a time.

Source: Poli et al. 2023 (arXiv 2302.10866), equation 4, for order 2. Channels do not meet here, so
a few of them go through short convolution, gates and transforms together, in buffers that stay in
the caches, or at least in memory that the process already holds. The backward pass computes short
convolutions and transforms again in the same way: what is kept is the projections, the filters and
the convolution's result. Nothing but shapes decides which channels go together.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.hyena.transforms import transform_length

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
