"""Prompts of one task on another."""

import numpy as np
import pandas as pd
import pytest

from experiments.transfer import main, similarity_order
from icl import run
from icl.reporting.report import find_reports
from tasks import load_task


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs of two tasks."""
    root = tmp_path_factory.mktemp("runs")
    for task in ("synthetic_easy", "synthetic_hard"):
        words = [f"task={task}", "method=kmer_logreg", "method.kmer=4", "audit=none", "threads=1"]
        assert run.main([*words, "n_train=300", f"out={root}"]) == 0
    return [path.parent for path in find_reports(root)]


def test_every_prompt_on_every_task(runs, tmp_path, capsys):
    words = [f"runs=[{runs[0]},{runs[1]}]", "rows=100", "threads=1", f"out={tmp_path}"]
    assert main(words) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "[1/2] prompt of synthetic_easy"
    assert second.startswith("[2/2] prompt of synthetic_hard; at most about ")
    assert {path.name for path in tmp_path.iterdir()} == {
        "transfer.png",
        "transfer.svg",
        "transfer.csv",
    }
    table = pd.read_csv(tmp_path / "transfer.csv").set_index(["prompt", "task"])
    assert len(table) == 4 and set(table["n"]) == {100}
    own = table.loc[("synthetic_easy", "synthetic_easy")]
    assert own["auroc"] > 0.85 and own["auroc_low"] <= own["auroc"] <= own["auroc_high"]
    other = table.loc[("synthetic_easy", "synthetic_hard")]
    assert 0.3 < other["auroc"] < 0.7
    whole = table[table["n_clean"] == 100]  # chance may make one row alike
    assert (table["n_clean"] >= 95).all() and len(whole) >= 2
    assert (whole["clean_auroc"] == whole["auroc"]).all()


def test_rows_that_the_prompt_has_seen_in_another_task_are_not_clean(tmp_path):
    """The second run is tested on 15 rows that the first was trained on, and 25 that it was not."""
    rows = load_task("synthetic_easy").splits(0).train
    lines = [f"{row.sequence},{row.label}\n" for row in rows[:400]]
    tables = {"first": (lines[:300], lines[300:340]), "second": (lines[340:], lines[285:325])}
    words = []
    for name, parts in tables.items():
        for split, part in zip(("train", "test"), parts, strict=True):
            (tmp_path / f"{name}.{split}.csv").write_text("sequence,label\n" + "".join(part))
        files = [f"task.{split}={tmp_path}/{name}.{split}.csv" for split in ("train", "test")]
        chosen = ["task=table", *files, "method=kmer_logreg", "method.kmer=2", "audit=none"]
        assert run.main([*chosen, "threads=1", f"out={tmp_path}/{name}"]) == 0
        words += [str(path.parent) for path in find_reports(tmp_path / name)]
    assert main([f"runs=[{','.join(words)}]", "threads=1", f"out={tmp_path}/out"]) == 0
    table = pd.read_csv(tmp_path / "out" / "transfer.csv")
    assert list(table["n"]) == [40] * 4
    assert list(table["n_clean"]) == [40, 25, 40, 40]


def test_tasks_that_serve_each_other_are_neighbours():
    areas = {"a": {"b": 0.5, "c": 0.95}, "b": {"d": 0.1}, "c": {}, "d": {}}
    names = list(areas)
    rows = [
        {"prompt": one, "task": two}
        | {"auroc": 1.0 if one == two else areas[min(one, two)].get(max(one, two), 0.5)}
        for one in names
        for two in names
    ]
    order = similarity_order(pd.DataFrame(rows))
    assert abs(order.index("a") - order.index("c")) == 1
    assert abs(order.index("b") - order.index("d")) == 1


def test_tasks_without_a_figure_are_far_apart():
    rows = [
        {"prompt": one, "task": two, "auroc": 1.0 if one == two else np.nan}
        for one in "ab"
        for two in "ab"
    ]
    assert sorted(similarity_order(pd.DataFrame(rows))) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "at least two"), (["runs=[x,y]"], "x"), (["runs=[x]"], "at least two")],
)
def test_a_mistake_is_one_line(tmp_path, capsys, words, message):
    assert main([*words, f"out={tmp_path / 'x'}"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
