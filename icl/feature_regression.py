"""What methods share that are a logistic regression on features of the sequence."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from icl.logistic import Logistic, choose_logistic
from icl.methods.base import ConfigT, Method
from tasks.task import Example


class FeatureRegression(Method[ConfigT]):
    """A logistic regression; a subclass says on which features."""

    _model: Logistic

    @abstractmethod
    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Numbers that describe each row, (N, F) float64; no row depends on another."""

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Fit on the training rows; validation chooses the penalty."""
        chosen = choose_logistic(
            (self.features(train), np.array([e.label for e in train])),
            (self.features(val), np.array([e.label for e in val])),
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
        return self._model.log_probabilities(self.features(examples))

    @property
    def trainable_parameters(self) -> int:
        """A weight per feature and a bias, per class but one."""
        return (len(self.context.labels) - 1) * (self._model.mean.size + 1)

    def state(self) -> dict[str, np.ndarray]:
        """The regression's arrays."""
        return self._model.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the regression's arrays."""
        self._model = Logistic.from_state(state, len(self.context.labels))
