"""How far a sweep is, in one line."""

from datetime import datetime, timedelta

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from experiments.sweep.plan import Plan
from experiments.sweep.study import CELL, WHY
from experiments.sweep.table import line, seconds_left

NOW = datetime(2026, 1, 1, 12)
SPACE = {"method.lr": FloatDistribution(0.01, 0.5, log=True)}


def trial(cell, state, began=None, ended=None, value=None, **attributes):
    """A cell's last trial, which began and ended so many seconds before now."""
    return FrozenTrial(
        number=cell,
        trial_id=cell,
        state=state,
        value=value,
        datetime_start=None if began is None else NOW - timedelta(seconds=began),
        datetime_complete=None if ended is None else NOW - timedelta(seconds=ended),
        params={} if value is None else {"method.lr": 0.0123456},
        distributions={} if value is None else SPACE,
        user_attrs={CELL: cell, **attributes},
        system_attrs={},
        intermediate_values={},
    )


def cells(*trials):
    return {one.user_attrs[CELL]: one for one in trials}


FOUR_HUNDRED = trial(0, TrialState.COMPLETE, began=900, ended=500, value=0.75)
HALFWAY = trial(1, TrialState.RUNNING, began=100)


def waiting(*numbers):
    return [trial(number, TrialState.WAITING) for number in numbers]


def test_the_line_counts_and_says_what_is_left_and_what_is_best():
    seen = cells(
        FOUR_HUNDRED,
        HALFWAY,
        trial(2, TrialState.PRUNED, began=500, ended=100, **{WHY: "behind"}),
        trial(3, TrialState.FAIL, began=500, ended=100, **{WHY: "no memory"}),
        *waiting(4),
    )
    # Three ended after 400 s each; two are open, one of them for 100 s: 800 - 100 with one worker.
    assert line(seen, Plan("tpe", (), SPACE), NOW) == (
        "1/5 done, 1 running, 1 pruned, 1 failed, about 12 min left, "
        "best so far validation_accuracy 0.75 (method.lr=0.01235)"
    )


def test_what_two_workers_have_to_do_takes_half_as_long():
    other = trial(2, TrialState.RUNNING, began=1000)  # slower than the mean: at its end
    assert seconds_left(cells(FOUR_HUNDRED, HALFWAY, other), NOW) == (2 * 400 - 100 - 400) / 2


def test_nothing_is_said_about_the_time_before_a_run_has_ended_here():
    reused = trial(0, TrialState.COMPLETE, began=2, ended=1, value=0.5, reused=True)
    assert seconds_left(cells(reused, HALFWAY), NOW) is None
    assert line(cells(HALFWAY), Plan("grid", (), SPACE), NOW) == (
        "0/1 done, 1 running, 0 pruned, 0 failed"
    )


def test_long_times_are_hours_and_no_longer_than_the_budget():
    seen, plan = cells(FOUR_HUNDRED, *waiting(*range(1, 101))), Plan("grid", (), SPACE)
    assert line(seen, plan, NOW).endswith("about 11.1 h left")
    in_half_an_hour = NOW.timestamp() + 1800
    assert line(seen, plan, NOW, in_half_an_hour).endswith("about 30 min left")
    assert line(seen, plan, NOW, NOW.timestamp() - 5).endswith("less than a minute left")
