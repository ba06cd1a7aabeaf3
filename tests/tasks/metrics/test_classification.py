import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn import metrics as sk

from tasks.metrics.bootstrap import NO_VARIATION, bootstrap_weights
from tasks.metrics.classification import (
    NO_COMMON_BIN,
    ONE_CLASS,
    ONE_PREDICTION,
    evaluate,
    gc_matched_accuracy,
)


def drawn(n: int, classes: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(classes, size=n - classes)])
    raw = random.normal(size=(n, classes)) + np.eye(classes)[labels]
    return labels, log_softmax(np.round(raw) if ties else raw, axis=1)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_values_agree_with_scikit_learn(classes, ties):
    labels, scores = drawn(300, classes, seed=classes, ties=ties)
    predicted, p = scores.argmax(axis=1), np.exp(scores)
    got = {name: one.value for name, one in evaluate(labels, scores, resamples=2).items()}
    ece = got.pop("ece")
    auroc = (
        sk.roc_auc_score(labels, p[:, 1])
        if classes == 2
        else np.mean([sk.roc_auc_score(labels == c, p[:, c].round(12)) for c in range(classes)])
    )
    assert got == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "mcc": sk.matthews_corrcoef(labels, predicted),
            "macro_f1": sk.f1_score(labels, predicted, average="macro"),
            "auroc": auroc,
        }
    )
    if not ties:  # then every bin holds the same number of rows
        order = np.argsort(p.max(axis=1))
        gaps = p.max(axis=1)[order] - (predicted == labels)[order]
        assert ece == pytest.approx(sum(abs(bin.sum()) for bin in np.split(gaps, 15)) / 300)


def test_values_by_hand():
    labels = np.array([0, 0, 1, 1])
    scores = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    got = {name: one.value for name, one in evaluate(labels, scores, resamples=10).items()}
    assert got["accuracy"] == got["balanced_accuracy"] == 0.75
    assert got["mcc"] == pytest.approx(1 / np.sqrt(3))
    assert got["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert got["auroc"] == 1.0
    assert got["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)


def test_a_constant_certain_prediction_is_at_chance():
    labels = np.array([0, 1] * 20)
    scores = np.tile([0.0, -np.inf], (40, 1))
    found = evaluate(labels, scores, resamples=50)
    got = {name: one.value for name, one in found.items()}
    assert got == pytest.approx(
        {"accuracy": 0.5, "balanced_accuracy": 0.5, "mcc": np.nan, "macro_f1": 1 / 3, "auroc": 0.5,
         "ece": 0.5},
        nan_ok=True,
    )  # fmt: skip
    assert str(found["mcc"]) == "-" and found["mcc"].reason == ONE_PREDICTION
    # Balanced accuracy and AUROC of a constant are one half in every resample.
    for name in ("balanced_accuracy", "auroc"):
        assert str(found[name]) == "0.500" and found[name].reason == NO_VARIATION


def test_forty_of_forty_right_have_wilsons_interval_and_nothing_has_width_zero():
    labels = np.array([0, 1] * 20)
    found = evaluate(labels, np.log(np.where(np.eye(2)[labels] == 1, 0.9, 0.1)), resamples=50)
    # 1.96^2 = 3.8415; 40 / (40 + 3.8415) = 0.9124.
    for name in ("accuracy", "balanced_accuracy"):
        assert (found[name].value, found[name].high) == (1.0, 1.0)
        assert found[name].low == pytest.approx(0.9124, abs=5e-5)
    for name in ("mcc", "macro_f1", "auroc", "ece"):
        assert found[name].is_defined and not found[name].has_interval
    matched = gc_matched_accuracy(["ACGT"] * 40, labels, labels, resamples=50)
    assert (matched.low, matched.high) == (pytest.approx(0.9124, abs=5e-5), 1.0)


def test_weighted_rows_that_are_all_right_count_as_fewer():
    labels = np.array([0] * 30 + [1] * 10)
    found = evaluate(labels, np.log(np.where(np.eye(2)[labels] == 1, 0.9, 0.1)), resamples=50)
    # Each class weighs one half: Kish's effective number is 4 / (1/30 + 1/10) = 30 rows.
    assert found["balanced_accuracy"].low == pytest.approx(30 / (30 + 3.8415), abs=1e-4)
    assert found["accuracy"].low == pytest.approx(40 / (40 + 3.8415), abs=1e-4)


def test_rows_of_one_class_have_neither_correlation_nor_auroc():
    found = evaluate(np.zeros(5, dtype=int), np.log(np.full((5, 2), 0.5)), resamples=10)
    assert all(found[name].reason == ONE_CLASS for name in ("mcc", "auroc"))


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(2, 4), st.booleans(), st.integers(0, 1000))
def test_values_ignore_row_order_and_lie_in_their_interval(n, classes, ties, seed):
    labels, scores = drawn(n, classes, seed, ties)
    order = np.random.default_rng(seed).permutation(n)
    there, shuffled = (
        evaluate(a, b, resamples=50) for a, b in ((labels, scores), (labels[order], scores[order]))
    )
    for name, one in there.items():
        assert not one.has_interval or one.low <= one.value <= one.high
        assert one.has_interval != bool(one.reason)
        assert one.value == pytest.approx(shuffled[name].value, abs=1e-12, nan_ok=True)


def test_interval_agrees_with_resampling_row_by_row():
    labels, scores = drawn(80, 2, seed=5)
    got = evaluate(labels, scores, resamples=100, seed=9)
    rows = [
        np.repeat(np.arange(80), counts.astype(int))
        for block in bootstrap_weights(80, 100, seed=9)
        for counts in block
    ]
    slow = {
        "auroc": [sk.roc_auc_score(labels[r], scores[r, 1] - scores[r, 0]) for r in rows],
        "mcc": [sk.matthews_corrcoef(labels[r], scores[r].argmax(axis=1)) for r in rows],
    }
    for name, draws in slow.items():
        assert [got[name].low, got[name].high] == pytest.approx(np.quantile(draws, [0.025, 0.975]))


def test_accuracy_interval_has_the_width_of_the_binomial():
    labels, scores = drawn(4000, 2, seed=1)
    one = evaluate(labels, scores)["accuracy"]
    half = 1.96 * np.sqrt(one.value * (1 - one.value) / 4000)
    assert (one.high - one.low) / 2 == pytest.approx(half, rel=0.1)


def test_bootstrap_draws_n_rows_and_the_seed_moves_it():
    blocks = list(bootstrap_weights(10, 25, seed=0, at_once=60))
    weights = np.concatenate(blocks)
    assert len(blocks) == 5 and weights.shape == (25, 10)
    assert np.all(weights.sum(axis=1) == 10)
    assert not np.array_equal(weights, np.concatenate(list(bootstrap_weights(10, 25, seed=1))))


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 1], [[0.0, 0.0]]), ([2], [[0.0, 0.0]]), ([0], [[np.nan, 0.0]]), ([], np.zeros((0, 2)))],
)
def test_scores_that_cannot_be_raise(labels, scores):
    with pytest.raises(ValueError):
        evaluate(np.array(labels, dtype=int), np.array(scores))


def test_gc_matched_accuracy_by_hand():
    # Bin of GC 0: two rows of class 0 (one right), one of class 1 (right): weight 1, mean 0.75.
    # Bin of GC 1: one row of class 0 (wrong), one of class 1 (right): weight 1, mean 0.5.
    # Bin of GC 0.5 lacks class 1 and does not count.
    sequences = ["AA", "TT", "AT", "GG", "CC", "AC"]
    labels = np.array([0, 0, 1, 0, 1, 0])
    predictions = np.array([0, 1, 1, 1, 1, 0])
    one = gc_matched_accuracy(sequences, labels, predictions)
    assert one.value == pytest.approx((0.75 + 0.5) / 2)
    assert one == gc_matched_accuracy(sequences, labels, predictions)


def test_a_classifier_by_gc_alone_is_at_chance_on_matched_rows():
    random = np.random.default_rng(0)
    labels = random.integers(2, size=4000)
    gc = np.where(labels == 1, 0.55, 0.45)
    sequences = ["".join(random.choice([*"GCAT"], 100, p=[g / 2, g / 2, (1 - g) / 2, (1 - g) / 2]))
                 for g in gc]  # fmt: skip
    predictions = np.array([s.count("G") + s.count("C") >= 50 for s in sequences]).astype(int)
    assert np.mean(predictions == labels) > 0.8
    one = gc_matched_accuracy(sequences, labels, predictions)
    # In each bin all rows get one prediction, so one class is right and the other wrong.
    assert one.value == 0.5 and not one.has_interval


def test_gc_matched_accuracy_without_common_bins_is_not_defined():
    one = gc_matched_accuracy(["AA", "GG"], np.array([0, 1]), np.array([0, 1]))
    assert np.isnan([one.value, one.low, one.high]).all() and one.reason == NO_COMMON_BIN
