"""Standardised linear models whose prediction needs nothing but their arrays."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from backbone.common.errors import InputError


@dataclass(frozen=True)
class Linear:
    """A fitted model of F features and O outputs.

    Attributes:
        mean: (F,) of the training features.
        scale: (F,) their standard deviation, 1 where a feature is constant.
        weight: (O, F) change of the output a standard deviation.
        bias: (O,) output at the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def outputs(self, features: np.ndarray) -> np.ndarray:
        """The outputs (N, O) for features (N, F); each row is computed alone."""
        standard = (features - self.mean) / self.scale
        # One dot product a row (einsum without BLAS): BLAS blocks a matrix product by its number
        # of rows, and the last digits of a row would then depend on its neighbours.
        return np.einsum("nf,of->no", standard, self.weight) + self.bias

    def scores(self, features: np.ndarray) -> np.ndarray:
        """What a method gives for features (N, F): here the outputs as they are, (N, O)."""
        return self.outputs(features)

    def state(self) -> dict[str, np.ndarray]:
        """The four arrays by name."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], n_outputs: int) -> Self:
        """The model that `state` came from.

        Raises:
            InputError: If an array is missing or misshapen.
        """
        missing = [name for name in ("mean", "scale", "weight", "bias") if name not in state]
        if missing:
            raise InputError(f"the learned state has no array {', '.join(missing)}")
        model = cls(state["mean"], state["scale"], state["weight"], state["bias"])
        n_features = model.mean.size
        if model.weight.shape != (n_outputs, n_features) or model.scale.shape != (n_features,):
            raise InputError(
                f"the learned state holds weights {model.weight.shape}, "
                f"needed are {(n_outputs, n_features)}"
            )
        return model


@dataclass(frozen=True)
class Chosen:
    """A model with the strength that validation chose, and what validation said.

    Attributes:
        model: The fitted model.
        strength: Inverse of its penalty.
        loss: On the validation rows.
        validation: Further figures of the validation rows, by name.
    """

    model: Any
    strength: float
    loss: float
    validation: dict[str, float]


def standardised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (F,) of features (N, F), the latter 1 where there is none."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(scale > 1e-12, scale, 1.0)
