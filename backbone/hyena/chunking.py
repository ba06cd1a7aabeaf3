"""Position-wise computations, one chunk of positions at a time.

A chunk's activations stay in the caches and in memory that the process already holds; those of a
whole long sequence would be requested from the system, page by page, at every step. Where
gradients are wanted, only a chunk's inputs are kept and the rest is computed again in the backward
pass. Source: Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174).
Torch's own `checkpoint` would do, but the results of chunks would lie between the temporaries of
others and keep that memory from being reused, which costs half as much again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WHOLE = 1 << 14
"""Up to this many positions are processed at once, with all activations kept."""

CHUNK = {"cpu": 1 << 11}
"""Positions in a chunk, by device type."""

CHUNK_ELSEWHERE = 1 << 16
"""Positions in a chunk on accelerators, which need large kernels."""

Work = Callable[..., Tensor]


def in_chunks(
    work: Work, *inputs: Tensor, modules: Sequence[nn.Module | nn.Parameter], dim: int = 0
) -> Tensor:
    """Return work(*inputs), computed a chunk of positions at a time.

    Args:
        work: Maps inputs (P, ...) to a tensor with P positions along `dim`, each computed from the
            same position of the inputs alone.
        inputs: (N, ...) each.
        modules: All whose parameters `work` reads; these and the inputs receive gradients.
        dim: The dimension of positions in the result.
    """
    if len(inputs[0]) <= WHOLE:
        return work(*inputs)
    weights = [
        weight
        for module in modules
        for weight in (module.parameters() if isinstance(module, nn.Module) else [module])
        if weight.requires_grad
    ]
    return _Chunks.apply(work, dim, len(inputs), *inputs, *weights)


class _Chunks(torch.autograd.Function):
    """Runs work chunk by chunk into one buffer, and again, chunk by chunk, for its gradients."""

    @staticmethod
    def forward(ctx: Any, work: Work, dim: int, count: int, *tensors: Tensor) -> Tensor:
        inputs, device = tensors[:count], tensors[0].device.type
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*inputs)
            ctx.work, ctx.dim, ctx.weights = work, dim, tensors[count:]
            ctx.random, ctx.autocast = _random_state(device), autocast_of(device)
        result = None
        for start, chunk in chunks_of(inputs):
            found = work(*chunk)
            if result is None:
                shape = list(found.shape)
                shape[dim] = len(inputs[0])
                result = found.new_empty(shape)
            result.narrow(dim, start, found.shape[dim]).copy_(found)
        assert result is not None
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3 : 3 + len(inputs)]
        for_inputs = [
            torch.empty_like(x) if w else None for x, w in zip(inputs, wanted, strict=True)
        ]
        for_weights: list[Tensor] = [torch.zeros_like(weight) for weight in ctx.weights]
        with _repeated(ctx.random), ctx.autocast(), torch.enable_grad():
            for start, chunk in chunks_of(inputs):
                own = [x.detach().requires_grad_(w) for x, w in zip(chunk, wanted, strict=True)]
                result = ctx.work(*own)
                moving = [x for x in own if x.requires_grad]
                outer = gradient.narrow(ctx.dim, start, len(chunk[0]))
                found = torch.autograd.grad(
                    result, [*moving, *ctx.weights], outer, materialize_grads=True
                )
                targets = [target for target in for_inputs if target is not None]
                for target, some in zip(targets, found[: len(moving)], strict=True):
                    target[start : start + len(some)] = some
                for total, some in zip(for_weights, found[len(moving) :], strict=True):
                    total.add_(some)
        return None, None, None, *for_inputs, *for_weights


def chunks_of(inputs: Sequence[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield where each chunk starts, and the inputs' chunks."""
    size = CHUNK.get(inputs[0].device.type, CHUNK_ELSEWHERE)
    for start in range(0, len(inputs[0]), size):
        yield start, [some[start : start + size] for some in inputs]


def _random_state(device: str) -> tuple[Tensor, Tensor | None]:
    """Return the random states of CPU and accelerator, from which adapters may drop values."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


@contextmanager
def _repeated(states: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    """Restore earlier random states inside the context."""
    with torch.random.fork_rng(devices=[] if states[1] is None else None):
        torch.set_rng_state(states[0])
        if states[1] is not None:
            torch.cuda.set_rng_state(states[1])
        yield


def autocast_of(device: str) -> Callable[[], AbstractContextManager[object]]:
    """Return what restores the autocast that is in force now."""
    if device not in ("cpu", "cuda"):
        return nullcontext
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype, enabled=enabled)
