"""The command: a finished run, some rows, and the files about them."""

import json

import numpy as np
import pandas as pd
import pytest

from icl.explain.__main__ import main
from icl.reporting.report import find_reports
from tasks.catalog import TASKS
from tasks.task import Task


@pytest.fixture
def explain(capsys):
    """Calls `python -m icl.explain`: (exit code, lines, message)."""

    def one(*words: str) -> tuple[int, list[str], str]:
        code = main([*words, "threads=1"])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return one


@pytest.fixture
def finished(call, tiny, tmp_path):
    """The folder of a finished run."""
    call("task=tiny_rows", "method=kmer_logreg", "method.kmer=1", "audit=none", "threads=1")
    (path,) = find_reports(tmp_path)
    return path.parent


def test_test_rows_are_explained(explain, finished, tmp_path):
    code, lines, _ = explain(f"run={finished}", "rows=4", f"out={tmp_path / 'x'}", "kmer=3")
    assert code == 0
    written = {path.name for path in (tmp_path / "x").iterdir()}
    assert written == {
        *("rows.tsv", "bases.tsv", "motifs.tsv", "summary.json"),
        *("modisco_one_hot.npz", "modisco_attributions.npz"),
    }
    rows = pd.read_csv(tmp_path / "x" / "rows.tsv", sep="\t")
    assert len(rows) == 4 and sorted(rows["label"]) == ["poor", "poor", "rich", "rich"]
    assert set(rows["explained"]) == {"rich"}
    bases = pd.read_csv(tmp_path / "x" / "bases.tsv", sep="\t")
    assert len(bases) == 4 * 40
    of_base = bases.groupby("base")["importance"].mean()
    assert min(of_base["C"], of_base["G"]) > 0 > max(of_base["A"], of_base["T"])
    letters = np.load(tmp_path / "x" / "modisco_one_hot.npz")["arr_0"]
    values = np.load(tmp_path / "x" / "modisco_attributions.npz")["arr_0"]
    assert letters.shape == values.shape == (4, 4, 40) and (letters.sum(axis=1) == 1).all()
    assert np.abs(values.sum(axis=1)).max() < 1e-5
    first = bases.iloc[0]
    own = "ACGT".index(first["base"])
    effects = first[["A", "C", "G", "T"]].to_numpy(float)
    assert effects[own] == 0 and letters[0, own, 0] == 1
    assert values[0, own, 0] == pytest.approx(-effects.mean(), abs=1e-6)
    assert first["importance"] == pytest.approx(-effects.sum() / 3, rel=1e-6)


def test_words_within_chance_are_not_printed(explain, finished, tmp_path):
    code, lines, _ = explain(f"run={finished}", "rows=2", f"out={tmp_path / 'x'}", "kmer=12")
    words = pd.read_csv(tmp_path / "x" / "motifs.tsv", sep="\t")
    assert code == 0 and (words["q"] > 0.05).all()
    assert lines[1] == "no word of 12 bases is important more often than in shuffled rows"


def test_another_class_has_the_opposite_importances(explain, finished, tmp_path):
    for name in ("poor", "rich"):
        explain(f"run={finished}", "rows=2", f"class={name}", f"out={tmp_path / name}")
    poor, rich = (pd.read_csv(tmp_path / n / "bases.tsv", sep="\t") for n in ("poor", "rich"))
    assert (poor["importance"] == -rich["importance"]).all()


def test_intervals_become_a_track(explain, finished, tmp_path):
    (tmp_path / "x.fa").write_text(">chr1 text\nGGATTACAGGCC\n>chr2\nAAAA\n")
    (tmp_path / "x.bed").write_text("chr1\t1\t5\na\nchr1\t4\t8\tb\t0\t-\n".replace("\na\n", "\n"))
    words = [f"run={finished}", f"fasta={tmp_path / 'x.fa'}", f"bed={tmp_path / 'x.bed'}"]
    code, _, _ = explain(*words, f"out={tmp_path / 'x'}", "control=none")
    assert code == 0
    bases = pd.read_csv(tmp_path / "x" / "bases.tsv", sep="\t")
    assert "".join(bases["base"]) == "GATT" + "TGTA"  # chr1:4-8 is TACA on the other strand
    track = (tmp_path / "x" / "importance.bedgraph").read_text().splitlines()
    assert [line.split()[:3] for line in track[1:]] == [
        ["chr1", str(i), str(i + 1)] for i in range(1, 8)
    ]
    value = bases["importance"].tolist()
    expected = [*value[:3], (value[3] + value[7]) / 2, value[6], value[5], value[4]]
    assert [float(line.split()[3]) for line in track[1:]] == pytest.approx(expected, rel=1e-5)
    assert not (tmp_path / "x" / "motifs.tsv").exists()


def test_a_planted_motif_is_scored(explain, call, tmp_path):
    call(
        *("task=synthetic_easy", "method=kmer_logreg", "method.kmer=4", "n_train=400"),
        *("audit=none", "threads=1"),
    )
    (path,) = find_reports(tmp_path)
    code, lines, _ = explain(f"run={path.parent}", f"out={tmp_path / 'x'}")
    assert code == 0 and lines[0].endswith("kmer_logreg has no gradients to compare")
    assert "rows with the motif" in lines[1] and any(" places (" in line for line in lines)
    planted = json.loads((tmp_path / "x" / "summary.json").read_text())["planted"]
    assert planted["rows_with"] + planted["rows_without"] == 20
    assert planted["top_ten_with"]["value"] > 0.8 > 0.2 > planted["top_ten_without"]["value"]
    motifs = pd.read_csv(tmp_path / "x" / "motifs.tsv", sep="\t")
    assert motifs["motif"][0] in "TGACGTCATGACGTCA"


MISTAKES = {
    "no run": (["run={run}/nowhere"], "no run at"),
    "no such class": (["run={run}", "class=rih"], "did you mean rich?"),
    "an unknown option": (["run={run}", "row=3"], "did you mean rows?"),
    "bed alone": (["run={run}", "bed=x.bed"], "bed= needs fasta="),
    "both": (["run={run}", "fasta=x.fa", "task=tiny_rows"], "give task= or fasta=, not both"),
    "no file": (["run={run}", "fasta={run}/x.fa"], "x.fa"),
    "no such chromosome": (["run={run}", "fasta={here}/x.fa", "bed={here}/x.bed"], "chr7"),
    "outside": (["run={run}", "fasta={here}/x.fa", "bed={here}/y.bed"], "not inside its record"),
    "another kind": (["run={run}", "task=numbers"], "and the run's task is a classification task"),
    "an unknown task": (["run={run}", "task=tiny_row"], "did you mean tiny_rows?"),
    "too few rows": (["run={run}", "rows=1"], "1 of 30 rows"),
    "no rows": (["run={run}", "rows=0"], "rows=0: must be 1 or more"),
    "a file for a folder": (["run={run}", "out={run}/report.json"], "is not a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(explain, finished, tiny, tmp_path, monkeypatch, mistake):
    numbers = Task("numbers", ("y",), tiny, kind="regression")
    monkeypatch.setitem(TASKS._values, "numbers", numbers)
    (tmp_path / "x.fa").write_text(">chr1\nGATTACA\n")
    (tmp_path / "x.bed").write_text("chr7\t0\t5\n")
    (tmp_path / "y.bed").write_text("chr1\t0\t50\n")
    before = sorted(tmp_path.rglob("*"))
    words, message = MISTAKES[mistake]
    code, lines, error = explain(*(word.format(run=finished, here=tmp_path) for word in words))
    assert (code, lines) == (2, []) and error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert sorted(tmp_path.rglob("*")) == before


def test_rows_longer_than_the_context_are_refused(explain, call, tiny, tmp_path):
    call(
        *("task=tiny_rows", "method=linear_probe", "backbone=random:bundled", "n_train=8"),
        *("audit=none", "threads=1"),
    )
    (path,) = find_reports(tmp_path)
    (tmp_path / "long.fa").write_text(">a\n" + "ACGT" * 3000 + "\n")
    code, lines, error = explain(f"run={path.parent}", f"fasta={tmp_path / 'long.fa'}")
    assert code == 2 and "12000 nucleotides exceed" in error


def test_without_arguments_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "class=null" in capsys.readouterr().out.split()
