"""The one tuning loop: epochs, early stopping on validation, resumable after an interruption."""

import json
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.files import written_whole
from backbone.common.options import option
from icl.method import Progress

STATE = "tuning.safetensors"


@dataclass
class TuningConfig:
    """How parameters are tuned; shared by every method that tunes."""

    lr: float = option(0.01, "peak learning rate", above=0)
    epochs: int = option(30, "epochs at most", least=1)
    patience: int = option(8, "epochs without a better validation loss", least=1)
    rows: int = option(64, "rows of a training step", least=1)
    weight_decay: float = option(0.0, "of AdamW", least=0)
    warmup: float = option(0.05, "share of the steps that warm up", least=0, below=1)


@dataclass
class TuningResult:
    """What tuning ended with: the best epoch's validation, and which it was."""

    loss: float
    accuracy: float
    epoch: int


def tune(
    module: nn.Module,
    batches: Callable[[int], Iterable[Callable[[], Tensor]]],
    steps: int,
    validate: Callable[[], tuple[float, float]],
    config: TuningConfig,
    show: Callable[[Progress], None],
    folder: Path | None,
    exempt: Collection[str] = (),
    figure: str = "accuracy",
) -> TuningResult:
    """Tunes a module's parameters and leaves it with those of the best epoch on validation.

    Epoch 0, the module as it came, takes part in the choice. What an epoch does is a function of
    its number and of the state before it, so a run that goes on from `folder` ends with the same
    parameters as an undisturbed one.

    Args:
        module: whose trainable parameters move.
        batches: gives, for an epoch from 1, functions that compute the loss of one step.
        steps: of an epoch; the learning rate falls as a cosine over `epochs * steps`.
        validate: gives loss and accuracy (or what `figure` says) on the validation rows.
        config: how to tune.
        show: called after each epoch.
        folder: where the state is kept after each epoch, or None.
        exempt: names of parameters that weight decay spares.
        figure: what the validation rows say beside the loss.
    """
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad and p.numel()}
    decayed = [p for name, p in parameters.items() if name not in exempt]
    spared = [p for name, p in parameters.items() if name in exempt]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    state = _State.load(folder, parameters, optimizer)
    if state is None:
        loss, accuracy = validate()
        state = _State(0, TuningResult(loss, accuracy, 0), _copy(parameters))
    while state.epoch < config.epochs and state.epoch - state.best.epoch < config.patience:
        state.epoch += 1
        losses = []
        for step, loss_of in enumerate(batches(state.epoch), start=(state.epoch - 1) * steps):
            rate = config.lr * _share((step + 1) / (config.epochs * steps), config.warmup)
            losses.append(_step(loss_of, parameters, optimizer, rate))
        loss, accuracy = validate()
        if loss < state.best.loss:
            state.best, state.kept = TuningResult(loss, accuracy, state.epoch), _copy(parameters)
        mean = sum(losses) / max(1, len(losses))
        best = state.best.accuracy
        show(Progress(state.epoch, config.epochs, mean, loss, accuracy, best, figure))
        state.save(folder, parameters, optimizer)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state.kept[name])
    return state.best


def _share(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def _step(
    loss: Callable[[], Tensor],
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    rate: float,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    value = loss()
    value.backward()
    nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    optimizer.step()
    return value.item()


def _copy(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@dataclass
class _State:
    """Where tuning stands between two epochs."""

    epoch: int
    best: TuningResult
    kept: dict[str, Tensor]

    def save(
        self,
        folder: Path | None,
        parameters: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Writes parameters, the best ones and the optimizer's moments, whole or not at all."""
        if folder is None:
            return
        tensors = {f"kept/{name}": t for name, t in self.kept.items()}
        for name, parameter in parameters.items():
            tensors[f"now/{name}"] = parameter.detach()
            for key, moment in optimizer.state[parameter].items():
                tensors[f"{key}/{name}"] = moment
        where = {"epoch": self.epoch, "best": vars(self.best)}
        with written_whole(folder / STATE) as path:
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
        """Puts back what `save` wrote; None where there is nothing."""
        if folder is None or not (folder / STATE).exists():
            return None
        try:
            with safe_open(folder / STATE, "pt") as file:
                where = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(
                f"{folder / STATE} is damaged ({error}); force=true starts anew"
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
