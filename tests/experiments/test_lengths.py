"""Accuracy against length: which runs there are, what their table says, one line for mistakes."""

import re

import numpy as np
import pandas as pd
import pytest

from experiments import lengths as command
from experiments.common.cells import run_cells
from experiments.common.command import read_words
from experiments.lengths import Options, cells, tabulate
from experiments.pictures.lengths import draw
from tests.tasks.sets.test_species import GC
from tests.tasks.sets.test_species import data as data  # genomes of two species

GENOMES = f"task.genomes={{{','.join(f'{name}:[genomes/{name}]' for name in GC)}}}"
ROWS = ["task.train_rows=20", "task.val_rows=10", "task.test_rows=20", "threads=1"]


def test_the_command_runs_draws_and_does_not_repeat(data, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ICL_DATA", raising=False)
    out, runs = tmp_path / "out", tmp_path / "runs"
    words = [GENOMES, *ROWS, "methods=[gc_only,majority]", "lengths=[60,30]", "divisions=2",
             f"data={data}", f"runs={runs}", f"out={out}"]  # fmt: skip
    assert command.main(words) == 0
    reports = list(runs.rglob("report.json"))
    assert len(reports) == 8 and {p.parts[-4] for p in reports} == {"species_30", "species_60"}
    assert {p.name for p in out.iterdir()} == {
        f"lengths_species.{e}" for e in ("png", "svg", "csv")
    }
    table = pd.read_csv(out / "lengths_species.csv")
    majority = table[table["method"] == "majority"]
    assert list(majority["length"]) == [30, 60] and list(majority["accuracy"]) == [0.5, 0.5]
    assert (table["divisions"] == 2).all() and (table["n_test"] == 20).all()
    gc = table[table["method"] == "gc_only"].set_index("length")["accuracy"]
    assert gc[60] >= 0.9  # 30 % against 70 % of 60 bases
    capsys.readouterr()
    assert command.main(words) == 0
    assert capsys.readouterr().out.count("finished before") == 8


def test_minutes_stop_before_a_run_and_the_next_time_goes_on(data, tmp_path, capsys):
    words = [GENOMES, *ROWS, "methods=[majority]", "lengths=[30,60]", "divisions=1",
             f"data={data}", f"runs={tmp_path / 'runs'}"]  # fmt: skip
    assert command.main([*words, "minutes=0.00001"]) == 0
    assert "1 runs are left" in capsys.readouterr().out
    assert command.main(words) == 0
    assert len(pd.read_csv(tmp_path / "runs" / "lengths_species.csv")) == 2


def test_a_recipe_stands_behind_what_is_given():
    options, own = read_words(Options, ["recipe=species", "methods=[kmer_logreg]", "divisions=1"])
    assert options.lengths == [250, 500, 1000, 2000, 4000, 8000] and options.divisions == 1
    assert set(own) == {"task"}  # options of methods that are not run are left out
    planned = cells(options, own)
    assert [one.config.task.length for one in planned] == options.lengths
    assert list(planned[0].config.task.genomes) == ["human", "yeast", "worm", "fly", "e_coli"]
    assert planned[0].config.task.test_records == ["hs38_chr9a", "hs37_chr17"]
    _, own = read_words(Options, ["recipe=species"])
    assert own["soft_prompt"] == ["epochs=60", "lr=0.3", "rows=16"]


def test_seed_and_division_move_together_and_budgets_go_to_methods_that_have_them():
    options, own = read_words(
        Options, ["methods=[gc_only,soft_prompt]", "lengths=[100]", "divisions=2", "k=3"]
    )
    planned = [one.config for one in cells(options, own)]
    assert [(c.method.name, c.seed, c.split_seed, c.k) for c in planned] == [
        ("gc_only", 0, 0, None),
        ("soft_prompt", 0, 0, 3),
        ("gc_only", 1, 1, None),
        ("soft_prompt", 1, 1, 3),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=synthetic_easy"], "task=synthetic_easy has no option length"),
        (["divisions=0"], "divisions=0: must be 1 or more"),
        (["method.linear_probe.x=1", "methods=[gc_only]"], "linear_probe is not run"),
        (["task.lenght=1"], "unknown option 'lenght'; did you mean length"),
        (["recipe=spezies"], "unknown recipe 'spezies'; did you mean species"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert command.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and re.search(said, line)


def test_the_interval_is_student_s_t_over_divisions(data, tmp_path):
    words = [GENOMES, *ROWS, "methods=[gc_only]", "lengths=[8]", "divisions=3", f"data={data}",
             f"runs={tmp_path}"]  # fmt: skip
    options, own = read_words(Options, words)
    finished = run_cells(cells(options, own))
    values = [done.report.outcome.metrics["accuracy"].value for done in finished["gc_only", 8]]
    row = tabulate(finished).iloc[0]
    half = 4.302653 * np.std(values, ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert row["accuracy"] == pytest.approx(np.mean(values))
    assert row["low"] == pytest.approx(max(0, np.mean(values) - half), rel=1e-5)
    assert row["high"] == pytest.approx(min(1, np.mean(values) + half), rel=1e-5)


def test_the_picture_labels_every_line():
    rows = [
        (method, length, 0.5 + i / 20, 0.4, 1.02, 3, 200, 125, 5, 1.0)
        for method in ("kmer_logreg", "linear_probe")
        for i, length in enumerate((250, 500, 1000))
    ]
    table = pd.DataFrame(rows, columns=list(command.COLUMNS))
    axes = draw(table, "species", list("abcde"), "bundled").axes[0]
    assert {t.get_text() for t in axes.texts} == {
        "chance 0.200",
        "kmer_logreg 0.600",
        "linear_probe 0.600",
    }
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["250", "500", "1,000"]
