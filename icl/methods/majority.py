"""The baseline that has not read the sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.errors import InputError
from icl.logistic import validate
from icl.methods.base import Method, MethodConfig, method
from tasks.task import Example


@dataclass
class MajorityConfig(MethodConfig):
    """No options."""


@method("majority", config=MajorityConfig, uses_backbone=False)
class Majority(Method[MajorityConfig]):
    """The most frequent class of the training rows, whatever the sequence."""

    _frequencies: np.ndarray

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Count the classes, one added to each count so that none is impossible."""
        counts = np.bincount([e.label for e in train], minlength=len(self.context.labels)) + 1.0
        self._frequencies = counts / counts.sum()
        accuracy, loss = validate(self.scores(val), np.array([e.label for e in val]))
        self.validation = {"accuracy": accuracy, "loss": loss}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """The logarithm of the training frequencies, (N, C), for every row alike."""
        return np.tile(np.log(self._frequencies), (len(examples), 1))

    @property
    def trainable_parameters(self) -> int:
        """C frequencies that sum to one."""
        return len(self.context.labels) - 1

    def state(self) -> dict[str, np.ndarray]:
        """The frequencies, (C,)."""
        return {"frequencies": self._frequencies}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the frequencies."""
        if set(state) != {"frequencies"} or state["frequencies"].size != len(self.context.labels):
            raise InputError("the learned state does not hold one frequency per class")
        self._frequencies = state["frequencies"]
