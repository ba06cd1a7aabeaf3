"""Standardised logistic regression whose prediction needs nothing but its arrays."""

from dataclasses import dataclass

import numpy as np

from backbone.errors import InputError

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C (inverse regularisation) between which validation chooses."""


@dataclass(frozen=True)
class Logistic:
    """A fitted model of F features and C classes.

    Attributes:
        mean: (F,) of the training features.
        scale: (F,) their standard deviation, 1 where a feature is constant.
        weight: (C, F) log-odds a standard deviation.
        bias: (C,) log-odds at the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Of each class, (N, C), for features (N, F); each row is computed alone."""
        standard = (features - self.mean) / self.scale
        # One dot product a row (einsum without BLAS): BLAS blocks a matrix product by its number
        # of rows, and the last digits of a row would then depend on its neighbours.
        logits = np.einsum("nf,cf->nc", standard, self.weight) + self.bias
        top = logits.max(axis=1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))

    def state(self) -> dict[str, np.ndarray]:
        """The four arrays by name."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], n_classes: int) -> "Logistic":
        """The model that `state` came from.

        Raises:
            InputError: If an array is missing or misshapen.
        """
        missing = [name for name in ("mean", "scale", "weight", "bias") if name not in state]
        if missing:
            raise InputError(f"the learned state has no array {', '.join(missing)}")
        model = cls(state["mean"], state["scale"], state["weight"], state["bias"])
        n_features = model.mean.size
        if model.weight.shape != (n_classes, n_features) or model.scale.shape != (n_features,):
            raise InputError(
                f"the learned state holds weights {model.weight.shape}, "
                f"needed are {(n_classes, n_features)}"
            )
        return model


@dataclass(frozen=True)
class Chosen:
    """A model with the strength that validation chose, and what validation said."""

    model: Logistic
    strength: float
    accuracy: float
    loss: float


def fit_logistic(
    features: np.ndarray, labels: np.ndarray, *, strength: float, n_classes: int, seed: int
) -> Logistic:
    """Fit by maximum likelihood with an L2 penalty.

    Args:
        features: (N, F).
        labels: (N,) in 0..n_classes-1; a class may be absent, and is then all but impossible.
        strength: scikit-learn's C, the inverse of the penalty.
        n_classes: C.
        seed: scikit-learn's random_state.
    """
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    present = np.unique(labels)
    weight = np.zeros((n_classes, features.shape[1]))
    bias = np.full(n_classes, -np.log(1e12))
    if present.size == 1:
        bias[present] = 0.0
        return Logistic(mean, scale, weight, bias)
    regression = LogisticRegression(C=strength, max_iter=2000, random_state=seed)
    regression.fit((features - mean) / scale, labels)
    if present.size == 2:  # scikit-learn then keeps the second class's log-odds alone
        bias[present[0]] = 0.0
        bias[present[1]] = regression.intercept_[0]
        weight[present[1]] = regression.coef_[0]
    else:
        bias[present] = regression.intercept_
        weight[present] = regression.coef_
    return Logistic(mean, scale, weight, bias)


def choose_logistic(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    n_classes: int,
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Chosen:
    """Fit once for each strength and keep the one with the lowest validation loss.

    Loss decides, not accuracy: on few rows accuracy has ties and jumps.

    Args:
        train: Features (N, F) and labels (N,).
        val: The same for the rows that choose.
        n_classes: C.
        seed: scikit-learn's random_state.
        strengths: Values of C to try, from strong to weak penalty.
    """
    best: Chosen | None = None
    for strength in strengths:
        model = fit_logistic(*train, strength=strength, n_classes=n_classes, seed=seed)
        accuracy, loss = validate(model.log_probabilities(val[0]), val[1])
        if best is None or loss < best.loss:
            best = Chosen(model, strength, accuracy, loss)
    assert best is not None
    return best


def validate(log_probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean negative log-likelihood of (N, C) log-probabilities."""
    accuracy = float((log_probabilities.argmax(axis=1) == labels).mean())
    loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
    return accuracy, loss
