"""Baseline: the training labels alone, without reading the sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.common.errors import InputError
from icl.baselines.linear import log_odds
from icl.method import KINDS, Method, MethodConfig, method
from tasks.kinds import TASK_KINDS
from tasks.task import Example, truth


@dataclass
class MajorityConfig(MethodConfig):
    """No options."""


@method("majority", config=MajorityConfig, uses_backbone=False, kinds=KINDS)
class Majority(Method[MajorityConfig]):
    """The most frequent class of the training rows, or their mean, whatever the sequence."""

    _frequencies: np.ndarray

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Count the classes, one added to each count so that none is impossible.

        For multi-label tasks keep the log-odds of each label, for numbers the mean.
        """
        labels = truth(train)
        if self.context.kind == "classes":
            counts = np.bincount(labels, minlength=len(self.context.labels)) + 1.0
            self._frequencies = counts / counts.sum()
        elif self.context.kind == "multi_label":
            self._frequencies = log_odds(labels)
        else:
            self._frequencies = labels.mean(keepdims=True)
        loss, figure = TASK_KINDS[self.context.kind].validate(self.scores(val), truth(val))
        self.validation = {TASK_KINDS[self.context.kind].validation: figure, "loss": loss}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the same scores for every row; see `Method.scores`."""
        classes = self.context.kind == "classes"
        return np.tile(
            np.log(self._frequencies) if classes else self._frequencies, (len(examples), 1)
        )

    @property
    def trainable_parameters(self) -> int:
        """Count C frequencies that sum to one, L independent ones, or one mean."""
        return self.context.free_outputs

    def state(self) -> dict[str, np.ndarray]:
        """Return the frequencies (C,), the log-odds (L,), or the mean (1,)."""
        return {"frequencies": self._frequencies}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the frequencies."""
        if set(state) != {"frequencies"} or state["frequencies"].size != len(self.context.labels):
            raise InputError("the learned state does not hold one frequency per class")
        self._frequencies = state["frequencies"]
