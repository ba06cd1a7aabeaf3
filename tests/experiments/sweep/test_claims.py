"""Who holds a name holds it alone; SQLite and PostgreSQL give a trial to one worker."""

import os
import time
from functools import partial

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import create_engine

from experiments.sweep.claims import database_claim, file_claim
from experiments.sweep.storage import open_storage
from tests.experiments.sweep.sweeping import Forked, until


def held_elsewhere(claim, tmp_path):
    """A process that holds the name `x` until it is killed."""

    def hold(_):
        with claim("x"):
            (tmp_path / "held").touch()
            time.sleep(600)

    other = Forked(hold)
    until((tmp_path / "held").exists)
    return other


def check_claim(claim, tmp_path):
    with claim("x", wait=False) as is_held:
        assert is_held
        with claim("y", wait=False) as is_other:
            assert is_other
    other = held_elsewhere(claim, tmp_path)
    with claim("x", wait=False) as is_held:
        assert not is_held
    other.kill()
    other.wait()
    with claim("x") as is_held:
        assert is_held


def test_a_claim_of_a_file_ends_with_its_process(tmp_path):
    folder = tmp_path / "claims"
    check_claim(partial(file_claim, folder), tmp_path)
    assert not list(folder.iterdir())


def test_a_claim_of_a_file_is_never_held_twice(tmp_path):
    """Each of four processes adds 1 to a number, without any other care, 50 times."""
    number = tmp_path / "number"
    number.write_text("0")

    def add(_):
        for _ in range(50):
            with file_claim(tmp_path / "claims", "x"):
                value = int(number.read_text())
                time.sleep(0.0005)
                number.write_text(str(value + 1))

    others = [Forked(add) for _ in range(4)]
    assert [other.wait() for other in others] == [0] * 4
    assert number.read_text() == "200"


def check_trials_are_taken_once(url, tmp_path):
    storage = open_storage(url, 15, create=True)
    study = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "taken")
    waiting = create_trial(state=TrialState.WAITING)
    trials = [storage.create_new_trial(study, waiting) for _ in range(40)]
    storage.remove_session()
    storage.engine.dispose()

    def take(_):
        mine = open_storage(url, 15, create=False)
        taken = [t for t in trials if mine.set_trial_state_values(t, TrialState.RUNNING)]
        (tmp_path / f"taken-{os.getpid()}").write_text(" ".join(map(str, taken)))

    others = [Forked(take) for _ in range(4)]
    assert [other.wait() for other in others] == [0] * 4
    taken = " ".join(file.read_text() for file in tmp_path.glob("taken-*")).split()
    assert sorted(map(int, taken)) == sorted(trials)


def test_sqlite_gives_a_waiting_trial_to_one_process(tmp_path):
    check_trials_are_taken_once(f"sqlite:///{tmp_path / 'x.sqlite'}", tmp_path)


def test_postgresql_gives_a_waiting_trial_to_one_process(postgresql, tmp_path):
    check_trials_are_taken_once(postgresql, tmp_path)


def test_a_claim_of_postgresql_ends_with_its_process(postgresql, tmp_path):
    # Each process needs an engine of its own: a connection cannot be shared over a fork.
    def claim(name, wait=True):
        return database_claim(create_engine(postgresql), name, wait=wait)

    check_claim(claim, tmp_path)


@pytest.mark.parametrize("name", ["x", "study a/b ü", ""])
def test_any_text_can_be_claimed(tmp_path, name):
    with file_claim(tmp_path, name) as is_held:
        assert is_held and len(list(tmp_path.iterdir())) == 1
