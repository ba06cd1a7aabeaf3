"""The device that tests compute on, as `pytest --device NAME` says.

`pretend` is a device that holds its tensors in the CPU's memory but, like a GPU, mixes with no
tensor of the CPU: what would fail on a GPU fails on it, on every machine. Values on it are those of
the CPU, to the last bit where the same operations run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, library, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

PRETEND = "pretend"
CHOICES = ("cpu", "cuda", "mps", PRETEND)

Placed = TypeVar("Placed", Tensor, nn.Module)

_chosen = "cpu"


def choose(device: str) -> None:
    """Set the device of all tests."""
    global _chosen
    if device == PRETEND:
        _register()
    _chosen = device


def device() -> str:
    """The device of all tests."""
    return _chosen


def put(placed: Placed) -> Placed:
    """Return a tensor, or a model, on the device of all tests."""
    return placed.to(_chosen)


class Held(Tensor):
    """A tensor of the device `pretend`: it hides a tensor of the CPU."""

    value: Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value: Tensor) -> "Held":
        held = Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=torch.device(PRETEND, 0),
        )
        held.value = value
        return held

    def __init__(self, value: Tensor) -> None:
        pass

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, inputs: Any = (), named: Any = None
    ) -> Any:
        return _compute(operation, inputs, named or {})

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.value.untyped_storage()

    def __repr__(self, **_: Any) -> str:
        return f"Held({self.value!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, nn.Parameter):
            copy = nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy


BETWEEN_DEVICES = {"aten::copy_", "aten::_to_copy"}

WITH_INDICES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""Operations whose indices may lie on the CPU."""

WITH_NUMBERS = {"aten::fill_", "aten::masked_fill", "aten::masked_fill_", "aten::where"}
"""Operations that, like those of single elements, take a number from the CPU."""

NOT_DETERMINISTIC = {
    *("aten::cumsum", "aten::histc", "aten::kthvalue", "aten::median", "aten::put_"),
    "aten::nll_loss2d_forward",
}
"""Operations that CUDA refuses where algorithms must be deterministic."""

PHYSICAL: Mapping[str, Callable[[Tensor], Tensor]] = {
    "aten::_conj": torch.conj_physical,
    "aten::_neg_view": torch.neg,
}
"""Views that a layer above would resolve, which the hidden tensor does not pass."""


def _compute(operation: Any, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Run an operation on what is hidden, and hide what it returns."""
    flat, spec = tree_flatten((inputs, named))
    name = operation._schema.name
    _check(operation, inputs, named, [x for x in flat if isinstance(x, Tensor)])
    shown = [x.value if isinstance(x, Held) else x for x in flat]
    arguments, options = tree_unflatten(shown, spec)
    wanted = named.get("device")
    if wanted is not None:
        options = {**options, "device": torch.device("cpu"), "pin_memory": False}
        if name == "aten::_to_copy":
            options.pop("pin_memory")
    found = PHYSICAL[name](*arguments) if name in PHYSICAL else operation(*arguments, **options)
    if wanted is not None:
        hides = torch.device(wanted).type == PRETEND
    elif name == "aten::copy_":
        hides = isinstance(inputs[0], Held)
    else:
        hides = any(isinstance(x, Held) for x in flat)
    if not hides:
        return found
    known = {id(x.value): x for x in flat if isinstance(x, Held)}

    def hidden(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return known[id(x)] if id(x) in known else Held(x)

    return tree_map(hidden, found)


def _check(
    operation: Any, inputs: Sequence[Any], named: Mapping[str, Any], tensors: Sequence[Tensor]
) -> None:
    """Refuse what CUDA would refuse."""
    name = operation._schema.name
    wanted = named.get("device") or (tensors[0].device if tensors else "cpu")
    for x in _generators(inputs, named):
        if x.device.type != torch.device(wanted).type:
            raise RuntimeError(f"{name}: expected a generator of {wanted}, found {x.device}")
    there = [x for x in tensors if isinstance(x, Held)]
    here = [x for x in tensors if not isinstance(x, Held)]
    if not there:
        return
    exact = name == "aten::cumsum" and not there[0].is_floating_point()
    if torch.are_deterministic_algorithms_enabled() and name in NOT_DETERMINISTIC and not exact:
        raise RuntimeError(f"{name} does not have a deterministic implementation")
    if not here or name in BETWEEN_DEVICES:
        return
    if name in WITH_INDICES and isinstance(inputs[0], Held):
        values = inputs[2] if len(inputs) > 2 else there[0]
        if isinstance(values, Held) or values.ndim == 0:
            return
    single = torch.Tag.pointwise in operation.tags or name in WITH_NUMBERS
    if single and all(x.ndim == 0 for x in here):
        return
    raise RuntimeError(f"{name}: all tensors must be on one device, found {PRETEND} and cpu")


def _generators(inputs: Sequence[Any], named: Mapping[str, Any]) -> Iterator[torch.Generator]:
    yield from (x for x in (*inputs, *named.values()) if isinstance(x, torch.Generator))


class _Module:
    """What torch expects of `torch.pretend`."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def is_bf16_supported(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_registered: list[library.Library] = []


def _register() -> None:
    if not _registered:
        _setup_privateuseone_for_python_backend(PRETEND, backend_module=_Module())
        _registered.append(library.Library("_", "IMPL"))
        _registered[0].fallback(lambda operation, *x, **y: _compute(operation, x, y), "PrivateUse1")
        _registered[0].fallback(library.fallthrough_kernel, "AutocastPrivateUse1")
        torch._C._set_only_lift_cpu_tensors(True)  # or torch.tensor would lose its values
        torch.__future__.set_swap_module_params_on_conversion(True)  # so that tied weights stay so
