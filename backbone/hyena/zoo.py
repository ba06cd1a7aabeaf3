"""`load`: a frozen model from a checkpoint's name, Hub id, folder or file."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch

from backbone.hub import revision_of
from backbone.hyena.checkpoint_formats import fill, read_checkpoint, read_config
from backbone.hyena.checkpoints import RANDOM, WEIGHTS, resolve
from backbone.hyena.model import HyenaDNA, random_model

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


def load(name_or_path: str, device: str = "cpu") -> HyenaDNA:
    """Load a checkpoint, frozen and in evaluation mode.

    Args:
        name_or_path: See `backbone.hyena.checkpoints.resolve`; with `random:` in front, a model of
            the same shape with random weights (seed 0), the control for what pretraining gives.
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
    # A checkpoint of this package is stored as its model card says.
    for note in () if path.parent == WEIGHTS else notes:
        _LOG.warning("backbone=%s: %s", name_or_path, note)
    model.to(torch.device(device))  # type: ignore[arg-type]
    _PROVENANCE[model] = Provenance(path, revision_of(path), notes)
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
