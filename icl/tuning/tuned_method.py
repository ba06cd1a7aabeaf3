"""The base of methods that tune a copy of the backbone: epochs, and accumulated steps."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.inference.batches import EncodedSequences
from icl.inference.strands import StrandConfig, StrandMethod
from icl.method import Context
from icl.tuning.adapters import load_tuned_parameters, tuned_parameters, without_decay
from icl.tuning.loop import Step, TuningConfig, tune
from tasks.kinds import TASK_KINDS
from tasks.task import Example, truth

PART = 1 << 12
"""Tokens of a part of a step: on a CPU, activations that fit the cache are twice as fast."""


@dataclass
class TunedConfig(StrandConfig, TuningConfig):
    """How weights are tuned, and which strands are read."""

    epochs: int = option(10, "maximum number of epochs", least=1)
    patience: int = option(3, "epochs without improvement before stopping", least=1)


TunedConfigT = TypeVar("TunedConfigT", bound=TunedConfig)


class TunedMethod(StrandMethod[TunedConfigT]):
    """A method that tunes weights of a copy; the frozen backbone stays as it is.

    Attributes:
        unit: Mean and standard deviation of a regression's training labels, in whose units its head
            predicts; 0 and 1 for other kinds of task.
    """

    def __init__(self, config: TunedConfigT, context: Context) -> None:
        """Check the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self._built: nn.Module | None = None
        self.unit = (0.0, 1.0)

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the module whose trainable parameters are tuned."""

    @abstractmethod
    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> Iterator[Step]:
        """Yield the steps of one epoch; `generator` is the epoch's own."""

    def before_tuning(self, train: Sequence[Example]) -> None:
        """Fit what has a closed form, before the first step."""
        return None

    def after_tuning(self, val: Sequence[Example]) -> None:
        """Fit what has a closed form, with the best epoch's weights in place."""
        return None

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the scores of validation rows by which an epoch is chosen."""
        return scores

    @property
    def module(self) -> nn.Module:
        """The module in its present state."""
        if self._built is None:
            self._built = self.build().to(self.context.device)
        return self._built

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tune on `train`; keep the epoch with the lowest loss on `val`."""
        self._built = None
        self.unit = TASK_KINDS[self.context.kind].unit(train)
        self.before_tuning(train)

        def batches(epoch: int) -> Iterator[Step]:
            return self.steps(train, stream(self.context.seed, "tuning steps", epoch))

        def judge() -> tuple[float, float]:
            scores = self.judged(self.scores(val), truth(val))
            return TASK_KINDS[self.context.kind].validate(scores, truth(val))

        metric = TASK_KINDS[self.context.kind].validation
        best = tune(
            self.module,
            batches,
            validate=judge,
            config=self.config,
            on_epoch=self.context.progress,
            folder=self.context.run_dir,
            no_decay=without_decay(self.module),
            metric=metric,
        )
        self.after_tuning(val)
        loss, value = judge()
        self.validation = {metric: value, "loss": loss, "epoch": best.epoch}

    @property
    def trainable_parameters(self) -> int:
        """Count the parameters of the copy that are tuned."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def state(self) -> dict[str, np.ndarray]:
        """Return the tuned weights by name, and the `unit` of a regression."""
        unit = {"unit": np.array(self.unit)} if self.context.kind == "regression" else {}
        return tuned_parameters(self.module) | unit

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over tuned weights."""
        weights = dict(state)
        if self.context.kind == "regression":
            if "unit" not in weights or weights["unit"].shape != (2,):
                raise InputError("the learned state does not hold the unit of its numbers")
            mean, deviation = weights.pop("unit").tolist()
            self.unit = (mean, deviation)
        load_tuned_parameters(self.module, weights)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the run's number format."""
        if self.context.precision == "bf16":
            return torch.autocast(torch.device(self.context.device).type, torch.bfloat16)
        return nullcontext()


def in_parts(
    loss: Callable[[np.ndarray], Tensor], rows: np.ndarray, queries: EncodedSequences
) -> Step:
    """Return the step of rows of similar length, computed a few rows at a time.

    Args:
        loss: Returns the mean loss of some rows.
        rows: The rows of the step.
        queries: The encoded rows.
    """
    size = max(1, PART // int(queries.padded[rows].max()))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]

    def weighted() -> Iterator[Tensor]:
        for part in parts:
            yield loss(part) * (len(part) / len(rows))

    return Step(len(rows), lambda: accumulate(weighted()))


def accumulate(losses: Iterable[Tensor]) -> Tensor:
    """Return the sum of losses whose graphs are never in memory together.

    All but the last are differentiated here, into the gradients that exist; differentiating the
    result, whose value is the sum, completes the sum's gradient.
    """
    done, pending = 0.0, None
    for loss in losses:
        if pending is not None:
            pending.backward()
            done += pending.item()
        pending = loss
    assert pending is not None, "a step has rows"
    return pending + done
