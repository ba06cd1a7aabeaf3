"""Named checkpoints, and where their files are: bundled, on the Hub, or a folder; no torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from backbone.hub import snapshot

WEIGHTS = Path(__file__).parents[1] / "weights"
RANDOM = "random:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""`owner/name` or `owner/name@revision`, as on the Hugging Face Hub."""

_SMALL = ("*.json", "vocab.txt")  # what describes a checkpoint on the Hub

WHOLE = ("model.safetensors", "pytorch_model.bin", "weights.ckpt")
"""Names of files that hold all weights, the preferred one first."""

INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Names of index files, which map tensors to shards."""

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
"""Endings of files of weights."""


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
    folder = snapshot(hub, revision, (*_SMALL, "model*.safetensors"))
    if not any((folder / name).is_file() for name in (WHOLE[0], INDEX[0])):
        folder = snapshot(hub, revision, (*_SMALL, "pytorch_model*.bin", "*.ckpt"))
    return folder
