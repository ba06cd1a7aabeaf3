"""A name is held by one process at a time; a database that cannot be used is one line."""

import sqlite3
import time
from functools import partial

import pytest

from backbone.common.errors import InputError
from experiments.sweep import storage
from experiments.sweep.storage import claims, file_claim, open_storage
from tests.experiments.sweep.sweeping import Forked, until


def held_elsewhere(claim, tmp_path):
    """A process that holds the name `x` until it is killed."""

    def hold():
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

    def add():
        for _ in range(50):
            with file_claim(tmp_path / "claims", "x"):
                value = int(number.read_text())
                time.sleep(0.0005)
                number.write_text(str(value + 1))

    others = [Forked(add) for _ in range(4)]
    assert [other.wait() for other in others] == [0] * 4
    assert number.read_text() == "200"


def test_a_claim_of_postgresql_ends_with_its_process(postgresql, tmp_path):
    check_claim(claims(postgresql, tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["x", "study a/b ü", ""])
def test_any_text_can_be_claimed(tmp_path, name):
    with file_claim(tmp_path, name) as is_held:
        assert is_held and len(list(tmp_path.iterdir())) == 1


def test_a_database_of_a_newer_optuna_is_one_line(tmp_path):
    file = tmp_path / "x.sqlite"
    open_storage(f"sqlite:///{file}", create=True).engine.dispose()
    with sqlite3.connect(file) as database:
        database.execute("update alembic_version set version_num = 'v99.0.0.a'")
    with pytest.raises(InputError, match="x.sqlite: The runtime optuna version .* pip install -U"):
        open_storage(f"sqlite:///{file}", create=True)


def test_a_locked_database_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "BUSY", 0.1)
    file = tmp_path / "x.sqlite"
    open_storage(f"sqlite:///{file}", create=True).engine.dispose()
    database = sqlite3.connect(file)
    try:
        database.execute("begin exclusive")
        with pytest.raises(InputError, match="x.sqlite: cannot be used .database is locked.$"):
            open_storage(f"sqlite:///{file}", create=True)
    finally:
        database.close()


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_damaged_database_is_one_line(keep, tmp_path):
    """The first bytes are kept: 100 are the header, which says that it is a database."""
    file = tmp_path / "x.sqlite"
    open_storage(f"sqlite:///{file}", create=True).engine.dispose()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep] + b"?" * (len(whole) - keep))
    with pytest.raises(InputError, match="x.sqlite: cannot be used .[^\n]*.$"):
        open_storage(f"sqlite:///{file}", create=True)
