"""`experiments.speed scale`: every operation of a study and of a folder of reports has a row."""

import pandas as pd
import pytest

from experiments.speed import scale
from experiments.speed.options import ScaleOptions


def test_every_operation_has_a_row_and_an_extrapolation(tmp_path):
    options = ScaleOptions(
        out=str(tmp_path), cells=[5], reports=[3], workers=1, takes=3, epochs=2, study=1000
    )
    table = pd.read_csv(scale.measure_all(options)).set_index("what")
    counts = table["count"].to_dict()
    assert counts[scale.TAKE] == counts[scale.TELL] == 3
    assert counts[scale.REPORTED] == 6 and counts[scale.ADD] == 5
    assert counts["read a report into the table"] == 3
    reported = table.loc[scale.REPORTED]
    assert reported["hours"] == pytest.approx(reported["ms"] * 2 * 1000 / 3.6e6, rel=1e-3)
    taken = table.loc[scale.TAKE]
    assert taken["machines"] == pytest.approx(options.minutes * 60e3 / taken["ms"], rel=1e-3)
