"""Load causal models of transformers: `hf:FOLDER` or `hf:OWNER/NAME[@REVISION]`.

Only architectures that are part of transformers are built, so no code of a checkpoint ever runs. A
folder may hold code; a checkpoint that needs it, says so in its `auto_map` and is refused.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig
from transformers import logging as transformers_logging
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from backbone.common.errors import InputError
from backbone.hf.families import FAMILIES
from backbone.hf.model import TransformersModel
from backbone.hf.place import PREFIX, resolve
from backbone.hf.vocabulary import read_vocabulary
from backbone.hub import revision_of

_LICENSE = re.compile(r"\A---\n(?:.*\n)*?license:\s*[\"']?([\w.+-]+)")


@dataclass(frozen=True)
class Origin:
    """Where a loaded model comes from: license and commit, if known, and its config.json."""

    license: str | None
    revision: str | None
    config: dict[str, Any]


_ORIGINS: "WeakKeyDictionary[TransformersModel, Origin]" = WeakKeyDictionary()


def load(place: str, random: bool) -> TransformersModel:
    """Load a causal language model that reads one base as one token.

    Args:
        place: See `backbone.hf.place.resolve`.
        random: Whether the weights are drawn anew (seed 0), as the architecture draws them.

    Raises:
        InputError: If there is no such checkpoint, or it is not of this kind, in a line that says
            why.
    """
    folder, name = resolve(place), PREFIX + place
    stored = _stored_config(folder, name)
    config = _config(folder, name, stored)
    with _only_errors():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise InputError(
                f"backbone={name}: its tokenizer cannot be read: {_line(error)}"
            ) from None
        vocabulary = read_vocabulary(tokenizer, name)
        model = _drawn(config) if random else _stored(folder, name)
    rows = model.get_input_embeddings().num_embeddings
    if max(own or 0 for own in (*vocabulary.own, *vocabulary.start)) >= rows:
        raise InputError(f"backbone={name}: its tokenizer has ids beyond the model's {rows} tokens")
    found = TransformersModel(model, vocabulary, int(tokenizer.model_max_length), name)
    _ORIGINS[found] = Origin(_license(folder), revision_of(folder), stored)
    return found


def details(model: TransformersModel) -> dict[str, Any]:
    """Return architecture, parameters, license and revision, for reports."""
    origin = _ORIGINS.get(model)
    found: dict[str, Any] = {
        "backbone_architecture": type(model.plain).__name__,
        "backbone_parameters": sum(p.numel() for p in model.parameters()),
    }
    if origin is not None:
        found |= {"backbone_license": origin.license, "backbone_revision": origin.revision}
    return {key: value for key, value in found.items() if value is not None}


def weights_sha256(model: TransformersModel) -> str:
    """Return a digest of stored configuration, vocabulary and weights of a loaded model."""
    config = _ORIGINS[model].config
    kept = {key: value for key, value in config.items() if key not in _NO_SHAPE}
    told = [kept, model.config.max_seq_len, model.vocabulary.own, model.vocabulary.start]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_NO_SHAPE = {"transformers_version", "dtype", "torch_dtype", "architectures", "_name_or_path"}
"""What a configuration says besides the function that its model computes."""


def _stored_config(folder: Path, name: str) -> dict[str, Any]:
    """Return what config.json says.

    Raises:
        InputError: If there is none, or it or the tokenizer's asks for code.
    """
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        told = folder / "tokenizer_config.json"
        of_tokenizer = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    except FileNotFoundError:
        raise InputError(f"backbone={name}: there is no config.json in {folder}") from None
    except ValueError as error:
        raise InputError(f"backbone={name}: its configuration is no JSON ({error})") from None
    if "auto_map" in stored or "auto_map" in of_tokenizer:
        raise InputError(
            f"backbone={name} asks to run code of its own (auto_map), which is never done: only "
            f"architectures that are part of transformers are loaded"
        )
    return stored


def _config(folder: Path, name: str, stored: dict[str, Any]) -> PretrainedConfig:
    """Return the configuration of a model that can be a backbone.

    Raises:
        InputError: If it is of another kind, in a line that says which.
    """
    kind = stored.get("model_type")
    if kind == "hyenadna":
        raise InputError(f"backbone={name} is a HyenaDNA: leave out {PREFIX}")
    named = (stored.get("architectures") or [""])[0]
    masked = kind not in FAMILIES and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if masked or named.endswith("ForMaskedLM"):
        raise InputError(
            f"backbone={name} is a masked model ({kind}), which reads both sides of a base; a "
            f"backbone is causal"
        )
    if kind not in CONFIG_MAPPING:
        raise InputError(f"backbone={name}: model_type={kind} is no architecture of transformers")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"backbone={name}: {kind} is no causal language model")
    made: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    if "inputs_embeds" not in signature(made.forward).parameters:
        raise InputError(
            f"backbone={name}: {kind} reads token ids only (no inputs_embeds), and prompts are "
            f"vectors"
        )
    if kind not in FAMILIES:
        raise InputError(
            f"backbone={name}: {kind} is none of the architectures that are known here: "
            f"{', '.join(FAMILIES)}"
        )
    return config


def _stored(folder: Path, name: str) -> Any:
    """Return the model with its stored weights, in single precision.

    Raises:
        InputError: If weights are missing, misshapen or not finite.
    """
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            experts_implementation="eager",
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"backbone={name}: its weights cannot be read: {_line(error)}") from None
    model, told = loaded
    if told["missing_keys"]:
        raise InputError(f"backbone={name}: tensor {sorted(told['missing_keys'])[0]} is missing")
    for key, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"backbone={name}: tensor {key} is not finite (NaN or infinite)")
    return model


def _drawn(config: PretrainedConfig) -> Any:
    """Return a model with random weights, leaving the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, experts_implementation="eager"
        )


def _license(folder: Path) -> str | None:
    """Return the license that a model card names."""
    card = folder / "README.md"
    found = _LICENSE.match(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found and found[1]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _only_errors() -> Iterator[None]:
    """Silence what transformers says of files that are checked here."""
    before, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()
