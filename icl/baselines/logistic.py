"""Standardised logistic regression whose prediction needs nothing but its arrays."""

import numpy as np

from icl.baselines.linear import Chosen, Linear, standardised
from icl.scoring import validate

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C (inverse regularisation) between which validation chooses."""


class Logistic(Linear):
    """A fitted model of F features and C classes; its outputs are log-odds up to a number a row."""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """The log-probability of each class, (N, C), for features (N, F)."""
        logits = self.outputs(features)
        top = logits.max(axis=1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


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

    mean, scale = standardised(features)
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
        loss, accuracy = validate("classes", model.scores(val[0]), val[1])
        if best is None or loss < best.loss:
            best = Chosen(model, strength, loss, {"accuracy": accuracy})
    assert best is not None
    return best
