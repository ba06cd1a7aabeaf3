"""Calibration: an offset per class, added to the scores, that removes the prompt's prior.

A prompt prefers some label words whatever the query (Zhao et al. 2021, arXiv 2102.09690). Each
function here returns an offset (C,) of mean zero for `calibrate`, estimated on null queries, on
labelled rows, or on unlabelled rows with a known prior.
"""

import numpy as np
import scipy

CALIBRATIONS = ("none", "contextual", "offset", "prior")
"""No offset; from null queries; from labelled rows; from unlabelled rows and a known prior."""

L2 = 1e-6
"""L2 penalty of a fitted offset, which decides where the rows do not."""

SCALES = (1e-3, 1e3)
"""Least and greatest scale that is fitted to scores of unit deviation."""

SCALE_L2 = 1e-2
"""L2 penalty of a scale fitted to scores of unit deviation, for all rows together: it ends the
growth on separable rows."""


LEAST_DEVIATION = 1e-6
"""Deviation below which scores are taken for equal."""


def calibrate(scores: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the log-probabilities (N, C) of scores (N, C) plus an offset (C,)."""
    return scipy.special.log_softmax(np.asarray(scores, dtype=np.float64) + offset, axis=1)


def contextual_offset(null_scores: np.ndarray) -> np.ndarray:
    """Return the offset after which null queries favour no class (Zhao et al. 2021, section 5).

    The inverse of the mean probabilities over the null queries: their W = diag(p_cf)^-1, which
    on log-probabilities is an offset.

    Args:
        null_scores: (M, C) scores of null queries (`prompts.null_queries`).

    Returns:
        The offset (C,), of mean zero.

    Raises:
        ValueError: If there are no rows, or a score is not finite.
    """
    log_p = scipy.special.log_softmax(_checked(null_scores), axis=1)
    return _centred(-scipy.special.logsumexp(log_p, axis=0))


def fit_offset(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the offset of maximum likelihood on labelled rows, under an L2 penalty of `L2`.

    The gradient of the likelihood is the frequency of each class less its mean probability, so only
    the frequencies of the labels matter: this is `prior_offset` with those frequencies. The offset
    stays finite where scores separate the rows perfectly, since it shifts all rows alike; inside a
    wide margin the penalty keeps it close to zero. Only the penalty keeps the offset of a class
    without rows finite (10 to 15 below the others).

    Args:
        scores: (N, C) scores of validation rows.
        labels: (N,) their classes.

    Returns:
        The offset (C,), of mean zero.

    Raises:
        ValueError: If shapes disagree, there are no rows, or a score is not finite.
    """
    scores, labels = _checked(scores), np.asarray(labels)
    classes = scores.shape[1]
    if labels.shape != scores.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels {labels.shape} do not fit scores {scores.shape}")
    return _match(scores, np.bincount(labels, minlength=classes) / len(labels), L2)


def fit_scale_and_offset(
    scores: np.ndarray, labels: np.ndarray, least: float = 0.0
) -> tuple[float, np.ndarray]:
    """Return the scale and the offset of maximum likelihood on labelled rows.

    Likelihoods of long rows are far more certain than the classes are (their bases are no
    independent witnesses), so their scale is fitted with the offset; the problem is convex in
    both. The scale never reverses what the scores say, and does not depend on their unit.

    Args:
        scores: (N, C) scores of rows.
        labels: (N,) classes.
        least: The least scale.

    Returns:
        The scale, and the offset (C,) of mean zero to add to the scaled scores.

    Raises:
        ValueError: If shapes disagree, there are no rows, or a score is not finite.
    """
    scores, labels = _checked(scores), np.asarray(labels)
    rows, classes = scores.shape
    # Differences between classes are all that counts; the mean over them would only add rounding.
    scores = scores - scores.mean(axis=1, keepdims=True)
    mean = scores.mean(axis=0)
    deviation = float((scores - mean).std())
    unit = deviation if deviation > LEAST_DEVIATION else 1.0
    scores = (scores - mean) / unit
    target = np.bincount(labels, minlength=classes) / rows
    chosen = scores[np.arange(rows), labels].mean()
    lowest = max(SCALES[0], least * unit)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, offset = parameters[0], parameters[1:]
        scaled = scale * scores + offset
        p = scipy.special.softmax(scaled, axis=1)
        loss = scipy.special.logsumexp(scaled, axis=1).mean() - scale * chosen - target @ offset
        penalty = L2 / 2 * (offset @ offset) + SCALE_L2 / (2 * rows) * scale**2
        by_scale = (p * scores).sum(axis=1).mean() - chosen + SCALE_L2 / rows * scale
        return float(loss + penalty), np.append(by_scale, p.mean(axis=0) - target + L2 * offset)

    found = scipy.optimize.minimize(
        objective,
        np.append(max(1.0, lowest), np.zeros(classes)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(lowest, max(SCALES[1], lowest)), *[(None, None)] * classes],
        options={"gtol": 1e-9, "ftol": 1e-15, "maxiter": 1000},
    ).x
    scale = float(found[0]) / unit
    return scale, _centred(found[1:] - scale * mean)


def fitted(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return scores (N, C) with the scale and offsets that fit their own labels (N,) best.

    So prompts are compared by what they say, and not by how well their scale has been tuned yet.
    """
    scale, offset = fit_scale_and_offset(scores, labels)
    return calibrate(scale * scores, offset)


def prior_offset(scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the offset after which the mean predicted probabilities are the prior.

    The offset is unique, since the prior is positive. It needs no labels but all rows at once: fit
    it on validation or training rows, or predictions depend on other test rows.

    Args:
        scores: (N, C) scores of rows.
        prior: (C,) positive, sums to 1.

    Returns:
        The offset (C,), of mean zero.

    Raises:
        ValueError: If shapes disagree, the prior is not one, or a score is not finite.
    """
    scores, prior = _checked(scores), np.asarray(prior, dtype=np.float64)
    if prior.shape != scores.shape[1:] or (prior <= 0).any() or abs(prior.sum() - 1) > 1e-9:
        raise ValueError(f"{prior} is no prior of {scores.shape[1]} classes")
    return _match(scores, prior, 0.0)


def average_views(scores: np.ndarray) -> np.ndarray:
    """Return mean log-probabilities over views of the same rows: strands, or orders of the words.

    Args:
        scores: (V, N, C) scores of every view, each by class and not by word.

    Returns:
        (N, C) normalised log-probabilities.
    """
    return scipy.special.log_softmax(
        scipy.special.log_softmax(np.asarray(scores, dtype=np.float64), axis=2).mean(0), axis=1
    )


def _match(scores: np.ndarray, target: np.ndarray, l2: float) -> np.ndarray:
    """Return the offset whose mean predicted probabilities over the rows are `target`.

    It minimises mean(logsumexp(scores + offset)) - target . offset + l2 / 2 |offset|^2, which is
    convex; its gradient is mean(p) - target + l2 * offset. A shift of all classes alike changes no
    probability, so the square of the offset's sum is added, which is 0 at the optimum.
    """
    rows, classes = scores.shape

    def objective(offset: np.ndarray) -> float:
        fit = scipy.special.logsumexp(scores + offset, axis=1).mean() - target @ offset
        return float(fit + (l2 * offset @ offset + offset.sum() ** 2 / classes) / 2)

    def gradient(offset: np.ndarray) -> np.ndarray:
        mean = scipy.special.softmax(scores + offset, axis=1).mean(axis=0)
        return mean - target + l2 * offset + offset.sum() / classes

    def hessian(offset: np.ndarray) -> np.ndarray:
        p = scipy.special.softmax(scores + offset, axis=1)
        return np.diag(p.mean(axis=0) + l2) - p.T @ p / rows + 1 / classes

    # From where the classes have equal mean scores: near the optimum, however far apart they are.
    start = _centred(-scores.mean(axis=0))
    if objective(start) > objective(np.zeros(classes)):
        start = np.zeros(classes)
    found = scipy.optimize.minimize(
        objective, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-8}
    ).x
    # The objective cannot tell offsets apart whose gradients are below 1e-8; the gradient can.
    exact = scipy.optimize.root(gradient, found, jac=hessian, tol=1e-13).x
    closer = np.abs(gradient(exact)).max() < np.abs(gradient(found)).max()
    return _centred(exact if closer else found)


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"need finite scores (N, C) of at least one row, have {scores.shape}")
    return scores


def _centred(offset: np.ndarray) -> np.ndarray:
    return offset - offset.mean()
