"""The arithmetic floor: the time of a computation if nothing but arithmetic took time."""

import time
from collections.abc import Callable
from math import log2, prod

import torch
from torch.utils.flop_counter import FlopCounterMode


def arithmetic(work: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products and transforms in a computation.

    Gates, norms and other elementwise operations are not counted. A real transform of size n
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
    """Measure the fastest float32 matrix product, in floating-point operations a second."""
    size = 8192 if device == "cuda" else 1536
    a = torch.randn(size, size, device=device)
    best = min(seconds(lambda: a @ a, device) for _ in range(repeats + 1))
    return 2 * size**3 / best


def seconds(work: Callable[[], object], device: str) -> float:
    """Time one call, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait until a device has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
