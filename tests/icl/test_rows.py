"""The rows of a run: at most so many, alike for all methods of a seed, and what is said of them."""

import numpy as np
import pandas as pd
import pytest

from backbone.common.errors import InputError
from icl.config.options import configure
from icl.reporting.report import find_reports, read_report
from icl.rows import Divisions, divided, rows_of
from icl.run import run
from tasks.audit.kinship import NONE, kinship
from tasks.catalog import TASKS


def config(**options):
    return configure("tiny_rows", "majority", {"threads": 1, **options})


def places(rows, whole):
    return [whole.index(row) for row in rows]


def test_rows_are_drawn_by_class_under_the_seed_and_stay_in_order(tiny):
    splits = divided(config(), TASKS.get("tiny_rows"))
    drawn = [rows_of(config(seed=seed, test_rows=10, val_rows=6), splits) for seed in (0, 0, 1)]
    for one in drawn:
        assert [sum(row.label == label for row in one.evaluated) for label in (0, 1)] == [5, 5]
        assert [sum(row.label == label for row in one.val) for label in (0, 1)] == [3, 3]
        assert places(one.evaluated, splits.test) == one.scored.tolist() == sorted(one.scored)
    assert np.array_equal(drawn[0].scored, drawn[1].scored)
    assert not np.array_equal(drawn[0].scored, drawn[2].scored)


@pytest.mark.parametrize("most", [None, 30, 1000])
def test_without_a_limit_below_their_number_all_rows_are_scored(tiny, most):
    splits = divided(config(), TASKS.get("tiny_rows"))
    rows = rows_of(config(test_rows=most), splits)
    assert tuple(rows.evaluated) == splits.test and rows.scored.tolist() == list(range(30))


def test_validation_rows_are_scored_up_to_their_limit(tiny):
    splits = divided(config(), TASKS.get("tiny_rows"))
    rows = rows_of(config(evaluate="val", val_rows=8), splits)
    assert rows.evaluated == rows.val and len(rows.scored) == 8


def test_a_limit_of_test_rows_is_refused_where_none_is_scored(tiny):
    with pytest.raises(InputError, match="evaluate=val scores no test row; give val_rows="):
        config(evaluate="val", test_rows=5)


def test_the_report_and_the_table_say_how_many_of_the_rows_were_scored(call, tiny, tmp_path):
    code, out, _ = call("task=tiny_rows", "method=gc_only", "test_rows=12", "threads=1")
    assert code == 0 and "tiny_rows: test, 12 of 30 rows" in out
    (path,) = find_reports(tmp_path)
    report = read_report(path)
    assert (report.setup.n_scored, report.setup.n_test) == (12, 30)
    assert len(pd.read_csv(path.parent / "predictions.tsv", sep="\t")) == 12
    splits = divided(config(), TASKS.get("tiny_rows"))
    scored = rows_of(config(test_rows=12), splits).scored
    assert report.outcome.n_clean == (kinship(splits).test[scored] == NONE).sum()
    assert call("task=tiny_rows", "method=gc_only", "threads=1")[0] == 0
    assert len(list(find_reports(tmp_path))) == 2  # another run than that on all rows


def test_divisions_are_read_once_for_the_runs_that_share_them(tiny, tmp_path):
    read = Divisions()
    for seed in (0, 1):
        run(config(seed=seed, out=str(tmp_path)), read=read)
    assert tiny.read == 1
    for split_seed in (1, 2, 0):  # two are kept: that of seed 0 is read again
        read(config(split_seed=split_seed), TASKS.get("tiny_rows"))
    assert tiny.read == 4
