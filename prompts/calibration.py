"""Calibration: one number per class, added to the scores, takes away what a prompt always says.

A prompt prefers some label words whatever the query (Zhao et al. 2021, arXiv 2102.09690). Every
calibration here answers with an offset (C,), of mean zero, for `calibrated`; what differs is where
it is read off: from null queries, from labelled rows, or from unlabelled rows and a known prior.
"""

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

CALIBRATIONS = ("none", "contextual", "offset", "prior")
"""Nothing; null queries; labelled validation rows; unlabelled rows and their prior."""

L2 = 1e-6
"""Pull of a fitted offset towards zero: decides where the rows do not."""

_TOLERANCE = 1e-12
_STEPS = 500


def calibrated(scores: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Adds an offset (C,) to scores (N, C); returns normalised log-probabilities (N, C)."""
    return log_softmax(np.asarray(scores, dtype=np.float64) + offset, axis=1)


def contextual_offset(null_scores: np.ndarray) -> np.ndarray:
    """Offset after which null queries favour no class (Zhao et al. 2021, section 5).

    The inverse of the mean probabilities over the null queries: their W = diag(p_cf)^-1, which
    on log-probabilities is an offset.

    Args:
        null_scores: (M, C) scores of null queries (`prompts.null_queries`).

    Returns:
        (C,) the offset, of mean zero.

    Raises:
        ValueError: if there are no rows, or a score is not finite.
    """
    log_p = log_softmax(_checked(null_scores), axis=1)
    return _centred(-logsumexp(log_p, axis=0))


def fit_offset(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offset of maximum likelihood on labelled rows, under an L2 penalty of `L2`.

    The gradient of the likelihood is the frequency of each class less its mean probability, so
    of the labels only their frequencies matter: this is `prior_offset` to them, on these rows.
    Rows that the scores separate perfectly are no trouble, since an offset moves all rows alike
    and cannot gain without end; inside a wide margin the penalty keeps it close to zero. A class
    without a row is pushed down, and only the penalty keeps its offset finite (10 to 15 below).

    Args:
        scores: (N, C) scores of validation rows.
        labels: (N,) their classes.

    Returns:
        (C,) the offset, of mean zero.

    Raises:
        ValueError: if shapes disagree, there are no rows, or a score is not finite.
    """
    scores, labels = _checked(scores), np.asarray(labels)
    classes = scores.shape[1]
    if labels.shape != scores.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels {labels.shape} do not fit scores {scores.shape}")
    return _matched(scores, np.bincount(labels, minlength=classes) / len(labels), L2)


def prior_offset(scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Offset after which the mean predicted probabilities over the rows are the prior.

    It exists and is unique but for a shift, since the prior is positive. Needs no labels, but all
    rows at once: fit it on validation or training rows, or predictions depend on other test rows.

    Args:
        scores: (N, C) scores of rows.
        prior: (C,) positive, sums to 1.

    Returns:
        (C,) the offset, of mean zero.

    Raises:
        ValueError: if shapes disagree, the prior is none, or a score is not finite.
    """
    scores, prior = _checked(scores), np.asarray(prior, dtype=np.float64)
    if prior.shape != scores.shape[1:] or (prior <= 0).any() or abs(prior.sum() - 1) > 1e-9:
        raise ValueError(f"{prior} is no prior of {scores.shape[1]} classes")
    return _matched(scores, prior, 0.0)


def averaged(scores: np.ndarray) -> np.ndarray:
    """Mean log-probabilities over views of the same rows: strands, or permutations of the words.

    Args:
        scores: (V, N, C) scores of every view, each by class and not by word.

    Returns:
        (N, C) normalised log-probabilities.
    """
    return log_softmax(log_softmax(np.asarray(scores, dtype=np.float64), axis=2).mean(0), axis=1)


def _matched(scores: np.ndarray, target: np.ndarray, l2: float) -> np.ndarray:
    """Newton's method, damped, on the convex function whose gradient is mean(p) - target.

    With o the offset: mean of logsumexp(scores + o) - target . o + l2 / 2 |o|^2.
    """
    rows, classes = scores.shape

    def loss(offset: np.ndarray) -> float:
        along = logsumexp(scores + offset, axis=1).mean() - target @ offset
        return float(along + l2 / 2 * offset @ offset)

    offset = np.zeros(classes)
    for _ in range(_STEPS):
        p = softmax(scores + offset, axis=1)
        gradient = p.mean(0) - target + l2 * offset
        if np.abs(gradient).max() < _TOLERANCE:
            break
        # A shift of all classes changes nothing, and far from every row nothing does: the added
        # terms make the matrix regular and do not move the optimum.
        curvature = (
            np.diag(p.mean(0)) - p.T @ p / rows + 1 / classes + (l2 + 1e-10) * np.eye(classes)
        )
        step, size, here = np.linalg.solve(curvature, gradient), 1.0, loss(offset)
        while loss(offset - size * step) > here - 1e-4 * size * gradient @ step + 1e-14 * abs(here):
            size /= 2
        offset = _centred(offset - size * step)
    return offset


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"need finite scores (N, C) of at least one row, have {scores.shape}")
    return scores


def _centred(offset: np.ndarray) -> np.ndarray:
    return offset - offset.mean()
