"""The arithmetic floor: the time of a computation if nothing but arithmetic took time."""

import time
from collections.abc import Callable
from math import log2, prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from backbone.side_by_side import in_turn, inside_operations


def arithmetic(work: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products and transforms in a computation.

    Gates, norms and other elementwise operations are not counted. A real transform of size n
    counts 2.5 n log2 n, the usual figure for split-radix transforms.
    """
    with _Operations() as counter, in_turn():
        work()
    return counter.total


class _Operations(TorchDispatchMode):
    """Counts operations without module hooks, before which the engine would call every module.

    torch's own FlopCounterMode hooks all modules to count for each of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        if operation is torch.ops.aten._fft_r2c:
            self.total += _transforms(args[0], args[0].shape[-1])
        elif operation is torch.ops.aten._fft_c2r:
            self.total += _transforms(args[0], args[3])
        elif operation in flop_registry:
            self.total += flop_registry[operation](*args, **(kwargs or {}), out_val=result)
        return result


def _transforms(signal: Tensor, size: int) -> int:
    return round(prod(signal.shape[:-1]) * 2.5 * size * log2(size))


def matmul_rate(device: str, repeats: int = 5) -> float:
    """Measure the fastest float32 matrix product, in floating-point operations a second."""
    size = 8192 if device == "cuda" else 1536
    a = torch.randn(size, size, device=device, dtype=torch.float32)
    with inside_operations():
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
