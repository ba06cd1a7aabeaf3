"""Many tasks beside each other: which runs there are, what the table says, what is drawn."""

import gzip
import re
from math import hypot, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import benchmark as command
from experiments.benchmark import Options, cells, tabulate
from experiments.common.command import read_words
from experiments.pictures.benchmark import draw
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate
from tests.experiments.made_up import METRICS, report

WORDS = ["tasks=[synthetic_easy]", "methods=[majority,gc_only]", "seeds=2", "n_train=60"]


def finished(*reports):
    """Return finished runs by task and method."""
    table = {}
    for one in reports:
        done = Finished(one, Path("x"), was_there=False)
        table.setdefault((one.setup.task, one.setup.method), []).append(done)
    return table


def test_the_command_runs_draws_and_does_not_repeat(tmp_path, capsys):
    out = tmp_path / "out"
    words = [*WORDS, "threads=1", f"runs={tmp_path / 'runs'}", f"out={out}"]
    assert command.main(words) == 0
    assert {p.name for p in out.iterdir()} == {f"benchmark.{e}" for e in ("png", "svg", "csv")}
    table = pd.read_csv(out / "benchmark.csv")
    assert list(table.columns) == list(command.COLUMNS)
    assert (table["n_train"] == 60).all() and (table["seeds"] == 2).all()
    majority = table[(table["method"] == "majority") & (table["metric"] == "accuracy")].iloc[0]
    assert majority["value"] == majority["clean_value"] == 0.5
    capsys.readouterr()
    assert command.main(words) == 0
    assert capsys.readouterr().out.count("finished before") == 4


def test_the_budget_goes_to_the_methods_that_have_it_and_never_exceeds_the_rows():
    words = ["tasks=[synthetic_easy]", "methods=[few_shot,soft_prompt,gc_only]", "seeds=1"]
    for asked, rows in ((100, 100), (10**6, None)):
        options, own = read_words(Options, [*words, f"n_train={asked}", "shots=3"])
        configs = [one.config for one in cells(options, own)]
        assert [(c.method.name, c.k, c.n_train) for c in configs] == [
            ("few_shot", 3, rows),
            ("soft_prompt", 16, rows),
            ("gc_only", None, rows),
        ]


def test_a_method_that_does_not_suit_a_task_is_left_out_and_named(capsys, data):
    words = ["tasks=[yeast_expression]", "methods=[gc_only,few_shot]", "seeds=1", f"data={data}"]
    planned = cells(*read_words(Options, words))
    assert [one.config.method.name for one in planned] == ["gc_only"]
    assert "left out: few_shot does not support yeast_expression" in capsys.readouterr().out


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data" / "regression"
    folder.mkdir(parents=True)
    letters = np.random.default_rng(0).choice(list("ACGT"), size=(40, 150))
    rows = "".join(f"{''.join(row)}\t{i / 40}\n" for i, row in enumerate(letters))
    with gzip.open(folder / "yeast_3utr_shalem2015.tsv.gz", "wt") as file:
        file.write("sequence\tlabel\n" + rows)
    return folder.parent


def test_intervals_add_what_seeds_and_what_rows_differ_by():
    values = {0: 0.6, 1: 0.7}
    runs = [
        report(
            "gc_only",
            seed=seed,
            metrics=dict.fromkeys(METRICS, Estimate(value, value - 0.04, value + 0.02)),
            clean_metrics=dict.fromkeys(METRICS, Estimate(0.5, 0.4, 0.7)),
            n_clean=80,
        )
        for seed, value in values.items()
    ]
    row = tabulate(finished(*runs)).set_index("metric").loc["mcc"]
    half = 12.706205 * np.std([0.6, 0.7], ddof=1) / sqrt(2)  # Student's t, one degree of freedom
    assert row["value"] == pytest.approx(0.65)
    assert row["low"] == pytest.approx(0.65 - hypot(half, 0.04), rel=1e-5)
    assert row["high"] == pytest.approx(0.65 + hypot(half, 0.02), rel=1e-5)
    assert [row[f"clean_{name}"] for name in ("value", "low", "high")] == [
        pytest.approx(0.5),
        pytest.approx(0.4),  # seeds agree: rows alone
        pytest.approx(0.7),
    ]
    assert (row["n_clean"], row["seeds"]) == (80, 2)


def test_where_no_clean_row_is_left_the_clean_figures_are_empty():
    table = tabulate(finished(report("gc_only", clean_metrics=None)))
    assert table["clean_value"].isna().all() and table["value"].notna().all()
    draw(table, "bundled")


def test_the_picture_has_a_line_a_task_with_the_rows_of_both_kinds():
    runs = [
        report(
            method, task=task, n_test=1200, n_clean=clean, clean_metrics=report().outcome.metrics
        )
        for task, clean in (("one", 1100), ("two", 900))
        for method in ("gc_only", "linear_probe")
    ]
    table = tabulate(finished(*runs))
    table[["low", "clean_low"]] = -0.4
    official, clean = draw(table, "bundled").axes
    assert official.get_xlim()[0] < -0.4  # no interval is cut off
    assert [t.get_text() for t in official.get_yticklabels()] == ["one", "two"]
    assert {"1,200", "rows"} == {t.get_text() for t in official.texts}
    assert {"1,100", "900", "rows"} == {t.get_text() for t in clean.texts}
    assert official.get_legend_handles_labels()[1] == ["gc_only", "linear_probe"]


def test_the_recipe_names_registered_tasks_each_once():
    options, own = read_words(Options, ["recipe=benchmark"])
    assert [TASKS.get(name).name for name in options.tasks] == options.tasks
    assert len(set(options.tasks)) == len(options.tasks) and set(own) <= set(options.methods)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tasks=[synthetic_esy]"], "unknown task 'synthetic_esy'; did you mean synthetic_easy"),
        (["methods=[]"], "at least one of tasks and methods"),
        (["n_train=0"], "n_train=0: must be 1 or more"),
        (["seeds=0"], "seeds=0: must be 1 or more"),
        (["method.linear_probe.x=1", "methods=[gc_only]"], "linear_probe is not run"),
        (["truncate=middle"], "truncate=middle: must be one of none, left"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert command.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and re.search(said, line)
