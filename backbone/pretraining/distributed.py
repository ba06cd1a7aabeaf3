"""The group of processes that train a model, on one machine or several.

A thin layer over Accelerate: `accelerate launch -m backbone.pretrain ...` starts the processes, and
its configuration file can shard weights and optimizer (FSDP). Without a launcher there is only one
process.
"""

from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import nn

from backbone.common.errors import InputError

T = TypeVar("T", int, float)


class Processes:
    """The group of processes, and this one's rank in it.

    Attributes:
        count: Number of processes.
        rank: This process; 0 is the one that writes.
        device: This process's device.
    """

    def __init__(self, device: str) -> None:
        """Join the launcher's group; without a launcher, be a group of one.

        Args:
            device: cpu, cuda, cuda:1 or mps; each of several processes gets its own accelerator.

        Raises:
            InputError: If the device cannot be used, or the launcher's plugin is not FSDP.
        """
        from accelerate import Accelerator, DistributedType  # type: ignore[import-untyped]

        wanted = _device(device)
        threads = torch.get_num_threads()
        self._accelerator: Any = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no")
        torch.set_num_threads(threads)  # Accelerate changes it for groups on CPUs
        kind = self._accelerator.distributed_type
        if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            raise InputError(f"accelerate is set to {kind.value}; states are sharded by FSDP here")
        self.count = self._accelerator.num_processes
        self.rank = self._accelerator.process_index
        self.device = wanted if self.count == 1 else self._accelerator.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Wrap a model so that its gradients are averaged over processes, or its state sharded.

        Returns:
            The wrapped model, and the optimizer of its parameters.
        """
        if self.count == 1:
            return model, optimizer
        model, optimizer = self._accelerator.prepare(model, optimizer)
        return model, getattr(optimizer, "optimizer", optimizer)

    def without_exchange(self, model: nn.Module) -> AbstractContextManager[None]:
        """Accumulate this process's gradients without exchanging them."""
        return self._accelerator.no_sync(model)

    def clip(self, model: nn.Module, most: float) -> float:
        """Clip gradients to a norm of `most` over all parameters, and return the norm before."""
        norm = self._accelerator.clip_grad_norm_(model.parameters(), most)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def total(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        if self.count == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(self._accelerator.reduce(held, "sum"))

    def same(self, value: T) -> T:
        """Return the value of the first process."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast  # type: ignore[import-untyped]

        held = torch.tensor(value, dtype=torch.float64, device=self.device)
        return type(value)(broadcast(held).item())

    def wait(self) -> None:
        """Wait for all processes."""
        self._accelerator.wait_for_everyone()

    def leave(self) -> None:
        """Leave the group at the end of a program."""
        self._accelerator.end_training()


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name, dtype=torch.float32).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error
