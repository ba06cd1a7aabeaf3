"""Read the weights of a HyenaDNA checkpoint in any of the common formats.

The form is recognised by its content, never by its name: the three published layouts (Lightning's
`weights.ckpt`, the same saved with gradient checkpointing, the Hugging Face port), wrappers of
training (`module.`, `_orig_mod.`, `model.`), files in one piece or sharded, safetensors or pickles,
16-bit weights, and MultiMolecule's port. Nothing that a file brings is executed.
"""

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hyena.checkpoints import INDEX, SUFFIXES, WHOLE
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA
from backbone.tokens import SPECIALS, TOKENS

# Settings that Lightning pickles with the weights; they are given inert stand-ins.
_INERT = re.compile(r"(omegaconf\.|typing\.Any$|collections\.defaultdict$|builtins\.(dict|list)$)")
_REFERENCE_NAMES = {
    "l_max": "max_seq_len",
    "w": "activation_freq",
    "local_order": "short_filter_order",
}
_FIXED = {"modulate": True, "num_heads": 1, "use_bias": True, "outer_mixing": False}
_HEAD = "lm_head.weight"
_WORDS = "hyena.backbone.embeddings.word_embeddings.weight"
_LAYERS = "hyena.backbone.layers."

# Components of names that wrap a model (DistributedDataParallel, torch.compile).
_WRAPPERS = {"module", "_orig_mod"}
# What a trainer saves besides the language model: other heads and metrics.
_TRAINER = re.compile(
    r"(decoder|score|classifier|encoder|pooler|sequence_head|token_head|loss_fn)\."
    r"|((train|val|test)_)?(torch)?metrics?[._]"
)
_MULTIMOLECULE_NAMES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "n_layer",
    "intermediate_size": "d_inner",
    "max_position_embeddings": "max_seq_len",
    "filter_emb_dim": "emb_dim",
    "layer_norm_eps": "layer_norm_epsilon",
    "embedding_dropout": "embed_dropout",
}
_MULTIMOLECULE_SPECIALS = ("<cls>", "<eos>", "<null>", "<mask>", "<pad>", "<null>", "<unk>")
"""What MultiMolecule calls this vocabulary's `SPECIALS`, in their order."""


class _Inert:
    """Stands in for an object that a pickle names and nobody needs; it does nothing at all."""

    def __init__(self, *_: object) -> None:
        """Take what the pickle gives and keep none of it."""

    def __setstate__(self, _: object) -> None:
        """Forget the pickled state."""


@dataclass(frozen=True)
class StoredWeights:
    """The content of a checkpoint under this model's names.

    Attributes:
        config: The shape; `tie_word_embeddings` as the tensors have it.
        tensors: Every tensor of the language model.
        notes: What a user should know of how they were read, a sentence each.
    """

    config: HyenaDNAConfig
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_checkpoint(path: Path) -> StoredWeights:
    """Read a checkpoint's folder, or one file of weights.

    Raises:
        InputError: If it is not a HyenaDNA checkpoint, is damaged, or would execute something.
    """
    alone = path.is_file() and not (path.parent / "config.json").is_file()
    described = None if alone else read_config(path)
    stored = read_tensors(path)
    tensors, dropped = to_our_names(stored)
    if any("final_layer_norm." in name for name in stored):
        tensors = _in_our_vocabulary(tensors, path)
    config = described or _config_from(tensors, path)
    _check_finite(tensors, path)
    notes = []
    if dropped:
        some = ", ".join(dropped[:3]) + (", ..." if len(dropped) > 3 else "")
        notes.append(f"left out {len(dropped)} tensors besides those of the language model: {some}")
    halves = {t.dtype for t in tensors.values()} & {torch.float16, torch.bfloat16}
    if halves:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in halves))
        notes.append(f"weights are stored in {names} and read as float32")
    if not _confirms_length(tensors) and config.architectures != [HyenaDNA.__name__]:
        notes.append(
            f"max_seq_len={config.max_seq_len} is what config.json says; no tensor confirms it"
        )
    config.tie_word_embeddings = _is_tied(tensors)
    return StoredWeights(config, tensors, tuple(notes))


def read_config(path: Path) -> HyenaDNAConfig:
    """Read the `config.json` of a checkpoint, in the form of any of its ports.

    Args:
        path: The checkpoint's folder, or a weights file in it.

    Raises:
        InputError: If there is none, it is not JSON, or it describes no HyenaDNA.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "config.json"
    try:
        raw = json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(f"{folder} is not a checkpoint: it has no config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged: {error}") from None
    if not isinstance(raw, dict) or not {"d_model", "hidden_size"} & set(raw):
        raise InputError(f"{file} does not describe a HyenaDNA (no d_model, n_layer)")
    if "d_model" not in raw:
        raw = _from_multimolecule(raw)
    if "n_layer" not in raw:
        raise InputError(f"{file} does not describe a HyenaDNA (no d_model, n_layer)")
    layer = raw.pop("layer", {})
    if "l_max" not in layer and "max_seq_len" not in raw:
        raise InputError(f"{file} does not give max_seq_len (or layer.l_max)")
    for name, only in _FIXED.items():
        if (given := layer.get(name, raw.get(name, only))) != only:
            raise InputError(f"{file}: {name}={given} is not supported, only {only}")
    flat = {**raw, **{_REFERENCE_NAMES.get(k, k): v for k, v in layer.items()}}
    known = HyenaDNAConfig.__dataclass_fields__
    own = {k: v for k, v in flat.items() if k in HyenaDNAConfig.__annotations__ and k in known}
    own.setdefault("d_inner", 4 * own["d_model"])
    try:
        return HyenaDNAConfig(**own, architectures=raw.get("architectures"))
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file} does not describe a HyenaDNA: {reason}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder or file, under the names that they have there.

    Raises:
        InputError: If there are none, a file is damaged, or it would execute something.
    """
    if path.is_file():
        return _read_file(path)
    for name in WHOLE:
        if (path / name).is_file():
            return _read_file(path / name)
    for name in INDEX:
        if (path / name).is_file():
            return _read_shards(path / name)
    others = sorted(file for file in path.glob("*") if file.suffix in SUFFIXES)
    if len(others) == 1:
        return _read_file(others[0])
    if others:
        names = ", ".join(file.name for file in others)
        raise InputError(f"{path} contains several weight files; give one of them: {names}")
    raise InputError(
        f"{path} is not a checkpoint: it has no {', '.join(WHOLE[:-1])} or {WHOLE[-1]}"
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        files = sorted(set(places.values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is damaged: it has no weight_map ({error})") from None
    tensors: dict[str, Tensor] = {}
    for file in files:
        # A name with a path in it could point outside the checkpoint.
        if Path(file).name != file or not (index.parent / file).is_file():
            raise InputError(f"{index} names {file}, which is not in the same folder")
        tensors |= _read_file(index.parent / file)
    if missing := sorted(set(places) - set(tensors)):
        raise InputError(f"{index}: tensor {missing[0]} is in none of its {len(files)} shards")
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return _read_pickle(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from None


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
        raise InputError(f"{path} cannot be read as weights only: {reason}") from None
    tensors: Any = content
    if isinstance(content, Mapping):
        tensors = content.get("state_dict", content.get("model", content))
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path} contains no state_dict of tensors")
    return dict(tensors)


def to_our_names(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename tensors of any known layout to this model's (the Hugging Face port's) names.

    Returns:
        The language model's tensors, and the names of those that belong to a trainer.

    Raises:
        InputError: If filters of one layer have several sine frequencies, which no model shares,
            or two tensors have one name here and differ.
    """
    ours: dict[str, Tensor] = {}
    dropped = []
    for original, tensor in tensors.items():
        name = ".".join(part for part in original.split(".") if part not in _WRAPPERS)
        while name.startswith("model."):
            name = name.removeprefix("model.")
        if _TRAINER.match(name):
            dropped.append(original)
            continue
        name = _renamed(name)
        if name in ours and not torch.equal(ours[name], tensor):
            reason = "the frequency is shared" if name.endswith(".freq") else "it is one tensor"
            raise InputError(f"tensor {original} differs from {name}, but {reason}")
        ours[name] = tensor
    return ours, sorted(dropped)


def _in_our_vocabulary(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Put the rows of embedding and head of MultiMolecule's port into this vocabulary's order."""
    folder = path if path.is_dir() else path.parent
    file = folder / "vocab.txt"
    try:
        order = file.read_text().split()
        settings = json.loads((folder / "tokenizer_config.json").read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is MultiMolecule's port, whose vocabulary has an order of its own: "
            f"{error.filename} must be in the folder of the weights"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{folder}: the tokenizer's files are damaged: {error}") from None
    if settings.get("nmers", 1) != 1 or settings.get("codon"):
        raise InputError(f"{folder}: its tokens are k-mers; a token must be one base")
    wanted = (*_MULTIMOLECULE_SPECIALS, *TOKENS[len(SPECIALS) :])
    if missing := sorted(set(wanted) - set(order)):
        raise InputError(f"{file} has no token {missing[0]}")
    rows = [order.index(token) for token in wanted]
    found = dict(tensors)
    for name in {_WORDS, _HEAD} & set(tensors):
        # Rows that mean nothing pad both vocabularies; any number of them may follow.
        padding = -(-len(rows) // 8) * 8 - len(rows)
        spare = [min(len(order) + i, len(tensors[name]) - 1) for i in range(padding)]
        found[name] = tensors[name][rows + spare].clone()
    return found


def _from_multimolecule(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of MultiMolecule's `config.json` under the names of the Hub's port."""
    # Its token ids are those of its own vocabulary.
    kept = {k: v for k, v in raw.items() if not k.endswith("_token_id") and k != "vocab_size"}
    return {_MULTIMOLECULE_NAMES.get(k, k): v for k, v in kept.items()} | {
        "pad_vocab_size_multiple": 8
    }


def _renamed(name: str) -> str:
    """Return this model's name of a tensor whose wrappers are taken off."""
    name = re.sub(
        r"^(hyenadna|hyena|backbone)\.(?=backbone\.|layers\.|embeddings\.|ln_f)", "", name
    )
    name = name.removeprefix("backbone.")
    if name.startswith(("layers.", "embeddings.", "ln_f.", "final_layer_norm.")):
        name = f"hyena.backbone.{name.replace('final_layer_norm.', 'ln_f.')}"
    name = re.sub(r"\.(mixer|mlp)\.layer\.", r".\1.", name)
    # One sine is shared by all inner layers; most layouts store it once for each.
    return re.sub(r"implicit_filter\.\d+\.freq$", "implicit_filter.1.freq", name)


def fill(model: HyenaDNA, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors under our names into a model, all of them and nothing else.

    Positional features and decay rates are functions of the shape; where a checkpoint carries
    them, they are compared, not copied.

    Raises:
        InputError: If a tensor is missing, extra, misshapen, or not the formula's; names it.
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
        prefix = f"{_LAYERS}{i}.mixer.filter_fn."
        features, t = filters.positions(model.config.max_seq_len)  # type: ignore[union-attr, operator]
        expected = {"pos_emb.z": features, "pos_emb.t": t, "modulation.deltas": filters.decay()}  # type: ignore[union-attr, operator]
        for name, formula in expected.items():
            tensor = given.pop(prefix + name, None)
            if tensor is None:
                continue
            value = tensor.abs() if name == "modulation.deltas" else tensor
            # A 16-bit file rounds the formula's values to its own precision.
            precision = max(1e-4, 2 * torch.finfo(tensor.dtype).eps)
            if value.numel() != formula.numel() or not torch.allclose(
                value.flatten().float(), formula.flatten(), atol=precision, rtol=precision
            ):
                raise InputError(
                    f"{origin}: tensor {prefix}{name} is not what max_seq_len, emb_dim and d_model "
                    f"of its configuration give"
                )


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise InputError(
                f"{path}: tensor {name} has {bad} of {tensor.numel()} values that are NaN or "
                f"infinite; take another checkpoint of that training"
            )


def _is_tied(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether the head's weights are the embedding's (or left out, which means the same)."""
    if _HEAD not in tensors:
        return True
    return _WORDS in tensors and torch.equal(tensors[_HEAD], tensors[_WORDS])


def _confirms_length(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(("pos_emb.z", "pos_emb.t")) for name in tensors)


def _config_from(tensors: Mapping[str, Tensor], path: Path) -> HyenaDNAConfig:
    """Return the shape of a file of weights without a `config.json` in its folder."""
    first = f"{_LAYERS}0.mixer.filter_fn."
    positions = tensors.get(f"{first}pos_emb.z", tensors.get(f"{first}pos_emb.t"))
    try:
        words, features = tensors[_WORDS], tensors[f"{first}implicit_filter.0.weight"]
        inner = tensors[f"{_LAYERS}0.mlp.fc1.weight"]
        short = tensors[f"{_LAYERS}0.mixer.short_filter.weight"]
    except KeyError as error:
        raise InputError(
            f"{path} is not a HyenaDNA checkpoint: it has no tensor {error.args[0]}"
        ) from None
    if positions is None:
        raise InputError(
            f"{path}: no tensor gives the maximum input length; put its config.json there, with "
            f"max_seq_len"
        )
    depth = {
        int(name[len(_LAYERS) :].split(".")[0]) for name in tensors if name.startswith(_LAYERS)
    }
    linear = re.compile(re.escape(first) + r"implicit_filter\.\d+\.weight$")
    return HyenaDNAConfig(
        d_model=words.shape[1],
        n_layer=max(depth) + 1,
        d_inner=inner.shape[0],
        vocab_size=min(len(TOKENS), words.shape[0]),
        pad_vocab_size_multiple=8 if words.shape[0] % 8 == 0 else 1,
        max_seq_len=positions.shape[1],
        emb_dim=features.shape[1],
        filter_order=features.shape[0],
        num_inner_mlps=sum(map(bool, map(linear.match, tensors))) - 2,
        short_filter_order=short.shape[-1],
    )
