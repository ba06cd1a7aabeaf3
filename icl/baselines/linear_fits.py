"""Linear models of every kind of task; validation chooses how strongly they are held back."""

import numpy as np

from icl.baselines.linear import Chosen, Linear, standardised
from icl.baselines.logistic import STRENGTHS, Logistic, choose_logistic, fit_logistic
from icl.scoring import VALIDATION, validate
from tasks.task import Kind

RIDGE_STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverses of the ridge penalty on the sum of squared errors, between which validation chooses."""

MODELS: dict[Kind, type[Linear]] = {
    "classes": Logistic,
    "multi_label": Linear,
    "regression": Linear,
}


def choose_linear(
    kind: Kind,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    *,
    n_outputs: int,
    seed: int,
) -> Chosen:
    """Fit once for each strength and keep the model with the lowest validation loss.

    Classes have a multinomial logistic regression, several labels one logistic regression each
    with a strength that they share, and a number has a ridge regression.

    Args:
        kind: Of the task.
        train: Features (N, F) and labels as `tasks.task.truth` gives them.
        val: The same for the rows that choose.
        n_outputs: Classes or labels; 1 for a number.
        seed: scikit-learn's random_state.
    """
    if kind == "classes":
        return choose_logistic(train, val, n_classes=n_outputs, seed=seed)
    best: Chosen | None = None
    for strength in STRENGTHS if kind == "multi_label" else RIDGE_STRENGTHS:
        if kind == "multi_label":
            model = fit_labels(*train, strength=strength, seed=seed)
        else:
            model = fit_ridge(*train, strength=strength)
        loss, figure = validate(kind, model.scores(val[0]), val[1])
        if best is None or loss < best.loss:
            best = Chosen(model, strength, loss, {VALIDATION[kind]: figure})
    assert best is not None
    return best


def fit_labels(features: np.ndarray, present: np.ndarray, *, strength: float, seed: int) -> Linear:
    """One logistic regression a label; outputs are log-odds.

    Args:
        features: (N, F).
        present: (N, L) of 0 and 1. A label that all rows have, or none, has the log-odds of its
            frequency, half a row added to either side.
        strength: scikit-learn's C, the inverse of the penalty.
        seed: scikit-learn's random_state.
    """
    mean, scale = standardised(features)
    weight = np.zeros((present.shape[1], features.shape[1]))
    bias = log_odds(present)
    for label, column in enumerate(present.T):
        if column.min() != column.max():
            one = fit_logistic(features, column, strength=strength, n_classes=2, seed=seed)
            weight[label], bias[label] = one.weight[1] - one.weight[0], one.bias[1] - one.bias[0]
    return Linear(mean, scale, weight, bias)


def log_odds(present: np.ndarray) -> np.ndarray:
    """Of the frequency of each label in (N, L) of 0 and 1, half a row added to each side, (L,)."""
    count = present.sum(axis=0)
    return np.log(count + 0.5) - np.log(len(present) - count + 0.5)


def fit_ridge(features: np.ndarray, numbers: np.ndarray, *, strength: float) -> Linear:
    """Least squares with an L2 penalty of 1 / strength; the bias is free of it.

    Args:
        features: (N, F).
        numbers: (N,).
        strength: Inverse of the penalty.
    """
    from sklearn.linear_model import Ridge

    mean, scale = standardised(features)
    ridge = Ridge(alpha=1 / strength).fit((features - mean) / scale, numbers)
    return Linear(mean, scale, ridge.coef_[None], np.array([ridge.intercept_]))
