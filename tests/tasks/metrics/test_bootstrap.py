import numpy as np
import pytest
import scipy

from tasks.metrics.bootstrap import (
    LEVEL,
    NO_VARIATION,
    Estimate,
    Z,
    hierarchical_bootstrap,
    hierarchical_difference,
    interval_without_variation,
    mean_over_divisions,
    mean_over_runs,
    nested_bootstrap,
    percentile_interval,
    proportion,
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


class near:
    """Equal to an estimate up to rounding."""

    def __init__(self, expected: Estimate) -> None:
        self.ends = (expected.value, expected.low, expected.high)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Estimate)
        return (other.value, other.low, other.high) == pytest.approx(self.ends)


def covered(estimates, truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in estimates]))


def test_the_normal_quantile_is_that_of_the_coverage():
    assert scipy.special.ndtri((1 + LEVEL) / 2) == Z


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
    a = right(np.random.default_rng(0), 1, 300, 0.0)
    se = a.std() / np.sqrt(300)
    one = hierarchical_bootstrap(a, resamples=4000)
    assert one.value == a.mean()
    assert (one.low, one.high) == pytest.approx(
        (one.value - 1.96 * se, one.value + 1.96 * se), abs=0.006
    )


def test_draws_that_share_no_rows_have_students_interval():
    random = np.random.default_rng(1)
    draws = [random.random(n) < p for n, p in ((400, 0.6), (500, 0.8), (450, 0.7), (420, 0.65))]
    groups = [np.array([f"{i}:{row}" for row in range(len(d))]) for i, d in enumerate(draws)]
    one = hierarchical_bootstrap(draws, groups, resamples=4000)
    student = mean_over_divisions([proportion(int(d.sum()), len(d)) for d in draws])
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


@pytest.mark.parametrize("n", [20, 40, 200])
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 1.0])
def test_the_interval_of_an_accuracy_covers_the_truth(n, accuracy):
    # 20,000 simulations: the standard error of a coverage of 0.95 is 0.0015. Hits are whole
    # numbers, so the coverage of any interval swings around 0.95; Wilson's stays within 0.025.
    hits, times = np.unique(np.random.default_rng(n).binomial(n, accuracy, 20_000),
                            return_counts=True)  # fmt: skip
    ends = [proportion(int(one), n) for one in hits]
    coverage = sum(t for one, t in zip(ends, times, strict=True) if one.low <= accuracy <= one.high)
    assert 0.925 <= coverage / 20_000 <= (1.0 if accuracy == 1.0 else 0.975)


def test_proportions_agree_with_an_independent_implementation():
    from scipy.stats import binomtest

    for hits, n in [(0, 7), (3, 7), (40, 40), (180, 200)]:
        one, ends = proportion(hits, n), binomtest(hits, n).proportion_ci(method="wilson")
        assert (one.low, one.high) == pytest.approx((ends.low, ends.high))
        assert one.low <= one.value == hits / n <= one.high


def test_rows_that_all_agree_leave_what_unseen_rows_allow():
    assert interval_without_variation(1.0, 40) == near(proportion(40, 40))
    all_right = hierarchical_bootstrap(np.ones((3, 40)))
    assert all_right == near(proportion(40, 40))
    # Ten groups of four equal sequences are ten rows.
    grouped = hierarchical_bootstrap(np.ones((2, 40)), np.repeat(np.arange(10), 4))
    assert grouped == near(proportion(10, 10))
    # Two methods that agree on all rows may differ on a share of others, in either direction.
    same = hierarchical_difference(np.ones((1, 40)), np.ones((1, 40)))
    unseen = 1 - proportion(40, 40).low
    assert (same.low, same.value, same.high) == pytest.approx((-unseen, 0, unseen))


def test_a_figure_without_variation_has_no_interval():
    one = percentile_interval(0.5, np.full(100, 0.5))
    assert one.is_defined and not one.has_interval and one.reason == NO_VARIATION
    assert str(one) == "0.500" and str(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    nothing = percentile_interval(np.nan, np.zeros(3), "there is none")
    assert (str(nothing), nothing.reason) == ("-", "there is none")


def test_estimates_are_read_from_json_with_null_and_with_nan():
    undefined = {"value": None, "low": None, "high": None, "reason": "so it is"}
    assert str(Estimate.from_json(undefined)) == "-"
    assert Estimate.from_json(undefined).reason == "so it is"
    assert str(Estimate.from_json({"value": float("nan"), "low": 0, "high": 0})) == "-"
    assert Estimate.from_json({"value": 1, "low": 0, "high": 2}) == Estimate(1, 0, 2)
    with pytest.raises(TypeError):
        Estimate.from_json({"value": 1})


def test_a_group_of_rows_is_drawn_together_or_not_at_all():
    # Two groups, A gains 1 of 1 row in one and loses 1 of 3 in the other. Two draws give the
    # first twice (1/4 of the resamples, +1), one of each (1/2, 0), the second twice (1/4, -1/3).
    a, b, groups = [[1, 0, 1, 1]], [[0, 1, 1, 1]], np.array(["x", "y", "y", "y"])
    one = hierarchical_difference(np.array(a), np.array(b), groups)
    assert (one.value, one.low, one.high) == pytest.approx((0, -1 / 3, 1))


def test_differences_of_groups_agree_with_drawing_them_one_by_one():
    random = np.random.default_rng(1)
    a, b = random.random(300) < 0.7, random.random(300) < 0.6
    groups = random.integers(40, size=300)
    draws = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in random.integers(40, size=40)])
        draws.append(a[rows].mean() - b[rows].mean())
    fast = hierarchical_difference(a[None], b[None], groups)
    assert [fast.low, fast.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)


RUNS = [Estimate(0.6, 0.5, 0.7), Estimate(0.7, 0.6, 0.8), Estimate(0.8, 0.7, 0.9)]
HALF = 4.302652729749464 * 0.1 / np.sqrt(3)  # quantile 0.975 of t with two degrees of freedom


def test_the_mean_over_divisions_has_students_interval():
    one = mean_over_divisions(RUNS)
    assert (one.value, one.low, one.high) == pytest.approx((0.7, 0.7 - HALF, 0.7 + HALF))


def test_the_mean_over_runs_on_the_same_rows_adds_what_rows_differ_by():
    one, half = mean_over_runs(RUNS), np.hypot(HALF, 0.1)
    assert (one.value, one.low, one.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))


@pytest.mark.parametrize("mean", [mean_over_runs, mean_over_divisions])
def test_a_mean_leaves_out_what_is_not_defined_and_falls_back_on_rows(mean):
    nothing = Estimate.undefined("there is none")
    assert mean(RUNS[:1]) == near(RUNS[0])
    assert mean([RUNS[0], RUNS[0], nothing]) == near(RUNS[0])
    assert str(mean([nothing, nothing])) == "-"
    assert str(mean([Estimate(0.5, np.nan, np.nan, NO_VARIATION)])) == "0.500"
    with pytest.raises(ValueError):
        mean([])


def test_a_mean_over_sets_weighs_sets_alike_whatever_their_draws():
    found = nested_bootstrap([np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0])])
    assert found.value == pytest.approx(0.75) and 0.0 <= found.low < 0.75 < found.high <= 1.0


def test_the_interval_of_a_mean_over_sets_is_that_of_the_central_limit():
    """With many sets: their variance over their number, and once more what draws add to it."""
    random = np.random.default_rng(4)
    of_set = random.normal(0.6, 0.1, size=(200, 1))
    values = of_set + random.normal(0, 0.06, size=(200, 3))
    found = nested_bootstrap(list(values), resamples=4000)
    variance = values.mean(axis=1).var() + values.var(axis=1).mean() / 3
    half = 1.96 * np.sqrt(variance / 200)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_intervals_over_sets_and_draws_cover_the_truth():
    random = np.random.default_rng(5)
    estimates = []
    for seed in range(300):
        values = random.normal(0.6, 0.1, size=(35, 1)) + random.normal(0, 0.05, size=(35, 3))
        estimates.append(nested_bootstrap(list(values), resamples=300, seed=seed))
    assert 0.91 <= covered(estimates, 0.6) <= 0.985


def test_one_set_of_one_draw_has_no_interval_and_none_no_mean():
    assert not nested_bootstrap([np.array([0.7])]).has_interval
    for nothing in ([], [np.zeros(0)]):
        with pytest.raises(ValueError, match="over no sets, or over a set without draws"):
            nested_bootstrap(nothing)
