"""Decide whether a module's call may be bypassed; call its hooks around another computation.

Fast paths read a module's weights and compute its function themselves. They may do so only where
nothing was put around the module: a forward or backward hook, a parametrization, an adapter, a
compiled form, or a forward method of the instance's own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module


def is_plain(kind: type[nn.Module], *modules: nn.Module) -> bool:
    """Return whether calling the modules does just what their class computes.

    Args:
        kind: The class that each module must be of, exactly: wrappers of adapters and of
            `torch.compile`, and parametrized modules, are of another.
        modules: The modules that the caller wants to bypass.
    """
    for module in modules:  # a loop: `all` over a generator takes twice the time
        if (
            type(module) is not kind
            or "forward" in vars(module)
            or module._compiled_call_impl is not None
            or has_hooks(module)
        ):
            return False
    return True


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, or the module itself."""
    return module._modules.get("_orig_mod") or module


def is_trained(module: nn.Module) -> bool:
    """Return whether a weight of the module, or of one inside it, is trained.

    `Module.parameters` also looks for weights with two names, which takes ten times as long.
    """
    inside = [module]
    while inside:
        one = inside.pop()
        for weight in one._parameters.values():
            if weight is not None and weight.requires_grad:
                return True
        inside.extend(child for child in one._modules.values() if child is not None)
    return False


def has_hooks(module: nn.Module) -> bool:
    """Return whether a call of the module calls hooks, its own or those of all modules."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or torch_module._has_any_global_hook()
        or (unwrapped(module) is not module and has_hooks(unwrapped(module)))
    )


def call_as(module: nn.Module, forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Compute `forward(*inputs)` in place of a module's own forward, with the module's hooks.

    The hooks receive a shallow copy of the module, so that nothing of the module itself changes.
    """
    if unwrapped(module) is not module:
        forward = partial(call_as, unwrapped(module), forward)
    if not has_hooks(module):
        return forward(*inputs)
    copy = object.__new__(type(module))
    vars(copy).update(vars(module), forward=forward)
    vars(copy).pop("_compiled_call_impl", None)
    return copy(*inputs)
