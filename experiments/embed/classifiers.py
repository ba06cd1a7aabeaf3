"""Classifiers on given features: what a layer of a frozen model, or a table of counts, tells."""

from collections.abc import Callable

import numpy as np

from icl.baselines.linear import choose_logistic

Rows = tuple[np.ndarray, np.ndarray]
"""Features (N, F) and labels (N,)."""


def logistic(train: Rows, val: Rows, test: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Log-probabilities (N, C) by standardised logistic regression; validation chooses the penalty.

    Args:
        train: Rows that are learned from.
        val: Rows that choose.
        test: Features (N, F) of the rows that are scored.
        n_classes: C.
        seed: scikit-learn's random_state.
    """
    return choose_logistic(train, val, n_classes=n_classes, seed=seed).model.scores(test)


def boosting(train: Rows, val: Rows, test: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Log-probabilities (N, C) by gradient boosting of trees on histograms.

    The rounds with the least loss on validation are kept. Arguments as of `logistic`.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=5,
        early_stopping=True, n_iter_no_change=20, scoring="loss", random_state=seed,
    )  # fmt: skip
    model.fit(*train, X_val=val[0], y_val=val[1])
    found = np.full((len(test), n_classes), -np.inf)
    with np.errstate(divide="ignore"):
        found[:, model.classes_.astype(int)] = np.log(model.predict_proba(test))
    return found


CLASSIFIERS: dict[str, Callable[[Rows, Rows, np.ndarray, int, int], np.ndarray]] = {
    "logistic": logistic,
    "boosting": boosting,
}
"""The classifiers by name."""
