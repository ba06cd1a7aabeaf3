"""How far the share of G and C alone goes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.dna import gc_content
from icl.logistic import Logistic, choose_logistic
from icl.methods.base import Method, MethodConfig, method
from tasks.task import Example


@dataclass
class GCOnlyConfig(MethodConfig):
    """No options."""


@method("gc_only", config=GCOnlyConfig, uses_backbone=False)
class GCOnly(Method[GCOnlyConfig]):
    """Logistic regression on the GC content and its square."""

    _model: Logistic

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Fit on the training rows; validation chooses the penalty."""
        chosen = choose_logistic(
            (_features(train), np.array([e.label for e in train])),
            (_features(val), np.array([e.label for e in val])),
            n_classes=len(self.context.labels),
            seed=self.context.seed,
        )
        self._model = chosen.model
        self.validation = {
            "accuracy": chosen.accuracy,
            "loss": chosen.loss,
            "strength": chosen.strength,
        }

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C)."""
        return self._model.log_probabilities(_features(examples))

    @property
    def trainable_parameters(self) -> int:
        """Two weights and a bias per class but one."""
        return (len(self.context.labels) - 1) * 3

    def state(self) -> dict[str, np.ndarray]:
        """The regression's arrays."""
        return self._model.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the regression's arrays."""
        self._model = Logistic.from_state(state, len(self.context.labels))


def _features(examples: Sequence[Example]) -> np.ndarray:
    gc = np.array([gc_content(e.sequence) for e in examples])
    return np.stack([gc, gc**2], axis=1)
