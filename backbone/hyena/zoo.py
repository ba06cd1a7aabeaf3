"""Named checkpoints, and `load`: a frozen model from a name or a folder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from backbone.hyena.checkpoint_formats import fill, is_tied, read_config, read_tensors, to_our_names
from backbone.hyena.model import HyenaDNA, random_model

WEIGHTS = Path(__file__).parents[1] / "weights"
RANDOM = "random:"


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint: where it is on the Hub, and its shape."""

    hub: str
    n_layer: int
    d_model: int
    max_seq_len: int


def _published(size: str, n_layer: int, d_model: int, max_seq_len: int) -> Checkpoint:
    return Checkpoint(f"LongSafari/hyenadna-{size}-hf", n_layer, d_model, max_seq_len)


CHECKPOINTS: dict[str, Checkpoint] = {
    "tiny-1k": _published("tiny-1k-seqlen", 2, 128, 1_024),
    "tiny-1k-d256": _published("tiny-1k-seqlen-d256", 2, 256, 1_024),
    "tiny-16k-d128": _published("tiny-16k-seqlen-d128", 2, 128, 16_384),
    "small-32k": _published("small-32k-seqlen", 4, 256, 32_768),
    "medium-160k": _published("medium-160k-seqlen", 8, 256, 160_000),
    "medium-450k": _published("medium-450k-seqlen", 8, 256, 450_000),
    "large-1m": _published("large-1m-seqlen", 8, 256, 1_000_000),
}
"""The checkpoints of Nguyen et al. 2023, as ported to the Hub by their authors."""


def bundled_names() -> tuple[str, ...]:
    """Names of the checkpoints that come with this package."""
    return tuple(sorted(path.parent.name for path in WEIGHTS.glob("*/config.json")))


def resolve(name_or_path: str) -> Path:
    """Returns the folder of a checkpoint, fetched from the Hub if it has a published name.

    Args:
        name_or_path: a bundled name, a published one (`tiny-1k`, or `tiny-1k@revision`), or a
            folder.

    Raises:
        InputError: if it is none of these, or cannot be had without a network.
    """
    if name_or_path in bundled_names():
        return WEIGHTS / name_or_path
    name, _, revision = name_or_path.partition("@")
    if name in CHECKPOINTS:
        return _fetch(CHECKPOINTS[name].hub, revision or None)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    names = [*bundled_names(), *CHECKPOINTS]
    raise InputError(
        f"backbone={name_or_path} is neither a folder nor a known name; {suggestion(name, names)}"
    )


def pretraining_regions(name_or_path: str) -> Path | None:
    """The BED file that says what a checkpoint saw in pretraining; None where none lies with it.

    Fourth column: train for what was seen, valid for what was held out.
    """
    if name_or_path.startswith(RANDOM) or name_or_path.partition("@")[0] in CHECKPOINTS:
        return None
    file = resolve(name_or_path) / "pretraining.bed"
    return file if file.is_file() else None


def _fetch(hub: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        wanted = ["config.json", "model.safetensors"]
        return Path(snapshot_download(hub, revision=revision, allow_patterns=wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise InputError(
            f"{hub} is not in the local cache and the Hub cannot be reached: connect once, give "
            f"backbone=FOLDER with its config.json and model.safetensors, or use backbone=bundled"
        ) from None


def load(name_or_path: str, device: str = "cpu") -> HyenaDNA:
    """Loads a checkpoint, frozen and in evaluation mode.

    Args:
        name_or_path: see `resolve`; with `random:` in front, a model of the same shape with random
            weights (seed 0), the control for what pretraining gives.
        device: where the model goes.

    Returns:
        The model; no parameter requires a gradient.

    Raises:
        InputError: if there is no such checkpoint or a tensor is missing, extra or misshapen.
    """
    folder = resolve(name_or_path.removeprefix(RANDOM))
    config = read_config(folder)
    if name_or_path.startswith(RANDOM):
        model = random_model(config, seed=0)
    else:
        tensors = to_our_names(read_tensors(folder))
        config.tie_word_embeddings = is_tied(tensors)
        # The weights drawn here are all overwritten.
        model = random_model(config, seed=0)
        fill(model, tensors, origin=str(folder))
    model.to(torch.device(device))  # type: ignore[arg-type]
    return model.requires_grad_(False).eval()


def weights_sha256(model: HyenaDNA) -> str:
    """Returns a digest of shape and weights, the same for every layout and file they came in."""
    shape = {k: getattr(model.config, k) for k in ("max_seq_len", "emb_dim", "layer_norm_epsilon")}
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
