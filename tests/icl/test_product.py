"""Many tasks and methods in one command line: one table, and what each run takes of the options."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icl.config.product import product
from icl.reporting.report import find_reports
from tasks.catalog import TASKS
from tasks.task import Task
from tests.icl.conftest import Composition

FEW = ("threads=1", "audit=none")


@pytest.fixture
def two(tiny, monkeypatch):
    """A second task of the same rows."""
    task = Task("more_rows", ("poor", "rich"), Composition(), description="rows of a test")
    monkeypatch.setitem(TASKS._values, "more_rows", task)


def test_every_task_with_every_method_and_the_options_that_each_has(two):
    lines = product([
        *("task=[tiny_rows,more_rows]", "method=[majority,few_shot,soft_prompt]", "seed=3"),
        *("k=2", "method.epochs=1", "method.few_shot.strands=forward", "shots=2"),
    ])  # fmt: skip
    assert lines[:3] == [
        ["task=tiny_rows", "method=majority", "seed=3"],
        [
            *("task=tiny_rows", "method=few_shot", "seed=3", "k=2"),
            *("method.strands=forward", "shots=2"),
        ],
        ["task=tiny_rows", "method=soft_prompt", "seed=3", "k=2", "method.epochs=1", "shots=2"],
    ]
    assert [line[:2] for line in lines[3:]] == [
        ["task=more_rows", f"method={name}"] for name in ("majority", "few_shot", "soft_prompt")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=[tiny_rows]", "method=[majority,gc_onl]"], "did you mean gc_only"),
        (["task=[tiny_rows]"], "method= is missing"),
        (["task=[]", "method=majority"], "task=[]: give at least one"),
        (["task=[tiny_rows]", "method=[majority]", "k=4"], "k=4: none of majority has this option"),
        (["task=[tiny_rows]", "method=[majority]", "method.lr=1"], "none of majority has"),
        (["task=[tiny_rows]", "method=majority", "--cfg=job"], "cannot be combined with"),
        (["task=[tiny_rows]", "method=majority", "sed=1"], "did you mean seed"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_runs(two, call, words, message):
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not Path("runs").exists()


def test_one_table_of_all_runs_and_one_for_each_task(two, call):
    words = ("task=[tiny_rows,more_rows]", "method=[majority,gc_only]", "seeds=2", *FEW)
    code, out, err = call(*words)
    assert code == 0, err
    assert "[4/4] gc_only on more_rows" in err
    assert out.count("gc_only") == 2 and out.count("tiny_rows") >= 1
    table = pd.read_csv("runs/summary.csv")
    assert len(list(find_reports(Path("runs")))) == 8
    rows = set(zip(table["task"], table["method"], table["seeds"], strict=True))
    assert rows == {(t, m, 2) for t in ("tiny_rows", "more_rows") for m in ("majority", "gc_only")}
    for task in ("tiny_rows", "more_rows"):
        part = pd.read_csv(f"runs/{task}/summary.csv")
        assert part.equals(table[table["task"] == task].reset_index(drop=True))
    row = table[(table["method"] == "gc_only") & (table["metric"] == "accuracy")].iloc[0]
    reports = [json.loads(Path(path).read_text()) for path in row["reports"].split()]
    values = [report["outcome"]["metrics"]["accuracy"]["value"] for report in reports]
    assert row["value"] == pytest.approx(sum(values) / 2)


def test_what_a_method_cannot_do_is_left_out(two, call, tmp_path):
    bases = np.random.default_rng(0).choice(list("ACGT"), size=(60, 30))
    rows = "".join(f"{''.join(row)},{number}\n" for number, row in enumerate(bases))
    (tmp_path / "numbers.csv").write_text(f"sequence,label\n{rows}")
    words = ("task=[tiny_rows,table]", "method=[kmer_knn,majority]", *FEW)
    own = ("task.table.train=numbers.csv", "task.table.kind=regression")
    code, _, err = call(*words, *own)
    assert code == 0, err
    assert "kmer_knn on numbers: left out, the method does not do " in err
    found = pd.read_csv("runs/summary.csv")
    assert set(found[found["kind"] == "regression"]["metric"]) >= {"pearson", "r2"}


def test_json_has_every_run_with_its_metrics(two, call):
    code, out, err = call("task=[tiny_rows]", "method=[majority,gc_only]", "--json", *FEW)
    found = json.loads(out)
    assert code == found["exit_code"] == 0 and found["error"] is None
    assert [run["method"] for run in found["runs"]] == ["majority", "gc_only"]
    report = json.loads(Path(found["runs"][1]["report"]).read_text())
    accuracy = report["outcome"]["metrics"]["accuracy"]["value"]
    assert found["runs"][1]["metrics"]["accuracy"]["value"] == accuracy
    assert found["files"] == ["runs/summary.csv", "runs/tiny_rows/summary.csv"]
    assert found["tables"]["runs/summary.csv"][0]["task"] == "tiny_rows"
    assert "gc_only" in err
