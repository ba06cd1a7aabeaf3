"""The base of methods that tune a copy of the backbone: epochs, and accumulated steps."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream
from icl.inference.strands import StrandMethod
from icl.method import Context
from icl.tuning.config import TunedConfig
from tasks.kinds import TASK_KINDS
from tasks.task import Example, truth

if TYPE_CHECKING:
    from torch import nn

    from icl.tuning.loop import Step

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
    def build(self) -> "nn.Module":
        """Return the module whose trainable parameters are tuned."""

    @abstractmethod
    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> "Iterator[Step]":
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
    def module(self) -> "nn.Module":
        """The module in its present state."""
        if self._built is None:
            self._built = self.build().to(self.context.device)
        return self._built

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tune on `train`; keep the epoch with the lowest loss on `val`."""
        from icl.tuning.adapters import without_decay
        from icl.tuning.loop import tune

        self._built = None
        self.unit = TASK_KINDS[self.context.kind].unit(train)
        self.before_tuning(train)

        def batches(epoch: int) -> "Iterator[Step]":
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
        from icl.tuning.adapters import tuned_parameters

        unit = {"unit": np.array(self.unit)} if self.context.kind == "regression" else {}
        return tuned_parameters(self.module) | unit

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over tuned weights."""
        from icl.tuning.adapters import load_tuned_parameters

        weights = dict(state)
        if self.context.kind == "regression":
            if "unit" not in weights or weights["unit"].shape != (2,):
                raise InputError("the learned state does not hold the unit of its numbers")
            mean, deviation = weights.pop("unit").tolist()
            self.unit = (mean, deviation)
        load_tuned_parameters(self.module, weights)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the run's number format."""
        from icl.inference.query_set import number_format

        return number_format(self.context)
