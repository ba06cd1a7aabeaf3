"""`experiments.speed commits`: medians of two checkouts; steps that run in this one."""

import pandas as pd
import pytest

from backbone.common.errors import InputError
from experiments.speed import commits, steps
from experiments.speed.options import CommitsOptions


def test_medians_of_both_checkouts_stand_side_by_side():
    rows = [
        {"checkout": name, "round": i, "what": "help", "busy": False, "seconds": seconds}
        | {"cpu_seconds": 1.0, "faults": 10 * i, "peak_bytes": 5}
        for name, times in (("old", (4.0, 9.0, 5.0)), ("new", (1.0, 2.5, 3.0)))
        for i, seconds in enumerate(times)
    ]
    (row,) = commits.medians(pd.DataFrame(rows)).to_dict("records")
    assert (row["seconds_old"], row["seconds_new"], row["ratio"]) == (5, 2.5, 2)
    assert (row["what"], row["faults_old"], row["peak_bytes_new"]) == ("help", 10, 5)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(InputError, match="no checkout of this repository"):
        commits.measure_all(CommitsOptions(old=str(tmp_path), out=str(tmp_path / "out")))


def test_steps_run_in_this_checkout(monkeypatch):
    monkeypatch.setattr(steps, "TURN", 0.0)
    monkeypatch.setattr(steps, "TOKENS", (3,))
    monkeypatch.setattr(steps, "LENGTH", 40)
    found = steps.measure_all(1)
    assert all(seconds > 0 and faults >= 0 for seconds, faults in found.values())
    assert set(found) >= {"encode, a row", "training step behind 3 vectors"}
