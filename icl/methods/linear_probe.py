"""What the frozen states hold, whether or not a prompt can bring it to a label word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icl.logistic import Logistic, choose_logistic
from icl.methods.base import Method, MethodConfig, method
from tasks.task import Example


@dataclass
class LinearProbeConfig(MethodConfig):
    """No options."""


@method("linear_probe", config=LinearProbeConfig)
class LinearProbe(Method[LinearProbeConfig]):
    """Logistic regression on the backbone's mean-pooled frozen states, both strands averaged."""

    _model: Logistic

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that the backbone cannot read whole."""
        from icl.queries import check_lengths

        backbone = self.context.load_backbone()
        check_lengths([e.sequence for e in examples], backbone.config.max_seq_len)

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Embed once, fit on the training rows; validation chooses the penalty."""
        chosen = choose_logistic(
            (self._features(train), np.array([e.label for e in train])),
            (self._features(val), np.array([e.label for e in val])),
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
        return self._model.log_probabilities(self._features(examples))

    def _features(self, examples: Sequence[Example]) -> np.ndarray:
        from icl.embedding import embed_sequences

        return embed_sequences(
            self.context.load_backbone(),
            [e.sequence for e in examples],
            device=self.context.device,
            precision=self.context.precision,
        )

    @property
    def trainable_parameters(self) -> int:
        """A weight per hidden dimension and a bias, per class but one."""
        return (len(self.context.labels) - 1) * (self._model.mean.size + 1)

    def state(self) -> dict[str, np.ndarray]:
        """The regression's arrays."""
        return self._model.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the regression's arrays."""
        self._model = Logistic.from_state(state, len(self.context.labels))
