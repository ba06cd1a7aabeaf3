"""The devices that a model can compute on, and the option that names one."""

from typing import Any

from backbone.common.errors import InputError
from backbone.common.options import option

DEVICES = ["cpu", "cuda", "mps"]


def device_option(text: str = "device of the backbone") -> Any:
    """Declare the option `device`, the CPU by default."""
    return option("cpu", text, choices=DEVICES)


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        InputError: If it has none.
    """
    if device == "cpu":
        return
    import torch

    if not torch.get_device_module(device).is_available():
        there = ", ".join(x for x in DEVICES if torch.get_device_module(x).is_available())
        raise InputError(f"device={device}: not on this machine, which has {there}")
