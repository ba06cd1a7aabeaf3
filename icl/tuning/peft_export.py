"""The learned weights as a PEFT folder, which `PeftModel.from_pretrained` reads.

PEFT has formats for vectors before the query in one layer (PROMPT_TUNING, Lester et al. 2021), for
LoRA and for IA3. It has none for vectors after the query or in every layer of a model without
attention, nor for tuned weights of the model itself. It has no place for the answer either, so
label words and their offsets are written to `label_words.json` in the same folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from backbone.common.files import atomic_write, write_text
from backbone.models import shared_name
from backbone.protocol import LanguageModel
from prompts.soft_prompt import SoftPrompt

if TYPE_CHECKING:
    from peft import PeftConfig

CONFIG, WEIGHTS, WORDS = "adapter_config.json", "adapter_model.safetensors", "label_words.json"


def save_adapter(
    module: nn.Module, words: Sequence[str], offset: Sequence[float], folder: Path
) -> None:
    """Write the adapter of a PEFT model.

    Args:
        module: A copy of the backbone with an adapter.
        words: The label words, in the order of the classes.
        offset: Added to the scores of the words.
        folder: Where to write; created if missing.
    """
    from peft import PeftModel, get_peft_model_state_dict

    adapted = module.peft_model if isinstance(module, LanguageModel) else module
    assert isinstance(adapted, PeftModel)
    tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _write(folder, adapted.active_peft_config, tensors, words, offset)


def save_prompt(
    model: LanguageModel, prompt: SoftPrompt, words: Sequence[str], folder: Path
) -> bool:
    """Write a soft prompt, if PEFT has a format for it: vectors before the query, in one layer.

    Args:
        model: The frozen backbone.
        prompt: The learned vectors.
        words: The label words, in the order of the classes.
        folder: Where to write; created if missing.

    Returns:
        Whether PEFT has a format for it.
    """
    other = len(prompt.after) + len(prompt.deep_before) + (prompt.state is not None)
    if not len(prompt.before) or other:
        return False
    # PEFT sets the prompt before everything, so it has to hold what the model always starts with.
    vectors = torch.cat([model.start(), prompt.before]).detach()
    from peft import PromptTuningConfig

    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=len(vectors),
        token_dim=model.config.d_model,
        num_layers=model.config.n_layer,
        num_attention_heads=model.config.num_attention_heads,
        num_transformer_submodules=1,
    )
    tensors = {"prompt_embeddings": vectors}
    _write(folder, config, tensors, words, prompt.offset.tolist())
    return True


def name_backbone(folder: Path, backbone: str) -> None:
    """Fill `base_model_name_or_path` of an adapter.

    Args:
        folder: The adapter's folder; nothing happens where there is none.
        backbone: As `backbone=` names it; a published checkpoint is called by its id on the Hub.
    """
    config = folder / CONFIG
    if config.is_file():
        fields = json.loads(config.read_text())
        fields["base_model_name_or_path"] = shared_name(backbone)
        write_text(config, json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _write(
    folder: Path,
    config: "PeftConfig",
    tensors: dict[str, Tensor],
    words: Sequence[str],
    offset: Sequence[float],
) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
    }
    # The model's own name is a folder of this machine's cache; `name_backbone` gives the one asked.
    fields |= {"inference_mode": True, "base_model_name_or_path": None}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(folder / WEIGHTS) as path:
        save_file(contiguous, path, {"format": "pt"})
    answer = {"words": list(words), "offset": list(offset), "answer": "after [SEP]"}
    write_text(folder / WORDS, json.dumps(answer, indent=2) + "\n")
    write_text(folder / CONFIG, json.dumps(fields, indent=2, sort_keys=True) + "\n")
