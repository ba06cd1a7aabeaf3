import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from prompts.calibration import (
    average_views,
    calibrate,
    contextual_offset,
    fit_offset,
    fit_scale_and_offset,
    prior_offset,
)
from tasks.metrics.classification import evaluate

BIASES = [np.array([1.5, -0.5]), np.array([2.0, 0.0, -1.0]), np.array([0.3, -2.0, 1.0, 3.0, 0.0])]


def biased_model(bias: np.ndarray, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from a posterior, and scores: its logarithm and a constant."""
    random = np.random.default_rng(len(bias))
    posterior = softmax(2 * random.normal(size=(n, len(bias))), axis=1)
    labels = (random.random((n, 1)) > posterior.cumsum(axis=1)).sum(axis=1)
    return np.log(posterior) + bias, labels.clip(max=len(bias) - 1)


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()


def skewed(rows: int, classes: int, seed: int, scale: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    return scale * (random.normal(size=(rows, classes)) + random.normal(size=classes))


@pytest.mark.parametrize("bias", BIASES, ids=len)
def test_contextual_recovers_a_known_bias_exactly(bias):
    # Of a null query, every class is as likely; a shift of a whole row means nothing.
    nulls = np.tile(bias, (7, 1)) + np.arange(7)[:, None]
    assert contextual_offset(nulls) == pytest.approx(-centred(bias), abs=1e-12)


@pytest.mark.parametrize("bias", BIASES, ids=len)
def test_prior_matching_recovers_a_known_bias_exactly(bias):
    scores, _ = biased_model(bias)
    prior = softmax(scores - bias, axis=1).mean(axis=0)
    assert prior_offset(scores, prior) == pytest.approx(-centred(bias), abs=1e-9)


@pytest.mark.parametrize("bias", BIASES, ids=len)
def test_fitted_offset_recovers_a_known_bias_up_to_the_noise_of_labels(bias):
    scores, labels = biased_model(bias)
    assert fit_offset(scores, labels) == pytest.approx(-centred(bias), abs=0.06)


@pytest.mark.parametrize("bias", BIASES, ids=len)
def test_calibration_error_falls_and_accuracy_rises_where_the_bias_goes(bias):
    scores, labels = biased_model(bias)
    scores, labels, val, val_labels = scores[:4000], labels[:4000], scores[4000:], labels[4000:]
    before = evaluate(labels, scores, resamples=2)
    offsets = (
        contextual_offset(bias[None]),
        fit_offset(val, val_labels),
        prior_offset(val, np.bincount(val_labels) / len(val_labels)),
    )
    for offset in offsets:
        after = evaluate(labels, calibrate(scores, offset), resamples=2)
        assert after["ece"].value < 0.03 < 0.08 < before["ece"].value
        assert after["accuracy"].value > before["accuracy"].value + 0.02


def test_contextual_averages_probabilities_as_the_paper_does():
    p = np.array([[0.9, 0.1], [0.5, 0.5]])  # means 0.7 and 0.3: odds of 7 to 3 to take away
    after = calibrate(np.log([[0.7, 0.3]]), contextual_offset(np.log(p)))
    assert np.exp(after) == pytest.approx(np.array([[0.5, 0.5]]))
    assert np.diff(contextual_offset(np.log(p))) == pytest.approx(np.log(7 / 3))


def test_fitted_offset_is_the_intercept_of_a_logistic_regression():
    # With two classes: regress on the log-odds, whose coefficient is held at 1 by their scale.
    scores, labels = biased_model(BIASES[0], n=3000)
    odds = scores[:, 1] - scores[:, 0]
    regression = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], labels)
    slope, intercept = regression.coef_[0, 0], regression.intercept_[0]
    offset = fit_offset(slope * scores, labels)
    assert offset[1] - offset[0] == pytest.approx(intercept, abs=1e-4)


def test_fitted_offset_is_prior_matching_to_the_frequencies_of_the_labels():
    scores, labels = biased_model(BIASES[1], n=500)
    matched = prior_offset(scores, np.bincount(labels) / 500)
    assert fit_offset(scores, labels) == pytest.approx(matched, abs=1e-4)


def test_rows_that_are_separated_perfectly_leave_the_offset_small():
    labels = np.array([0, 0, 1, 2, 2])
    scores = 40.0 * np.eye(3)[labels]
    assert np.abs(fit_offset(scores, labels)).max() < 0.1
    # Where separation takes an offset, one is found, and it separates.
    offset = fit_offset(scores + [100.0, 0.0, 0.0], labels)
    assert ((scores + [100.0, 0.0, 0.0] + offset).argmax(axis=1) == labels).all()
    assert np.abs(offset).max() < 100


def test_a_class_without_rows_is_pushed_down_by_a_finite_offset():
    offset = fit_offset(np.zeros((20, 3)), np.repeat([0, 1], 10))
    assert offset[0] == pytest.approx(offset[1])
    assert -20 < offset[2] - offset[0] < -10


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60), st.integers(2, 20), st.integers(0, 10**6), st.floats(0, 3), st.floats(1, 9)
)
def test_mean_probabilities_are_the_prior_after_matching(rows, classes, seed, decades, unevenness):
    scores = skewed(rows, classes, seed, scale=10**decades)
    prior = softmax(np.random.default_rng(seed).normal(size=classes) * unevenness / 3)
    offset = prior_offset(scores, prior)
    assert np.exp(calibrate(scores, offset)).mean(axis=0) == pytest.approx(prior, abs=1e-6)
    assert offset.sum() == pytest.approx(0, abs=1e-6 * max(1, np.abs(offset).max()))


def test_calibrated_scores_are_normalised_and_rows_do_not_touch():
    scores = skewed(9, 3, seed=0, scale=5.0)
    after = calibrate(scores, np.array([1.0, 0.0, -1.0]))
    assert np.exp(after).sum(axis=1) == pytest.approx(np.ones(9))
    alone = np.concatenate([calibrate(row[None], np.array([1.0, 0.0, -1.0])) for row in scores])
    assert (alone == after).all()


def test_averaging_over_permutations_takes_away_what_words_prefer():
    # A score is the evidence for the class and the preference for its word; over both ways of
    # giving the words, each class had each word once.
    evidence, preference = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([5.0, -1.0])
    views = np.stack([evidence + preference, evidence + preference[::-1]])
    assert average_views(views) == pytest.approx(log_softmax(evidence, axis=1))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: contextual_offset(np.zeros((0, 2))),
        lambda: contextual_offset(np.array([[0.0, -np.inf]])),
        lambda: fit_offset(np.zeros((3, 2)), np.array([0, 1])),
        lambda: fit_offset(np.zeros((3, 2)), np.array([0, 1, 2])),
        lambda: prior_offset(np.zeros((3, 2)), np.array([1.0, 0.0])),
        lambda: prior_offset(np.zeros((3, 2)), np.array([0.7, 0.7])),
        lambda: prior_offset(np.zeros((3, 2)), np.array([0.2, 0.3, 0.5])),
    ],
)
def test_what_cannot_be_calibrated_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize("classes", [2, 3])
def test_scale_and_offset_are_those_of_logistic_regression_whatever_the_unit(classes):
    random = np.random.default_rng(classes)
    labels = random.integers(classes, size=400)
    scores = random.normal(size=(400, classes)) + 0.7 * np.eye(classes)[labels]
    scale, offset = fit_scale_and_offset(scores, labels)

    def loss(parameters):
        moved = log_softmax(parameters[0] * scores + np.append(0, parameters[1:]), axis=1)
        return -moved[np.arange(400), labels].mean()

    best = minimize(loss, np.append(1, np.zeros(classes - 1)), tol=1e-12).x
    assert scale == pytest.approx(best[0], rel=1e-3)
    np.testing.assert_allclose(offset[1:] - offset[0], best[1:], atol=1e-3)
    other, moved = fit_scale_and_offset(1e4 * scores + 50 * np.arange(classes), labels)
    assert other == pytest.approx(scale / 1e4, rel=1e-5)
    np.testing.assert_allclose(centred(moved + other * 50 * np.arange(classes)), offset, atol=1e-5)


def test_scores_that_say_nothing_get_the_least_scale():
    labels = np.arange(10) % 2
    assert fit_scale_and_offset(np.zeros((10, 2)), labels, least=0.5)[0] == pytest.approx(0.5)
    reversed_scores = -np.eye(2)[labels]
    assert fit_scale_and_offset(reversed_scores, labels, least=0.5)[0] == pytest.approx(0.5)
