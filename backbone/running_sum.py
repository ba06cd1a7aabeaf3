"""Sums up to each position that repeat exactly on every device."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def running_sum(values: "Tensor", dim: int) -> "Tensor":
    """Return the sums of values up to each position along a dimension.

    CUDA has no deterministic form of them for fractions, and refuses where one is demanded; the few
    that are needed here are summed on the CPU.
    """
    if values.device.type == "cpu":
        return values.cumsum(dim)
    return values.cpu().cumsum(dim).to(values.device)
