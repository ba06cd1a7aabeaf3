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
from backbone.protocol import AdapterTargets, LanguageModel

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig


def trainable_copy(model: LanguageModel) -> LanguageModel:
    """Return a copy with all weights trainable; its dropout stays off."""
    return copy.deepcopy(model).requires_grad_(True).eval()


def lora_config(targets: AdapterTargets, rank: int, alpha: float) -> "LoraConfig":
    """Return LoRA on linear maps of every block: W + alpha / rank * B A, with A (rank, in)."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT only divides it by the rank
        target_modules=list(targets.lora),
    )


def ia3_config(targets: AdapterTargets) -> "IA3Config":
    """Return IA3 on gates, value and the MLP's inner activations."""
    from peft import IA3Config

    return IA3Config(
        task_type="CAUSAL_LM",
        target_modules=list(targets.ia3),
        feedforward_modules=list(targets.feedforward),
    )


def copy_with_adapter(
    model: LanguageModel, config: "LoraConfig | IA3Config", seed: int
) -> nn.Module:
    """Return a copy with an adapter that has no effect yet; only the adapter is trainable.

    Args:
        model: The frozen backbone, which is not changed.
        config: The adapter's kind and size.
        seed: Seed of its initial values.
    """
    base = copy.deepcopy(model).requires_grad_(False).eval()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT reads a deprecated property of transformers.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", append=False)
        # PEFT sees by itself that GPT-2's maps are transposed, and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out", append=False)
        torch.manual_seed(stream_seed(seed, "adapter"))
        adapted = base.with_adapter(config)
    return adapted.eval()


def backbone_of(module: nn.Module) -> LanguageModel:
    """Return the backbone inside a copy, the adapter's modules in place."""
    inner = module if isinstance(module, LanguageModel) else module.get_base_model()  # type: ignore[operator]
    assert isinstance(inner, LanguageModel)
    return inner


def merge_adapter(module: nn.Module) -> LanguageModel:
    """Return a plain frozen model with a copy's weights, an adapter multiplied into them."""
    merging = copy.deepcopy(module)
    if isinstance(merging, LanguageModel):
        merging = merging.without_adapter()
    else:
        merging = merging.merge_and_unload()  # type: ignore[operator]
    assert isinstance(merging, LanguageModel)
    return merging.requires_grad_(False)


def without_decay(module: nn.Module) -> set[str]:
    """Return the parameters without weight decay: norms, biases, embeddings, what models spare."""
    spared = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, inner in module.named_modules()
        if isinstance(inner, LanguageModel)
        for name in inner.undecayed()
    }
    return spared | {
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
