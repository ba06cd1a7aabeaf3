"""Copies of the backbone with trainable weights: all of them, or an adapter's next to frozen ones.

The frozen backbone is shared between runs, so it is copied before anything changes it. Source of
the adapters: LoRA (Hu et al. 2022, arXiv 2106.09685) and IA3 (Liu et al. 2022, arXiv 2205.05638),
both as PEFT builds them.
"""

import copy
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from backbone.common.errors import InputError
from backbone.common.streams import stream_seed
from backbone.hyena.model import HyenaDNA, filter_parameters

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig, PeftModel

LORA_MODULES = ("in_proj", "out_proj", "fc1", "fc2")
"""Every linear map of a block. The implicit filter keeps its weights, so that convolution kernels
are those of the frozen model."""

IA3_MODULES = ("in_proj", "fc2")
"""IA3 rescales keys, values and the MLP's inner activations. Hyena's counterparts of the first two
are its gates and its value, the outputs of in_proj; the last are the inputs of fc2."""


def trainable_copy(model: HyenaDNA) -> HyenaDNA:
    """Return a copy with all weights trainable; its dropout stays off."""
    return copy.deepcopy(model).requires_grad_(True).eval()


def lora_config(rank: int, alpha: float) -> "LoraConfig":
    """Return LoRA on every linear map of a block: W + alpha / rank * B A, with A (rank, in)."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT only divides it by the rank
        target_modules=list(LORA_MODULES),
    )


def ia3_config() -> "IA3Config":
    """Return IA3 on gates, value and the MLP's inner activations."""
    from peft import IA3Config

    return IA3Config(
        task_type="CAUSAL_LM", target_modules=list(IA3_MODULES), feedforward_modules=["fc2"]
    )


def copy_with_adapter(model: HyenaDNA, config: "LoraConfig | IA3Config", seed: int) -> "PeftModel":
    """Return a copy with an adapter that has no effect yet; only the adapter is trainable.

    Args:
        model: The frozen backbone, which is not changed.
        config: The adapter's kind and size.
        seed: Seed of its initial values.
    """
    from peft import get_peft_model

    base = copy.deepcopy(model).requires_grad_(False).eval()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT reads a deprecated property of transformers.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", append=False)
        torch.manual_seed(stream_seed(seed, "adapter"))
        adapted = get_peft_model(base, config)
    return adapted.eval()


def backbone_of(module: nn.Module) -> HyenaDNA:
    """Return the HyenaDNA inside a copy, the adapter's modules in place."""
    inner = module if isinstance(module, HyenaDNA) else module.get_base_model()  # type: ignore[operator]
    assert isinstance(inner, HyenaDNA)
    return inner


def merge_adapter(module: nn.Module) -> HyenaDNA:
    """Return a plain frozen model with a copy's weights, an adapter multiplied into them."""
    merging = copy.deepcopy(module)
    if not isinstance(merging, HyenaDNA):
        merging = merging.merge_and_unload()  # type: ignore[operator]
    assert isinstance(merging, HyenaDNA)
    return merging.requires_grad_(False)


def without_decay(module: nn.Module) -> set[str]:
    """Return the parameters without weight decay: filters, norms, biases and embeddings."""
    filters = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, inner in module.named_modules()
        if isinstance(inner, HyenaDNA)
        for name in filter_parameters(inner)
    }
    return filters | {
        name
        for name, parameter in module.named_parameters()
        if parameter.ndim < 2 or "embeddings" in name
    }


def tuned_parameters(module: nn.Module) -> dict[str, np.ndarray]:
    """Return the trainable parameters by name; those of an adapter under PEFT's names."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in _tensors(module).items()}


def load_tuned_parameters(module: nn.Module, state: Mapping[str, np.ndarray]) -> None:
    """Take over what `tuned_parameters` returned.

    Raises:
        InputError: If an array is missing, unknown or misshapen.
    """
    tensors = _tensors(module)
    wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    given = {name: array.shape for name, array in state.items()}
    if wanted != given:
        wrong = sorted(name for name, _ in wanted.items() ^ given.items())
        raise InputError(
            f"the learned state is another model's: {wrong[0]} has shape {given.get(wrong[0])}, "
            f"the run's options require {wanted.get(wrong[0])}"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(state[name])))


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the trainable parameters; PEFT saves them without the adapter's own name."""
    return {
        name.replace(".default", ""): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
