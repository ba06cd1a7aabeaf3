"""Training checkpoints: folders that `load` reads as models, with the trainer's state added.

A checkpoint gets its name only when it is complete and on the disk. Random states are not saved:
windows and dropout are functions of (seed, step, row), and seed and step are in the state.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from backbone.common.errors import InputError

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "trainer.json"
_HEAD = "lm_head.weight"
_EMBEDDINGS = {
    "hyena.backbone.embeddings.word_embeddings.weight",
    "backbone.embeddings.weight",
    "model.embed_tokens.weight",
}
"""What a tied head shares its weights with, by architecture."""


def export(
    weights: dict[str, Tensor], shape: PreTrainedModel, tok: PreTrainedTokenizerBase, to: Path
) -> None:
    """Write a model and its tokenizer in the layout of the Hugging Face Hub.

    An existing folder is replaced once the new one is complete.

    Args:
        weights: Weights of the whole model, by parameter name.
        shape: A model of the same configuration and tied weights.
        tok: The tokenizer.
        to: The folder.

    Raises:
        InputError: If it cannot be written.
    """
    with _whole(to, to.parent / "checkpoints") as fresh:
        _write_model(weights, shape, tok, fresh)


def gather(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Gather weights and optimizer state on the CPU; all processes of a group must call it.

    Args:
        model: The model in training, whole or sharded.
        optimizer: The optimizer of its parameters.

    Returns:
        The weights, and the optimizer's state as "parameter/key"; both unsharded, and empty in all
        processes but the first.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    held: Any = get_optimizer_state_dict(model, optimizer, options=options)
    moments = held.get("state", {})
    named = {
        f"{name}/{key}": value for name, values in moments.items() for key, value in values.items()
    }
    return weights, named


def save(
    folder: Path,
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    shape: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    state: dict[str, Any],
) -> Path:
    """Write a checkpoint to `folder/step-<step>`, and return that path.

    Args:
        folder: The folder of a run's checkpoints.
        weights: The model's weights, from `gather`.
        moments: The optimizer's state, from `gather`.
        shape: A model of the same configuration.
        tok: The tokenizer.
        state: The rest that resuming needs, as JSON; "step" names the checkpoint.

    Raises:
        InputError: If it cannot be written, as on a full disk; other checkpoints are untouched.
    """
    target = folder / f"step-{state['step']:08d}"
    with _whole(target, folder) as fresh:
        _write_model(weights, shape, tok, fresh)
        save_file({name: value.contiguous() for name, value in moments.items()}, fresh / OPTIMIZER)
        (fresh / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    return target


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore weights and optimizer from a checkpoint, and return its state.

    Args:
        checkpoint: The checkpoint's folder.
        model: The model in training, whole or sharded.
        optimizer: The optimizer of its parameters.

    Raises:
        InputError: If the checkpoint is damaged or holds other parameters.
    """
    whole = StateDictOptions(full_state_dict=True)
    try:
        weights: dict[str, Any] = dict(load_file(checkpoint / WEIGHTS))
        moments = load_file(checkpoint / OPTIMIZER)
        now = get_model_state_dict(model)
        if _HEAD in now and _HEAD not in weights:  # tied: saved once
            weights[_HEAD] = weights[min(weights.keys() & _EMBEDDINGS)]
        if weights.keys() != now.keys():
            raise KeyError(min(weights.keys() ^ now.keys()))
        set_model_state_dict(model, weights, options=whole)
        held = get_optimizer_state_dict(model, optimizer)
        held["state"] = _by_parameter(moments)
        set_optimizer_state_dict(model, optimizer, held, options=whole)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{checkpoint} is damaged ({reason}); delete it to go on") from error
    return read_state(checkpoint)


def _by_parameter(moments: dict[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in moments.items():
        parameter, _, key = name.rpartition("/")
        found.setdefault(parameter, {})[key] = value
    return found


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the trainer's state in a checkpoint.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{checkpoint} is damaged ({error}); delete it to go on") from error


def all_of(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def best_of(folder: Path) -> Path | None:
    """Return the checkpoint with the lowest perplexity on held-out rows, if any was scored."""
    scored = [(read_state(path).get("valid_perplexity"), path) for path in all_of(folder)]
    known = [(perplexity, path) for perplexity, path in scored if perplexity is not None]
    return min(known)[1] if known else None


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and the best one."""
    best = best_of(folder)
    for old in all_of(folder)[:-keep]:
        if old != best:
            shutil.rmtree(old)


@contextmanager
def storing(what: Path, checkpoints: Path) -> Iterator[None]:
    """Turn the error of a full or failing disk into one line.

    Args:
        what: The file or folder that the block writes.
        checkpoints: The folder of the run's checkpoints.

    Raises:
        InputError: If it cannot be written; says how to go on.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        good = all_of(checkpoints)
        raise InputError(
            f"cannot write {what}: {reason}; make room and give the same command to "
            + (f"go on from the last good checkpoint, {good[-1]}" if good else "start again")
        ) from error


@contextmanager
def _whole(target: Path, checkpoints: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `target` when it is complete and on the disk."""
    fresh = target.with_name(f".{target.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with storing(target, checkpoints):
            fresh.mkdir()
            yield fresh
            for path in fresh.iterdir():
                _to_disk(path)
            _rename(fresh, target)
            _to_disk(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_model(
    weights: dict[str, Tensor], shape: PreTrainedModel, tok: PreTrainedTokenizerBase, folder: Path
) -> None:
    shape.save_pretrained(folder, state_dict=dict(weights))  # which it empties
    tok.save_pretrained(folder)


def _rename(fresh: Path, target: Path) -> None:
    """Rename a complete folder; one that exists cannot be replaced in a single step."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)
