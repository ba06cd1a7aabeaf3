"""The bases of methods that are a linear model on features of the sequence."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from icl.baselines.linear import MODELS, Linear, choose_linear
from icl.method import ConfigT, Method
from tasks.task import Example, truth


class FeatureRegression(Method[ConfigT]):
    """A logistic or, for numbers, a ridge regression; a subclass defines the features.

    Learns a weight per feature and a bias, per output.
    """

    _model: Linear

    @abstractmethod
    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the features of each row, (N, F) float64; no row depends on another."""

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Fit on the training rows; validation chooses the penalty."""
        chosen = choose_linear(
            self.context.kind,
            (self.features(train), truth(train)),
            (self.features(val), truth(val)),
            n_outputs=len(self.context.labels),
            seed=self.context.seed,
        )
        self._model = chosen.model
        self.validation = chosen.validation | {"loss": chosen.loss, "strength": chosen.strength}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return scores; see `Method.scores`."""
        return self._model.scores(self.features(examples))

    @property
    def trainable_parameters(self) -> int:
        """Count a weight per feature and a bias per output; one of the classes is implied."""
        return self.context.free_outputs * (self._model.mean.size + 1)

    def state(self) -> dict[str, np.ndarray]:
        """Return the regression's arrays."""
        return self._model.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the regression's arrays."""
        model = MODELS[self.context.kind]
        self._model = model.from_state(state, len(self.context.labels))


class BackboneRegression(FeatureRegression[ConfigT]):
    """A regression on what the backbone makes of whole rows."""

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that the backbone cannot read whole."""
        from icl.inference.batches import check_lengths

        backbone = self.context.load_backbone()
        check_lengths([e.sequence for e in examples], backbone.config.max_seq_len)
