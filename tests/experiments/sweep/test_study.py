"""A waiting cell goes to one worker; one whose worker died waits again."""

import os
import time

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from backbone.common.errors import InputError
from experiments.sweep.plan import Plan, grid, read_values
from experiments.sweep.storage import claims, open_storage
from experiments.sweep.study import RETRIES, best, create, is_done, is_lost, join
from tests.experiments.sweep.sweeping import Forked, until

PLAN = Plan("grid", ("task=synthetic_easy",), {"seed": read_values("seed", "int(0,39)")})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path / 'x.sqlite'}"


def waiting_cells(url, folder, count):
    """A study with so many cells, made by a process of its own: connections must not be forked."""

    def make():
        study = create("s", open_storage(url, create=True), PLAN, claims(url, folder))
        study.add(dict(enumerate(grid(PLAN.space)[:count])))

    assert Forked(make).wait() == 0


def joined(url, folder):
    return join("s", open_storage(url, create=False), claims(url, folder))


def test_a_waiting_cell_is_taken_by_one_process(url, tmp_path):
    waiting_cells(url, tmp_path, 40)

    def take():
        study, taken = joined(url, tmp_path), []
        while (attempt := study.take()) is not None:
            with attempt:
                taken.append(attempt.cell["seed"])
                attempt.values.append(0.5)
        (tmp_path / f"taken-{os.getpid()}").write_text(" ".join(map(str, taken)))

    others = [Forked(take) for _ in range(4)]
    assert [other.wait() for other in others] == [0] * 4
    taken = " ".join(file.read_text() for file in tmp_path.glob("taken-*")).split()
    assert sorted(map(int, taken)) == list(range(40))


def test_taking_a_cell_of_a_grid_reads_no_other_that_waits(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    waiting_cells(url, tmp_path, 3)
    study = joined(url, tmp_path)

    def fail(*_, **__):
        raise AssertionError("all trials are read")

    with monkeypatch.context() as patched:
        for storage in (RDBStorage, type(study._study._storage)):
            patched.setattr(storage, "get_all_trials", fail)
        for seed in range(3):
            with study.take() as attempt:
                assert attempt.cell == {"seed": seed}
                attempt.values.append(0.5)
        assert study.take() is None
    assert is_done(study.last())


def test_a_cell_waits_again_when_its_worker_dies_and_not_before(url, tmp_path):
    waiting_cells(url, tmp_path, 1)

    def take():
        attempt = joined(url, tmp_path).take()
        attempt.trial.report(0.25, 1)
        (tmp_path / "taken").touch()
        time.sleep(600)

    other = Forked(take)
    until((tmp_path / "taken").exists)
    study = joined(url, tmp_path)
    study.revive()
    assert study.take() is None and study.last()[0].state == TrialState.RUNNING
    other.kill()
    other.wait()
    study.revive()
    assert study.last()[0].state == TrialState.WAITING
    with study.take() as attempt:
        assert (attempt.cell, attempt.reported) == ({"seed": 0}, {1})
        attempt.values.append(0.5)
    assert is_done(study.last()) and study.last()[0].value == 0.5


def test_a_cell_is_given_up_when_too_many_workers_died(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    waiting_cells(url, tmp_path, 1)
    study = joined(url, tmp_path)
    for tries in range(RETRIES + 1):
        assert not is_done(study.last())
        with pytest.raises(KeyboardInterrupt), study.take():
            raise KeyboardInterrupt
        assert is_lost(study.last()[0]) == (tries < RETRIES)
        study.revive()
    assert is_done(study.last()) and study.take() is None


def test_an_attempt_says_why_it_failed(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    waiting_cells(url, tmp_path, 3)
    study = joined(url, tmp_path)
    for error in (RuntimeError("no\nmemory"), InputError("no data"), optuna.TrialPruned("behind")):
        with study.take():
            raise error
    ends = [(trial.state.name, trial.user_attrs["why"]) for trial in study.last().values()]
    assert ends == [
        ("FAIL", "RuntimeError: no memory"),
        ("FAIL", "no data"),
        ("PRUNED", "behind"),
    ]


def test_a_study_that_no_sweep_made_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    with pytest.raises(InputError, match="study=s is not in the storage"):
        join("s", open_storage(url, create=True), claims(url, tmp_path))
    optuna.create_study(study_name="s", storage=url).add_trial(optuna.create_trial(value=1.0))
    for enter in (lambda s, c: join("s", s, c), lambda s, c: create("s", s, PLAN, c)):
        with pytest.raises(InputError, match="study=s was not made by a sweep of this version"):
            enter(open_storage(url, create=True), claims(url, tmp_path))


def test_the_front_holds_the_first_of_equals_and_nothing_dominated():
    values = [(0.5, 1), (0.9, 8), (0.5, 1), (0.8, 8), (0.9, 4)]
    cells = {n: optuna.create_trial(values=v) for n, v in enumerate(values)}
    front = best(cells, ("validation_accuracy", "prompt_tokens"))
    assert front == [cells[0], cells[4]] and front[0] is cells[0]
    single = {n: optuna.create_trial(value=v) for n, v in enumerate((0.7, 0.2, 0.9, 0.2))}
    assert best(single, ("validation_loss",))[0] is single[1]
    assert best(single, ("validation_accuracy",)) == [single[2]]
    assert best({}, ("validation_loss",)) == []
