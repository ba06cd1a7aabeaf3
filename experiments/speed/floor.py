"""The arithmetic floor: how long a piece of work must take if nothing but arithmetic took time."""

import time
from collections.abc import Callable
from math import log2, prod

import torch
from torch.utils.flop_counter import FlopCounterMode


def arithmetic(work: Callable[[], object]) -> int:
    """Counts the floating-point operations of matrix products and transforms in a piece of work.

    Gates, norms and other operations on single elements count nothing. A real transform of size n
    counts 2.5 n log2 n, the usual figure for split-radix transforms.
    """
    aten = torch.ops.aten
    transforms = {aten._fft_r2c: _real_to_complex, aten._fft_c2r: _complex_to_real}
    with FlopCounterMode(display=False, custom_mapping=transforms) as counter:
        work()
    return counter.get_total_flops()


def _real_to_complex(shape: torch.Size, *_: object, out_shape: torch.Size) -> int:
    return _transforms(prod(shape[:-1]), shape[-1])


def _complex_to_real(
    shape: torch.Size, axes: object, mode: object, size: int, out_shape: torch.Size
) -> int:
    return _transforms(prod(shape[:-1]), size)


def _transforms(count: int, size: int) -> int:
    return round(count * 2.5 * size * log2(size))


def matmul_rate(device: str, repeats: int = 5) -> float:
    """Measures the fastest float32 matrix product, in floating-point operations a second."""
    size = 8192 if device == "cuda" else 1536
    a = torch.randn(size, size, device=device)
    best = min(seconds(lambda: a @ a, device) for _ in range(repeats + 1))
    return 2 * size**3 / best


def seconds(work: Callable[[], object], device: str) -> float:
    """Times one call, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    """Waits until a device has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
