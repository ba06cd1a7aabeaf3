"""Standardised linear models of every kind of task; validation chooses their penalty.

Fitted by scikit-learn, they are kept as plain arrays, so a prediction needs nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from backbone.common.errors import InputError
from tasks.kinds import TASK_KINDS
from tasks.task import Kind

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C (inverse regularisation) between which validation chooses."""

MOST_FOR_NEWTON = 1024
"""Most unknowns of a regression for which Newton's method is the faster one."""

RIDGE_STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverses of the ridge penalty on the sum of squared errors, between which validation chooses."""


@dataclass(frozen=True)
class Linear:
    """A fitted model of F features and O outputs.

    Attributes:
        mean: (F,) mean of the training features.
        scale: (F,) their standard deviation, 1 for a constant feature.
        weight: (O, F) change of an output per standard deviation.
        bias: (O,) outputs at the mean.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def outputs(self, features: np.ndarray) -> np.ndarray:
        """Return the outputs (N, O) for features (N, F); each row is computed alone."""
        standard = (features - self.mean) / self.scale
        # One dot product per row (einsum without BLAS): BLAS blocks a matrix product by its number
        # of rows, and the last digits of a row would depend on the others.
        return np.einsum("nf,of->no", standard, self.weight) + self.bias

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return a method's scores for features (N, F): here the outputs, (N, O)."""
        return self.outputs(features)

    def state(self) -> dict[str, np.ndarray]:
        """Return the four arrays by name."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], n_outputs: int) -> Self:
        """Return the model that `state` came from.

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
                f"but the task needs {(n_outputs, n_features)}"
            )
        return model


class Logistic(Linear):
    """A fitted model of C classes; outputs are log-odds, up to a constant per row."""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the log-probability of each class, (N, C), for features (N, F)."""
        logits = self.outputs(features)
        top = logits.max(axis=1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


MODELS: dict[Kind, type[Linear]] = {
    "classes": Logistic,
    "multi_label": Linear,
    "regression": Linear,
}


@dataclass(frozen=True)
class ModelChoice:
    """A model with the penalty that validation chose, and its validation figures.

    Attributes:
        model: The fitted model.
        strength: Inverse of its penalty.
        loss: Loss on the validation rows.
        validation: Further figures of the validation rows, by name.
    """

    model: Any
    strength: float
    loss: float
    validation: dict[str, float]


def mean_and_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (F,) of features (N, F), the latter 1 if it is 0."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(scale > 1e-12, scale, 1.0)


def choose_linear(
    kind: Kind,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    n_outputs: int,
    seed: int,
) -> ModelChoice:
    """Fit once for each strength and keep the model with the lowest validation loss.

    The model is a multinomial logistic regression for classes, one logistic regression per label of
    a multi-label task, with a strength that they share, and a ridge regression for numbers.

    Args:
        kind: Kind of the task.
        train: Features (N, F) and labels as `tasks.task.truth` gives them.
        val: The same of the validation rows.
        n_outputs: Classes or labels; 1 for a number.
        seed: scikit-learn's random_state.
    """
    if kind == "classes":
        return choose_logistic(train, val, n_classes=n_outputs, seed=seed)
    if kind == "multi_label":
        return _best(kind, STRENGTHS, label_path(*train, STRENGTHS, seed=seed), val)
    ridges = [fit_ridge(*train, strength=strength) for strength in RIDGE_STRENGTHS]
    return _best(kind, RIDGE_STRENGTHS, ridges, val)


def _best(
    kind: Kind,
    strengths: Sequence[float],
    models: Sequence[Linear],
    val: tuple[np.ndarray, np.ndarray],
) -> ModelChoice:
    """Return the model with the lowest validation loss, the first of equals.

    Loss decides, not accuracy: on few rows accuracy has ties and jumps.
    """
    of_kind = TASK_KINDS[kind]
    found = [of_kind.validate(model.scores(val[0]), val[1]) for model in models]
    at = min(range(len(found)), key=lambda i: found[i][0])
    loss, figure = found[at]
    return ModelChoice(models[at], strengths[at], loss, {of_kind.validation: figure})


def label_path(
    features: np.ndarray, present: np.ndarray, strengths: Sequence[float], *, seed: int
) -> list[Linear]:
    """Fit one logistic regression per label for each strength; outputs are log-odds.

    Args:
        features: (N, F).
        present: (N, L) of 0 and 1. A label that all rows have, or none, gets the log-odds of its
            frequency, with half a row added to either side.
        strengths: Values of scikit-learn's C, the inverse of the penalty, ascending.
        seed: scikit-learn's random_state.
    """
    mean, scale = mean_and_scale(features)
    standard, count = (features - mean) / scale, len(strengths)
    weight = np.zeros((count, present.shape[1], features.shape[1]))
    bias = np.tile(log_odds(present), (count, 1))
    for label, column in enumerate(present.T):
        if column.min() != column.max():
            fits = _fits(standard, column, strengths, seed)
            for i, (own_weight, own_bias) in enumerate(fits):
                weight[i, label], bias[i, label] = own_weight[0], own_bias[0]
    return [Linear(mean, scale, *one) for one in zip(weight, bias, strict=True)]


def log_odds(present: np.ndarray) -> np.ndarray:
    """Return the log-odds (L,) of labels (N, L) of 0 and 1, half a row added to either side."""
    count = present.sum(axis=0)
    return np.log(count + 0.5) - np.log(len(present) - count + 0.5)


def fit_ridge(features: np.ndarray, numbers: np.ndarray, *, strength: float) -> Linear:
    """Fit least squares with an L2 penalty of 1 / strength, which spares the bias.

    Args:
        features: (N, F).
        numbers: (N,).
        strength: Inverse of the penalty.
    """
    from sklearn.linear_model import Ridge

    mean, scale = mean_and_scale(features)
    ridge = Ridge(alpha=1 / strength).fit((features - mean) / scale, numbers)
    return Linear(mean, scale, ridge.coef_[None], np.array([ridge.intercept_]))


def logistic_path(
    features: np.ndarray,
    labels: np.ndarray,
    strengths: Sequence[float],
    *,
    n_classes: int,
    seed: int,
) -> list[Logistic]:
    """Fit by maximum likelihood with an L2 penalty, once for each strength.

    Args:
        features: (N, F).
        labels: (N,) in 0..n_classes-1; a class may be absent, and is then all but impossible.
        strengths: Values of scikit-learn's C, the inverse of the penalty, ascending.
        n_classes: C.
        seed: scikit-learn's random_state.
    """
    mean, scale = mean_and_scale(features)
    present = np.unique(labels)
    absent = np.full(n_classes, -np.log(1e12))
    if present.size == 1:
        absent[present] = 0.0
        return [Logistic(mean, scale, np.zeros((n_classes, features.shape[1])), absent)] * len(
            strengths
        )
    models = []
    for own_weight, own_bias in _fits((features - mean) / scale, labels, strengths, seed):
        weight, bias = np.zeros((n_classes, features.shape[1])), absent.copy()
        if present.size == 2:  # scikit-learn keeps the log-odds of the second class alone
            own_weight = np.concatenate([np.zeros_like(own_weight), own_weight])
            own_bias = np.append(0.0, own_bias)
        weight[present], bias[present] = own_weight, own_bias
        models.append(Logistic(mean, scale, weight, bias))
    return models


def _fits(
    standard: np.ndarray, labels: np.ndarray, strengths: Sequence[float], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield scikit-learn's weights and intercepts for each strength, each started at the last.

    Newton's method takes a few steps to the optimum, each with a matrix of all unknowns; with many
    of them L-BFGS does.
    """
    from sklearn.linear_model import LogisticRegression

    classes = len(np.unique(labels))
    unknowns = (standard.shape[1] + 1) * (classes if classes > 2 else 1)
    newton = unknowns <= MOST_FOR_NEWTON
    regression = LogisticRegression(
        solver="newton-cholesky" if newton else "lbfgs",
        tol=1e-8 if newton else 1e-4,
        max_iter=2000,
        warm_start=True,
        random_state=seed,
    )
    for strength in strengths:
        regression.set_params(C=strength).fit(standard, labels)
        yield regression.coef_.copy(), regression.intercept_.copy()


def choose_logistic(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    n_classes: int,
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> ModelChoice:
    """Fit once for each strength and keep the one with the lowest validation loss.

    Args:
        train: Features (N, F) and labels (N,).
        val: The same of the validation rows.
        n_classes: C.
        seed: scikit-learn's random_state.
        strengths: Values of C to try, from strong to weak penalty.
    """
    models = logistic_path(*train, strengths, n_classes=n_classes, seed=seed)
    return _best("classes", strengths, models, val)
