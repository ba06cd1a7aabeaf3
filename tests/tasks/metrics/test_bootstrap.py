import numpy as np
import pytest

from tasks.metrics.bootstrap import (
    hierarchical_bootstrap,
    hierarchical_difference,
    mean_over_draws,
    paired_difference,
)

HARD = 0.25
"""Share of rows that are hard, in the simulation."""


def right(
    random: np.random.Generator, draws: int, groups: int, of_draw: float, members: int = 1
) -> np.ndarray:
    """Answers (draws, groups * members): easy and hard groups, better and worse draws, chance.

    Right with a probability of 0.85 on easy groups and 0.35 on hard ones, 0.725 on the whole, to
    which every draw adds its own deviation (uniform, standard deviation `of_draw`). All members
    of a group get the same answer.
    """
    easy = np.where(random.random(groups) < HARD, 0.35, 0.85)
    deviation = of_draw * np.sqrt(12) * (random.random((draws, 1)) - 0.5)
    return np.repeat(random.random((draws, groups)) < easy + deviation, members, axis=1)


MEAN = 0.85 * (1 - HARD) + 0.35 * HARD


def covered(estimates, truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in estimates]))


@pytest.mark.parametrize("draws", [3, 5, 10])
@pytest.mark.parametrize("of_draw", [0.0, 0.04, 0.08])
def test_intervals_over_draws_and_rows_cover_the_truth(draws, of_draw):
    # 300 simulations: the standard error of a coverage of 0.95 is 0.013. Where draws do not vary,
    # the interval is wider than need be, since few draws cannot show it.
    random = np.random.default_rng([draws, int(100 * of_draw)])
    sets = [right(random, draws, 60, of_draw) for _ in range(300)]
    estimates = [hierarchical_bootstrap(one, resamples=400, seed=i) for i, one in enumerate(sets)]
    assert 0.92 <= covered(estimates, MEAN) <= (0.98 if of_draw == 0.08 else 0.998)


def test_intervals_of_differences_cover_the_truth():
    random = np.random.default_rng(7)
    pairs = [(right(random, 5, 60, 0.06), right(random, 5, 60, 0.06)) for _ in range(300)]
    estimates = [
        hierarchical_difference(a, b, resamples=400, seed=i) for i, (a, b) in enumerate(pairs)
    ]
    assert 0.92 <= covered(estimates, 0.0) <= 0.99


def test_rows_alone_would_not_cover_what_draws_do():
    random = np.random.default_rng(11)
    sets = [right(random, 3, 120, 0.08) for _ in range(100)]
    alone = [hierarchical_bootstrap(one.mean(axis=0, keepdims=True), None, 400) for one in sets]
    both = [hierarchical_bootstrap(one, None, 400) for one in sets]
    assert covered(alone, MEAN) < 0.8 < 0.92 <= covered(both, MEAN)


def test_equal_sequences_count_once():
    random = np.random.default_rng(13)
    groups = np.repeat(np.arange(40), 5)
    sets = [right(random, 3, 40, 0.02, members=5) for _ in range(200)]
    grouped = [hierarchical_bootstrap(one, groups, 400) for one in sets]
    assert 0.91 <= covered(grouped, MEAN) <= 0.998
    once, copied = hierarchical_bootstrap(sets[0][:, ::5]), hierarchical_bootstrap(sets[0], groups)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_a_single_draw_has_the_bootstrap_interval_of_its_rows():
    random = np.random.default_rng(0)
    a, b = right(random, 1, 300, 0.0), right(random, 1, 300, 0.0)
    se = a.std() / np.sqrt(300)
    one = hierarchical_bootstrap(a, resamples=4000)
    assert one.value == a.mean()
    assert (one.low, one.high) == pytest.approx(
        (one.value - 1.96 * se, one.value + 1.96 * se), abs=0.006
    )
    crossed, paired = hierarchical_difference(a, b), paired_difference(a[0], b[0])
    assert crossed.value == pytest.approx(paired.value)
    assert (crossed.low, crossed.high) == pytest.approx((paired.low, paired.high), abs=0.01)


def test_draws_that_share_no_rows_have_students_interval():
    random = np.random.default_rng(1)
    draws = [random.random(n) < p for n, p in ((400, 0.6), (500, 0.8), (450, 0.7), (420, 0.65))]
    groups = [np.array([f"{i}:{row}" for row in range(len(d))]) for i, d in enumerate(draws)]
    one = hierarchical_bootstrap(draws, groups, resamples=4000)
    student = mean_over_draws([d.mean() for d in draws])
    assert (one.value, one.low, one.high) == pytest.approx(
        (student.value, student.low, student.high), abs=2e-3
    )


def test_draws_given_one_by_one_with_the_same_rows_are_a_matrix():
    correct = right(np.random.default_rng(2), 4, 50, 0.05)
    names = np.array([f"row {i:02d}" for i in range(50)])
    assert hierarchical_bootstrap(list(correct), [names] * 4) == hierarchical_bootstrap(correct)
    turned = [np.roll(one, i) for i, one in enumerate(correct)]
    order = [np.roll(names, i) for i in range(4)]
    assert hierarchical_bootstrap(turned, order) == hierarchical_bootstrap(correct)


def test_draws_alike_to_the_row_leave_the_interval_of_rows():
    one = right(np.random.default_rng(3), 1, 80, 0.0)
    repeated = hierarchical_bootstrap(np.repeat(one, 5, axis=0))
    alone = hierarchical_bootstrap(one)
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_what_both_methods_share_does_not_widen_their_difference():
    random = np.random.default_rng(4)
    b = right(random, 5, 400, 0.08)
    a = b.copy()
    a[:, :20] = True
    difference, single = hierarchical_difference(a, b), hierarchical_bootstrap(a)
    assert difference.high - difference.low < (single.high - single.low) / 3
    assert hierarchical_difference(b, b) == hierarchical_difference(a, a)
    assert hierarchical_difference(a, b).value == pytest.approx(
        -hierarchical_difference(b, a).value
    )


def test_a_method_without_draws_stands_beside_every_draw():
    random = np.random.default_rng(5)
    a, b = right(random, 3, 60, 0.05), right(random, 1, 60, 0.0)[0]
    assert hierarchical_difference(a, b) == hierarchical_difference(a, np.stack([b] * 3))


def test_intervals_follow_from_the_seed():
    correct = right(np.random.default_rng(6), 3, 60, 0.05)
    assert hierarchical_bootstrap(correct, seed=1) == hierarchical_bootstrap(correct, seed=1)
    assert hierarchical_bootstrap(correct, seed=1) != hierarchical_bootstrap(correct, seed=2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: hierarchical_bootstrap(np.ones(5)),
        lambda: hierarchical_bootstrap(np.ones((3, 0))),
        lambda: hierarchical_bootstrap(np.ones((0, 3))),
        lambda: hierarchical_bootstrap(np.ones((2, 3)), np.arange(4)),
        lambda: hierarchical_bootstrap([np.ones(3), np.ones(3)]),
        lambda: hierarchical_bootstrap([np.ones(3), np.ones(2)], [np.arange(3)]),
        lambda: hierarchical_difference(np.ones((2, 3)), np.ones((2, 4))),
        lambda: hierarchical_difference(np.ones((2, 3)), np.ones((3, 3))),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
