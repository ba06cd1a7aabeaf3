"""What the methods share that tune a copy of the backbone: epochs, steps in parts, strands."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.batches import EncodedSequences
from icl.method import Context, Method, MethodConfig
from icl.tuning.adapters import load_tuned_parameters, tuned_parameters, without_decay
from icl.tuning.loop import TuningConfig, tune
from tasks.kinds import TASK_KINDS
from tasks.task import Example, truth

PART = 1 << 12
"""Tokens of a part of a step: what a processor's cache holds of their activations is twice as fast
on a CPU as what it does not."""


@dataclass
class TunedConfig(MethodConfig, TuningConfig):
    """How weights are tuned, and which strands are read."""

    epochs: int = option(10, "epochs at most", least=1)
    patience: int = option(3, "epochs without a better validation loss", least=1)
    strands: str = option("both", "strands whose scores are averaged", choices=("both", "forward"))


TunedConfigT = TypeVar("TunedConfigT", bound=TunedConfig)


class TunedMethod(Method[TunedConfigT]):
    """A method that tunes weights of a copy; the frozen backbone stays as it is."""

    def __init__(self, config: TunedConfigT, context: Context) -> None:
        """Checks the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self._built: nn.Module | None = None
        self.unit = (0.0, 1.0)
        """Mean and standard deviation of the numbers of a regression, in which a head speaks."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Makes the module whose trainable parameters are tuned."""

    @abstractmethod
    def steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> Iterator[Callable[[], Tensor]]:
        """Gives the losses of one epoch's steps; `generator` is the epoch's own."""

    @property
    def module(self) -> nn.Module:
        """The module that is tuned, as far as it is."""
        if self._built is None:
            self._built = self.build().to(self.context.device)
        return self._built

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tunes on `train`; the epoch with the least loss on `val` is kept."""
        self._built = None
        self.unit = TASK_KINDS[self.context.kind].unit(train)

        def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
            return self.steps(train, np.random.default_rng([self.context.seed, epoch]))

        def judge() -> tuple[float, float]:
            return TASK_KINDS[self.context.kind].validate(self.scores(val), truth(val))

        figure = TASK_KINDS[self.context.kind].validation
        best = tune(
            self.module,
            batches,
            steps=sum(1 for _ in batches(1)),
            validate=judge,
            config=self.config,
            show=self.context.progress,
            folder=self.context.run_dir,
            exempt=without_decay(self.module),
            figure=figure,
        )
        self.validation = {figure: best.accuracy, "loss": best.loss, "epoch": best.epoch}

    @property
    def averages_strands(self) -> bool:
        """Whether the strands' scores are averaged."""
        return self.config.strands == "both"

    def read_forward_alone(self) -> None:
        """Sets `strands` to forward."""
        self.config = replace(self.config, strands="forward")

    @property
    def trainable_parameters(self) -> int:
        """Numbers of the copy that move."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def state(self) -> dict[str, np.ndarray]:
        """The tuned weights, by name; of a regression the unit of its numbers too."""
        unit = {"unit": np.array(self.unit)} if self.context.kind == "regression" else {}
        return tuned_parameters(self.module) | unit

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Takes over tuned weights."""
        weights = dict(state)
        if self.context.kind == "regression":
            if "unit" not in weights or weights["unit"].shape != (2,):
                raise InputError("the learned state does not hold the unit of its numbers")
            mean, deviation = weights.pop("unit").tolist()
            self.unit = (mean, deviation)
        load_tuned_parameters(self.module, weights)

    def autocast(self) -> AbstractContextManager[object]:
        """The number format of the run's arithmetic."""
        if self.context.precision == "bf16":
            return torch.autocast(torch.device(self.context.device).type, torch.bfloat16)
        return nullcontext()


def cut_steps(
    queries: EncodedSequences, count: int, rows: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Gives the rows of one epoch's steps; each row comes once, on a strand drawn for it.

    Args:
        queries: `count` rows, then their reverse complements if both strands are read.
        count: rows of one strand.
        rows: of a step.
        generator: of the draws.
    """
    strand = generator.integers(len(queries) // count, size=count)
    order = generator.permutation(count)
    steps = [batch.rows for batch in queries.batches(rows, order + strand[order] * count)]
    for i in generator.permutation(len(steps)):
        yield steps[i]


def in_parts(
    loss: Callable[[np.ndarray], Tensor], rows: np.ndarray, queries: EncodedSequences
) -> Callable[[], Tensor]:
    """The loss of a step of rows of one padded length, computed a few rows at a time.

    Args:
        loss: mean loss of some rows.
        rows: of the step.
        queries: where they come from.
    """
    size = max(1, PART // int(queries.padded[rows[0]]))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]

    def of_parts() -> Iterator[Tensor]:
        for part in parts:
            yield loss(part) * (len(part) / len(rows))

    return lambda: accumulated(of_parts())


def accumulated(losses: Iterable[Tensor]) -> Tensor:
    """Adds up losses whose graphs are never alive together.

    All but the last are differentiated here, into the gradients there are; differentiating what is
    returned, whose value is the sum, completes the sum's gradient.
    """
    done, pending = 0.0, None
    for loss in losses:
        if pending is not None:
            pending.backward()
            done += pending.item()
        pending = loss
    assert pending is not None, "a step has rows"
    return pending + done
