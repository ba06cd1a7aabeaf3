"""Training checkpoints: folders that `load()` reads as models, with the trainer's state beside.

A checkpoint appears under its name only when it is complete. The random state needs no saving,
because windows and dropout depend on (seed, step) alone.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbone.errors import InputError
from backbone.model import HyenaDNA
from backbone.tokenizer import DNATokenizer

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "trainer.json"


def export(model: HyenaDNA, folder: Path) -> None:
    """Writes the model and its tokenizer in the layout of the Hugging Face Hub.

    A folder of that name is replaced once the new one is complete.
    """
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    _write_model(model, fresh)
    _rename(fresh, folder)


def save(
    folder: Path, model: HyenaDNA, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Writes a checkpoint to `folder/step-<step>` and returns that path.

    Args:
        folder: of all checkpoints of a run.
        model: its weights are saved.
        optimizer: its state is saved, under the names of the parameters.
        state: what else is needed to go on, as JSON; "step" names the checkpoint.
    """
    target = folder / f"step-{state['step']:08d}"
    fresh = folder / f".{target.name}.part"
    shutil.rmtree(fresh, ignore_errors=True)
    _write_model(model, fresh)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{name}/{key}"] = value.contiguous()
    save_file(tensors, fresh / OPTIMIZER)
    (fresh / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    _rename(fresh, target)
    return target


def restore(checkpoint: Path, model: HyenaDNA, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Puts weights and optimizer back as they were saved, and returns the saved state.

    Raises:
        InputError: if the checkpoint is damaged or holds other parameters.
    """
    try:
        weights = load_file(checkpoint / WEIGHTS)
        moments = load_file(checkpoint / OPTIMIZER)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
                found = {k: v for k, v in moments.items() if k.startswith(f"{name}/")}
                optimizer.state[parameter] = {
                    key.rpartition("/")[2]: value.to(parameter.device)
                    for key, value in found.items()
                }
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{checkpoint} is damaged ({reason}); delete it to go on") from error
    return read_state(checkpoint)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Returns the state that was saved with a checkpoint.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{checkpoint} is damaged ({error}); delete it to go on") from error


def all_of(folder: Path) -> list[Path]:
    """Returns the complete checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints."""
    for old in all_of(folder)[:-keep]:
        shutil.rmtree(old)


def _write_model(model: HyenaDNA, folder: Path) -> None:
    model.save_pretrained(folder)
    DNATokenizer(model_max_length=model.config.max_seq_len).save_pretrained(folder)


def _rename(fresh: Path, target: Path) -> None:
    """Moves a complete folder to its name; a folder cannot be replaced in one step."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(fresh, target)
    shutil.rmtree(old, ignore_errors=True)
