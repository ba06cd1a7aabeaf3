"""Metrics of several labels and of numbers, against scikit-learn and SciPy row by row."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from tasks.metrics.bootstrap import bootstrap_weights
from tasks.metrics.multi_label import evaluate_labels
from tasks.metrics.regression import evaluate_numbers

LABELS = ("a", "b", "c")
GROUPS = {"TF": ("a", "b"), "HM": ("c",)}


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    present = (random.random((60, 3)) < [0.5, 0.4, 0.7]).astype(int)
    scores = np.round(present + random.normal(0, 1, present.shape), 1)  # with ties
    return present, scores


def test_labels_have_the_areas_of_scikit_learn(drawn):
    present, scores = drawn
    metrics, by_label = evaluate_labels(present, scores, LABELS, GROUPS, resamples=50)
    roc = [roc_auc_score(present[:, i], scores[:, i]) for i in range(3)]
    precision = [average_precision_score(present[:, i], scores[:, i]) for i in range(3)]
    assert [by_label[name].value for name in LABELS] == pytest.approx(roc)
    assert metrics["auroc"].value == pytest.approx(np.mean(roc))
    assert metrics["auroc_TF"].value == pytest.approx(np.mean(roc[:2]))
    assert metrics["auroc_HM"].value == pytest.approx(roc[2])
    assert metrics["auprc"].value == pytest.approx(np.mean(precision))
    assert metrics["auprc_TF"].value == pytest.approx(np.mean(precision[:2]))


def test_intervals_are_quantiles_over_rows_drawn_anew(drawn):
    present, scores = drawn
    metrics, _ = evaluate_labels(present, scores, LABELS, {}, resamples=200, seed=3)
    draws = []
    for weights in bootstrap_weights(60, 200, 3):
        for times in weights.astype(int):
            rows = np.repeat(np.arange(60), times)
            draws.append(
                np.mean([roc_auc_score(present[rows, i], scores[rows, i]) for i in range(3)])
            )
    low, high = np.quantile(draws, [0.025, 0.975])
    assert metrics["auroc"].low == pytest.approx(low)
    assert metrics["auroc"].high == pytest.approx(high)


def test_a_label_that_no_row_has_is_left_out_of_the_mean(drawn):
    present, scores = drawn
    present[:, 1] = 0
    metrics, by_label = evaluate_labels(present, scores, LABELS, GROUPS, resamples=20)
    assert np.isnan(by_label["b"].value)
    assert metrics["auroc_TF"].value == by_label["a"].value
    with pytest.raises(ValueError, match="do not fit"):
        evaluate_labels(present, scores[:, :2], LABELS, GROUPS)


def test_numbers_have_the_metrics_of_scipy_and_scikit_learn():
    random = np.random.default_rng(1)
    true = np.round(random.normal(3, 2, 40), 1)
    predicted = np.round(true + random.normal(0, 2, 40), 0)  # with ties
    found = evaluate_numbers(true, predicted, resamples=100, seed=2)
    assert found["pearson"].value == pytest.approx(stats.pearsonr(true, predicted)[0])
    assert found["spearman"].value == pytest.approx(stats.spearmanr(true, predicted)[0])
    assert found["r2"].value == pytest.approx(r2_score(true, predicted))
    assert found["rmse"].value == pytest.approx(np.sqrt(np.mean((true - predicted) ** 2)))
    draws = []
    for weights in bootstrap_weights(40, 100, 2):
        for times in weights.astype(int):
            rows = np.repeat(np.arange(40), times)
            draws.append(stats.spearmanr(true[rows], predicted[rows])[0])
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (found["spearman"].low, found["spearman"].high) == pytest.approx((low, high))


def test_a_constant_prediction_has_no_correlation():
    true = np.array([0.1, 0.7, 0.4, 0.9])
    found = evaluate_numbers(true, np.full(4, true.mean()), resamples=20)
    assert np.isnan(found["pearson"].value) and np.isnan(found["spearman"].value)
    assert found["r2"].value == pytest.approx(0)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_numbers(true, np.array([1, 2, 3, np.nan]))
