"""The tuning loop: epochs, early stopping on validation loss, resumption after an interruption."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.files import atomic_write
from backbone.common.schedule import learning_rate
from backbone.side_by_side import summed
from icl.inference.batches import EncodedSequences
from icl.method import Progress
from icl.tuning.config import TuningConfig

STATE = "tuning.safetensors"

PART = 1 << 12
"""Tokens of a part of a step: on a CPU, activations that fit the cache are twice as fast."""


@dataclass(frozen=True)
class Step:
    """One training step.

    Attributes:
        rows: Training rows in it.
        loss: Computes their mean loss, ready for `backward`.
    """

    rows: int
    loss: Callable[[], Tensor]


def in_parts(
    loss: Callable[[np.ndarray], Tensor],
    rows: np.ndarray,
    queries: EncodedSequences,
    module: nn.Module,
) -> Step:
    """Return the step of rows of similar length, computed a few rows at a time.

    Args:
        loss: Returns the mean loss of some rows.
        rows: The rows of the step.
        queries: The encoded rows.
        module: The module that is tuned.
    """
    size = max(1, PART // int(queries.padded[rows].max()))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]

    def weighted(part: np.ndarray) -> Tensor:
        return loss(part) * (len(part) / len(rows))

    tuned = [p for p in module.parameters() if p.requires_grad]
    return Step(len(rows), lambda: summed(weighted, parts, tuned))


@dataclass
class TuningResult:
    """Validation metrics of the best epoch.

    Attributes:
        loss: Validation loss; the epoch with the lowest is the best.
        accuracy: Accuracy, or the metric that the kind of task uses instead.
        epoch: Number of that epoch; 0 is the state before tuning.
    """

    loss: float
    accuracy: float
    epoch: int


def tune(
    module: nn.Module,
    batches: Callable[[int], Iterable[Step]],
    validate: Callable[[], tuple[float, float]],
    config: TuningConfig,
    on_epoch: Callable[[Progress], None],
    folder: Path | None,
    no_decay: Collection[str] = (),
    metric: str = "accuracy",
) -> TuningResult:
    """Tune a module's parameters and leave it with those of the epoch of lowest validation loss.

    Epoch 0, the module as given, is a candidate. An epoch depends only on its number and on the
    preceding state, so a run resumed from `folder` ends with the same parameters as an
    uninterrupted one.

    Args:
        module: The module whose trainable parameters are tuned.
        batches: Returns the steps of an epoch, counted from 1. Epochs may differ in their number of
            steps: each takes an equal share of the learning-rate schedule.
        validate: Returns loss and accuracy (or `metric`) on the validation rows.
        config: Options of the optimiser and the schedule.
        on_epoch: Called after each epoch.
        folder: Folder in which the state is saved after each epoch, or None.
        no_decay: Names of parameters without weight decay.
        metric: Name of the metric that `validate` returns besides the loss.

    Raises:
        InputError: If a training or validation loss is not finite, or a saved state is damaged.
    """
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad and p.numel()}
    decayed = [p for name, p in parameters.items() if name not in no_decay]
    spared = [p for name, p in parameters.items() if name in no_decay]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    state = _State.load(folder, parameters, optimizer)
    if state is None:
        loss, accuracy = validate()
        _check_finite(loss, "the validation loss before tuning", config)
        state = _State(0, TuningResult(loss, accuracy, 0), _copy(parameters))
    while state.epoch < config.epochs and state.epoch - state.best.epoch < config.patience:
        mean = _epoch(state.epoch, list(batches(state.epoch + 1)), parameters, optimizer, config)
        state.epoch += 1
        loss, accuracy = validate()
        _check_finite(loss, f"the validation loss after epoch {state.epoch}", config)
        if loss < state.best.loss:
            state.best, state.kept = TuningResult(loss, accuracy, state.epoch), _copy(parameters)
        on_epoch(
            Progress(
                state.epoch,
                config.epochs,
                mean,
                loss,
                accuracy,
                state.best.accuracy,
                metric,
                state.best.epoch,
                state.best.loss,
            )
        )
        state.save(folder, parameters, optimizer)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state.kept[name])
    return state.best


def _epoch(
    done: int,
    steps: Sequence[Step],
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    config: TuningConfig,
) -> float:
    """Take the steps of one epoch, after `done` completed epochs.

    Returns:
        The mean loss over the rows, each measured before its own step.
    """
    total = 0.0
    for number, step in enumerate(steps, start=1):
        progress = (done + number / len(steps)) / config.epochs
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, config.lr, config.warmup)
        optimizer.zero_grad()
        loss = step.loss()
        _check_finite(loss.item(), f"the loss at epoch {done + 1}, step {number}", config)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        total += loss.item() * step.rows
    return total / max(1, sum(step.rows for step in steps))


def _check_finite(loss: float, what: str, config: TuningConfig) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"{what} is {loss}; give a lower method.lr (now {config.lr:g}), a longer "
            f"method.warmup, or precision=float32 if the run uses bf16"
        )


def _copy(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@dataclass
class _State:
    """State of tuning between two epochs."""

    epoch: int
    best: TuningResult
    kept: dict[str, Tensor]

    def save(
        self,
        folder: Path | None,
        parameters: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Write the parameters, the best ones and the optimiser's moments, atomically."""
        if folder is None:
            return
        tensors = {f"kept/{name}": t for name, t in self.kept.items()}
        for name, parameter in parameters.items():
            tensors[f"now/{name}"] = parameter.detach()
            for key, moment in optimizer.state[parameter].items():
                tensors[f"{key}/{name}"] = moment
        where = {"epoch": self.epoch, "best": vars(self.best)}
        with atomic_write(folder / STATE) as path:
            save_file(
                {k: t.contiguous() for k, t in tensors.items()}, path, {"state": json.dumps(where)}
            )

    @classmethod
    def load(
        cls,
        folder: Path | None,
        parameters: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> "_State | None":
        """Restore what `save` wrote; return None if there is nothing."""
        if folder is None or not (folder / STATE).exists():
            return None
        try:
            with safe_open(folder / STATE, "pt") as file:
                where = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(
                f"{folder / STATE} is damaged ({error}); force=true starts over"
            ) from error
        moments: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if kind not in ("kept", "now"):
                moments[name][kind] = tensor
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"now/{name}"])
                optimizer.state[parameter] = {
                    kind: t if kind == "step" else t.to(parameter.device)
                    for kind, t in moments[name].items()
                }
        kept = {name: tensors[f"kept/{name}"].to(p.device) for name, p in parameters.items()}
        return cls(where["epoch"], TuningResult(**where["best"]), kept)
