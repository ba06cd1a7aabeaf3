"""The choice between kernels made for CPUs and torch's modules, in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_forced: bool | None = None


def uses_cpu_kernels(x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Return whether kernels made for CPUs compute on x.

    They are made of torch's own operations and give the same values on every device; elsewhere
    than on a CPU they are slower than the modules.

    Args:
        x: What is computed on.
        dtype: That of the weights, for kernels that compute in one precision and know no autocast.
    """
    if dtype is not None and (x.dtype != dtype or torch.is_autocast_enabled(x.device.type)):
        return False
    return x.device.type == "cpu" if _forced is None else _forced


@contextmanager
def forced(chosen: bool) -> Iterator[None]:
    """Use kernels made for CPUs wherever they can compute, or nowhere, whatever the device."""
    global _forced
    before, _forced = _forced, chosen
    try:
        yield
    finally:
        _forced = before
