import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn import metrics as sk

from tasks.metrics.bootstrap import bootstrap_weights
from tasks.metrics.classification import (
    evaluate,
    gc_matched_accuracy,
    mean_over_draws,
    paired_difference,
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
    got = {name: one.value for name, one in evaluate(labels, scores, resamples=50).items()}
    assert got == pytest.approx(
        {"accuracy": 0.5, "balanced_accuracy": 0.5, "mcc": 0, "macro_f1": 1 / 3, "auroc": 0.5,
         "ece": 0.5}
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(2, 4), st.booleans(), st.integers(0, 1000))
def test_values_ignore_row_order_and_lie_in_their_interval(n, classes, ties, seed):
    labels, scores = drawn(n, classes, seed, ties)
    order = np.random.default_rng(seed).permutation(n)
    there, shuffled = (
        evaluate(a, b, resamples=50) for a, b in ((labels, scores), (labels[order], scores[order]))
    )
    for name, one in there.items():
        assert one.low <= one.value <= one.high
        assert one.value == pytest.approx(shuffled[name].value, abs=1e-12)


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
    assert one.value == pytest.approx(0.5, abs=0.02)
    assert one.low <= one.value <= one.high


def test_gc_matched_accuracy_without_common_bins_is_not_a_number():
    one = gc_matched_accuracy(["AA", "GG"], np.array([0, 1]), np.array([0, 1]))
    assert np.isnan([one.value, one.low, one.high]).all()


def test_paired_difference_is_tighter_than_two_intervals():
    random = np.random.default_rng(0)
    b = random.random(1000) < 0.7
    a = b | (random.random(1000) < 0.1)
    one = paired_difference(a, b)
    assert one.value == pytest.approx(a.mean() - b.mean())
    half = 1.96 * np.sqrt(np.var(a.astype(float) - b) / 1000)
    assert [one.low, one.high] == pytest.approx([one.value - half, one.value + half], abs=0.003)
    same = paired_difference(a, a)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError):
        paired_difference(a, b[1:])


def test_a_group_of_rows_is_drawn_together_or_not_at_all():
    # Two groups, A gains 1 of 1 row in one and loses 1 of 3 in the other. Two draws give the
    # first twice (1/4 of the resamples, +1), one of each (1/2, 0), the second twice (1/4, -1/3).
    a, b, groups = [1, 0, 1, 1], [0, 1, 1, 1], np.array(["x", "y", "y", "y"])
    one = paired_difference(np.array(a), np.array(b), groups)
    assert (one.value, one.low, one.high) == pytest.approx((0, -1 / 3, 1))


def test_rows_that_are_copies_count_once():
    random = np.random.default_rng(1)
    a, b = random.random(300) < 0.7, random.random(300) < 0.6
    once = paired_difference(a, b)
    copied = [np.tile(x, 4) for x in (a, b, np.arange(300))]
    assert paired_difference(*copied).low == pytest.approx(once.low, abs=1e-12)
    assert paired_difference(*copied).high == pytest.approx(once.high, abs=1e-12)
    apart = paired_difference(*copied[:2])
    assert apart.high - apart.low < 0.6 * (once.high - once.low)
    # An independent slow path: draw groups one by one and put their rows together.
    groups = random.integers(40, size=300)
    draws = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in random.integers(40, size=40)])
        draws.append(a[rows].mean() - b[rows].mean())
    fast = paired_difference(a, b, groups)
    assert [fast.low, fast.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)
    with pytest.raises(ValueError):
        paired_difference(a, b, groups[1:])


def test_mean_over_draws_is_students_interval():
    one = mean_over_draws([1.0, 2.0, 3.0])
    half = 4.302652729749464 * 1.0 / np.sqrt(3)  # quantile 0.975 with two degrees of freedom
    assert (one.value, one.low, one.high) == pytest.approx((2, 2 - half, 2 + half))
    single = mean_over_draws([0.7])
    assert single.value == 0.7 and np.isnan(single.low) and np.isnan(single.high)
    with pytest.raises(ValueError):
        mean_over_draws([])
