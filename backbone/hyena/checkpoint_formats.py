"""Reading the weights of a HyenaDNA checkpoint in every layout that was published.

Three layouts exist: `weights.ckpt` as saved by Lightning, the same saved with gradient
checkpointing (and with pickled settings beside the weights), and `model.safetensors` of the Hugging
Face port. No reader here executes anything that a file brings.
"""

import json
import pickle
import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA

# Settings that Lightning pickles beside the weights; they are given inert stand-ins.
_INERT = re.compile(r"(omegaconf\.|typing\.Any$|collections\.defaultdict$|builtins\.(dict|list)$)")
_LEFTOVER = re.compile(r"^(train|val|test)_torchmetrics\.")
_REFERENCE_NAMES = {
    "l_max": "max_seq_len",
    "w": "activation_freq",
    "local_order": "short_filter_order",
}
_FIXED = {"modulate": True, "num_heads": 1, "use_bias": True, "outer_mixing": False}
_HEAD = "lm_head.weight"
_WORDS = "hyena.backbone.embeddings.word_embeddings.weight"


class _Inert:
    """Stands in for an object that a pickle names and nobody needs; it does nothing at all."""

    def __init__(self, *_: object) -> None:
        """Takes what the pickle gives and keeps none of it."""

    def __setstate__(self, _: object) -> None:
        """Forgets the pickled state."""


def read_config(folder: Path) -> HyenaDNAConfig:
    """Reads `config.json`, in the Hub's form or in the reference repository's.

    Raises:
        InputError: if there is none, it is no JSON, or it describes no HyenaDNA.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{folder} is no checkpoint: it has no config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(raw, dict) or "d_model" not in raw or "n_layer" not in raw:
        raise InputError(f"{path} does not describe a HyenaDNA (no d_model, n_layer)")
    layer = raw.pop("layer", {})
    if "l_max" not in layer and "max_seq_len" not in raw:
        raise InputError(f"{path} does not give max_seq_len (or layer.l_max)")
    for name, only in _FIXED.items():
        if (given := layer.get(name, raw.get(name, only))) != only:
            raise InputError(f"{path}: {name}={given} is not supported, only {only}")
    flat = {**raw, **{_REFERENCE_NAMES.get(k, k): v for k, v in layer.items()}}
    known = HyenaDNAConfig.__dataclass_fields__
    own = {k: v for k, v in flat.items() if k in HyenaDNAConfig.__annotations__ and k in known}
    own.setdefault("d_inner", 4 * own["d_model"])
    try:
        return HyenaDNAConfig(**own)
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} does not describe a HyenaDNA: {reason}") from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Reads the tensors of `model.safetensors` or `weights.ckpt`, under the names in the file.

    Raises:
        InputError: if there is neither, the file is damaged, or it would execute something.
    """
    safe, pickled = folder / "model.safetensors", folder / "weights.ckpt"
    if safe.is_file():
        try:
            return load_file(safe)
        except SafetensorError as error:
            raise InputError(f"{safe} is damaged: {error}") from None
    if pickled.is_file():
        return _read_pickle(pickled)
    raise InputError(
        f"{folder} is no checkpoint: neither model.safetensors nor weights.ckpt is there"
    )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        refused = [name for name in wanted if not _INERT.match(name)]
        if refused:
            raise InputError(
                f"{path} is refused: its pickle would run {', '.join(sorted(refused))} when loaded"
            )
        with torch.serialization.safe_globals([(_Inert, name) for name in wanted]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        BadZipFile,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as weights alone: {reason}") from None
    tensors: Any = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path} holds no state_dict of tensors")
    return tensors


def to_our_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames tensors of any published layout to this model's (the Hugging Face port's) names.

    Raises:
        InputError: if filters of one layer carry several sine frequencies, which no model shares.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _LEFTOVER.match(name):
            continue
        name = re.sub(r"^model\.(?=backbone\.)", "hyena.", name).removeprefix("model.")
        name = re.sub(r"\.(mixer|mlp)\.layer\.", r".\1.", name)
        # One sine is shared by all inner layers; Lightning wrote it once for each.
        shared = re.sub(r"implicit_filter\.\d+\.freq$", "implicit_filter.1.freq", name)
        if shared in ours and not torch.equal(ours[shared], tensor):
            raise InputError(f"tensor {name} differs from {shared}, but the frequency is shared")
        ours[shared] = tensor
    return ours


def fill(model: HyenaDNA, tensors: dict[str, Tensor], origin: str) -> None:
    """Copies tensors under our names into a model, all of them and nothing else.

    Positional features and decay rates are functions of the shape; where a checkpoint carries
    them, they are compared, not copied.

    Raises:
        InputError: naming a missing, extra or misshapen tensor, or one that is not the formula's.
    """
    given = dict(tensors)
    _check_positions(model, given, origin)
    if model.config.tie_word_embeddings and _WORDS in given:
        given.setdefault(_HEAD, given[_WORDS])
    wanted = model.state_dict()
    if missing := sorted(set(wanted) - set(given)):
        raise InputError(f"{origin}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if extra := sorted(set(given) - set(wanted)):
        raise InputError(f"{origin}: tensor {extra[0]} is not of this model ({len(extra)} in all)")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise InputError(
                f"{origin}: tensor {name} has shape {tuple(given[name].shape)}, "
                f"the configuration asks for {tuple(tensor.shape)}"
            )
    model.load_state_dict(given)


def _check_positions(model: HyenaDNA, given: dict[str, Tensor], origin: str) -> None:
    for i, block in enumerate(model.backbone.layers):
        filters = block.mixer.filter_fn  # type: ignore[union-attr]
        prefix = f"hyena.backbone.layers.{i}.mixer.filter_fn."
        features, t = filters.positions(model.config.max_seq_len)  # type: ignore[union-attr, operator]
        expected = {"pos_emb.z": features, "pos_emb.t": t, "modulation.deltas": filters.decay()}  # type: ignore[union-attr, operator]
        for name, formula in expected.items():
            tensor = given.pop(prefix + name, None)
            if tensor is None:
                continue
            value = tensor.abs() if name == "modulation.deltas" else tensor
            if value.numel() != formula.numel() or not torch.allclose(
                value.flatten().float(), formula.flatten(), atol=1e-4
            ):
                raise InputError(
                    f"{origin}: tensor {prefix}{name} is not what max_seq_len, emb_dim and d_model "
                    f"of its config.json give"
                )


def is_tied(tensors: dict[str, Tensor]) -> bool:
    """Whether the head's weights are the embedding's (or are left out, which says the same)."""
    if _HEAD not in tensors:
        return True
    return _WORDS in tensors and torch.equal(tensors[_HEAD], tensors[_WORDS])
