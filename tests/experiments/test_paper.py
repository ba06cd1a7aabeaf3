"""The paper's figures beside ours: which belong together, and what is left without a figure."""

import pandas as pd
import pytest

from experiments.paper import PAPER, beside, main
from experiments.pictures.paper import draw
from tasks.catalog import TASKS


def test_every_figure_has_its_source_and_a_task_of_ours():
    paper = pd.read_csv(PAPER)
    assert list(paper) == [
        *("source", "table", "name", "task", "metric", "model", "context", "percent")
    ]
    assert paper[["source", "table", "name", "metric", "model"]].notna().all(axis=None)
    assert set(paper["task"]) <= set(TASKS.names())
    assert paper["percent"].between(20, 100).all()
    assert not paper.duplicated(["table", "name", "metric", "model", "context"]).any()
    own = paper[paper["model"] == "HyenaDNA"].groupby("table").size()
    assert own.to_dict() == {
        "Table 4.1": 8, "Table 4.2": 18, "Table 4.3": 6, "Table 4.4": 1, "Table 4.5": 5,
    }  # fmt: skip


@pytest.fixture
def ours(tmp_path):
    rows = [
        ("enhancer_cohn", "linear_probe", None, "accuracy", 0.726, 0.695, 0.757),
        ("enhancer_cohn", "linear_probe", None, "mcc", 0.45, 0.4, 0.5),
        ("enhancer_cohn", "linear_probe", "random_backbone", "accuracy", 0.6, 0.5, 0.7),
        ("nt_original_promoter_all", "kmer_logreg", None, "macro_f1", 0.8, None, None),
        ("synthetic_easy", "kmer_logreg", None, "accuracy", 0.9, 0.8, 1.0),
    ]
    columns = ["task", "method", "control", "metric", "value", "low", "high"]
    path = tmp_path / "summary.csv"
    pd.DataFrame(rows, columns=columns).assign(n_train=1000).to_csv(path, index=False)
    return path


def test_ours_stand_beside_the_same_set_and_metric(ours, tmp_path, capsys):
    assert main([f"tables=[{ours}]", f"out={tmp_path}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-4:] == [
        str(tmp_path / f"paper_beside_ours.{suffix}") for suffix in ("csv", "md", "png", "svg")
    ]
    assert said[0] == "Not run: 36 of 38 sets"
    assert said[1].startswith("  Table 4.1: Mouse Enhancers; Coding vs Intergenomic; ")
    assert not any("Cohn" in line for line in said)
    table = pd.read_csv(tmp_path / "paper_beside_ours.csv")
    cohn = table[(table["task"] == "enhancer_cohn") & (table["model"] == "HyenaDNA")]
    assert cohn[["percent", "method", "ours", "low", "high"]].round(6).values.tolist() == [
        [74.2, "linear_probe", 72.6, 69.5, 75.7]
    ]
    assert "synthetic_easy" not in set(table["task"])
    text = (tmp_path / "paper_beside_ours.md").read_text()
    assert "| Human Enhancers Cohn | accuracy | 74.2 | 72.6 [69.5, 75.7] |  | 1,000 |" in text
    assert "| Promoter all | macro_f1 | 96.5 |  | 80.0 | 1,000 |" in text
    assert "| Mouse Enhancers | accuracy | 85.1 |  |  |  |" in text


def test_the_picture_has_every_set_with_a_figure_of_ours_and_all_models_of_the_paper(ours):
    table = beside(pd.read_csv(PAPER), pd.read_csv(ours))
    (axes,) = draw(table).axes
    sets = ["Human Enhancers Cohn", "Promoter all"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == sets
    assert axes.get_xlabel() == "accuracy or macro F1 (%)"
    _, labels = axes.get_legend_handles_labels()
    of_paper = {name.removeprefix("paper: ") for name in labels if name.startswith("paper")}
    assert of_paper == set(table.loc[table["name"].isin(sets), "model"])
    assert {"ours: linear_probe", "ours: kmer_logreg"} <= set(labels)
    (theirs,) = [line for line in axes.lines if line.get_label() == "paper: HyenaDNA"]
    assert theirs.get_xdata().tolist() == [74.2, 96.5]
    markers = [line.get_marker() for line in axes.lines if line.get_label().startswith("paper")]
    assert len(markers) == len(set(markers))  # told apart without colours


def test_without_tables_the_results_of_the_repository_are_taken(tmp_path, capsys):
    assert main([f"out={tmp_path}"]) == 0
    table = pd.read_csv(tmp_path / "paper_beside_ours.csv")
    own = table[(table["model"] == "HyenaDNA") & table["ours"].notna()]
    assert set(own["name"]) >= {"Human Enhancers Cohn", "Human OCR Ensembl"}
    assert "Not run: 34 of 38 sets" in capsys.readouterr().out


def test_a_table_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name, said in (("none.csv", "there is no such file"), ("other.csv", "has no column task")):
        assert main([f"tables=[{tmp_path / name}]", f"out={tmp_path}"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
