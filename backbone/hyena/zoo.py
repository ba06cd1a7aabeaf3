"""Named checkpoints, and `load`: a frozen model from a name, a Hub id, a folder or a file."""

import errno
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from backbone.hyena.checkpoint_formats import (
    INDEX,
    SUFFIXES,
    WHOLE,
    fill,
    read_checkpoint,
    read_config,
)
from backbone.hyena.model import HyenaDNA, random_model

WEIGHTS = Path(__file__).parents[1] / "weights"
RANDOM = "random:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""`owner/name` or `owner/name@revision`, as on the Hugging Face Hub."""

_SMALL = ("*.json", "vocab.txt")  # what describes a checkpoint on the Hub
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """Where a loaded model comes from.

    Attributes:
        path: The folder or file that was read.
        revision: The commit on the Hub, or None for local files.
        notes: What a user should know of how the file was read, a sentence each.
    """

    path: Path
    revision: str | None
    notes: tuple[str, ...]


_PROVENANCE: "WeakKeyDictionary[HyenaDNA, Provenance]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint: its place on the Hub and its shape."""

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
    """Return the folder or file of a checkpoint, fetched from the Hub if it is there.

    Args:
        name_or_path: A bundled name, a published one (`tiny-1k`, or `tiny-1k@revision`), a folder,
            a file of weights, or an id on the Hub (`owner/name`, or `owner/name@revision`).

    Raises:
        InputError: If it is none of these, or cannot be fetched.
    """
    if name_or_path in bundled_names():
        return WEIGHTS / name_or_path
    name, _, revision = name_or_path.partition("@")
    if name in CHECKPOINTS:
        return _fetch(CHECKPOINTS[name].hub, revision or None)
    path = Path(name_or_path).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix in SUFFIXES):
        return path
    if path.is_file():
        raise InputError(
            f"backbone={name_or_path} is not a weights file; they end in {', '.join(SUFFIXES)}"
        )
    if HUB_ID.fullmatch(name_or_path):
        return _fetch(name, revision or None)
    names = [*bundled_names(), *CHECKPOINTS]
    raise InputError(
        f"backbone={name_or_path} is neither a folder nor a known name; {suggestion(name, names)}"
    )


def pretraining_regions(name_or_path: str) -> Path | None:
    """Return the BED file of what a checkpoint saw in pretraining; None if it has none.

    Fourth column: train for what was seen, valid for what was held out.
    """
    if name_or_path.startswith(RANDOM) or name_or_path.partition("@")[0] in CHECKPOINTS:
        return None
    path = resolve(name_or_path)
    file = (path if path.is_dir() else path.parent) / "pretraining.bed"
    return file if file.is_file() else None


def _fetch(hub: str, revision: str | None) -> Path:
    """Return the folder of a snapshot: safetensors where there are any, else pickles."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def snapshot(*patterns: str) -> Path:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=list(patterns)))

    try:
        folder = snapshot(*_SMALL, "model*.safetensors")
        if not any((folder / name).is_file() for name in (WHOLE[0], INDEX[0])):
            folder = snapshot(*_SMALL, "pytorch_model*.bin", "*.ckpt")
    except GatedRepoError:
        raise InputError(
            f"{hub} asks every user to accept its terms: accept them on its page on the Hub, then "
            f"log in with `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"{hub} has no revision {revision}; give a branch, a tag or a commit of it, or none"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"the Hub has no model {hub} (or it is private: `hf auth login`)"
        ) from None
    except LocalEntryNotFoundError:
        raise InputError(_offline(hub)) from None
    except HfHubHTTPError as error:
        raise InputError(f"{hub}: the Hub answers {str(error).splitlines()[0]}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{hub} cannot be saved: no space is left for {error.filename or 'the Hub cache'}; "
                f"free some, or set HF_HOME to a folder on another disk"
            ) from None
        raise InputError(_offline(hub)) from None
    return folder


def _offline(hub: str) -> str:
    return (
        f"{hub} is not in the local cache and the Hub cannot be reached: connect once, give "
        f"backbone=FOLDER with its config.json and model.safetensors, or use backbone=bundled"
    )


def load(name_or_path: str, device: str = "cpu") -> HyenaDNA:
    """Load a checkpoint, frozen and in evaluation mode.

    Args:
        name_or_path: See `resolve`; with `random:` in front, a model of the same shape with random
            weights (seed 0), the control for what pretraining gives.
        device: Where the model goes.

    Returns:
        The model; no parameter requires a gradient. What a user should know of how the file was
        read is logged as a warning, and kept by `provenance`.

    Raises:
        InputError: If there is no such checkpoint or a tensor is missing, extra, misshapen or not
            finite.
    """
    path = resolve(name_or_path.removeprefix(RANDOM))
    notes: tuple[str, ...] = ()
    if name_or_path.startswith(RANDOM):
        model = random_model(read_config(path), seed=0)
    else:
        stored = read_checkpoint(path)
        notes = stored.notes
        # The weights drawn here are all overwritten.
        model = random_model(stored.config, seed=0)
        fill(model, stored.tensors, origin=str(path))
    for note in notes:
        _LOG.warning("backbone=%s: %s", name_or_path, note)
    model.to(torch.device(device))  # type: ignore[arg-type]
    # A snapshot of the Hub lies in .../snapshots/COMMIT.
    revision = path.name if path.parent.name == "snapshots" else None
    _PROVENANCE[model] = Provenance(path, revision, notes)
    return model.requires_grad_(False).eval()


def provenance(model: HyenaDNA) -> Provenance | None:
    """Return where a model that `load` gave comes from; None for any other."""
    return _PROVENANCE.get(model)


def weights_sha256(model: HyenaDNA) -> str:
    """Return a digest of shape and weights, the same for every layout and file they came in."""
    shape = {k: getattr(model.config, k) for k in ("max_seq_len", "emb_dim", "layer_norm_epsilon")}
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
