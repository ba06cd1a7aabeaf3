"""Pretraining runs side by side: what is read from their metrics, and models on held-out files."""

import json
import math

import pandas as pd
import pytest
import torch

from backbone.hyena.zoo import load
from experiments.pretraining import draw, main, perplexity, read_curve


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run_of(folder, *perplexities):
    folder.mkdir()
    lines = [{"step": 1, "tokens": 10, "seconds": 1.0, "cpu_seconds": 0.5, "loss": 1.4}]
    for i, value in enumerate(perplexities, start=1):
        line = {"step": i, "tokens": 100 * i, "seconds": 2.0 * i, "cpu_seconds": 1.5 * i}
        lines.append({**line, "valid_perplexity": value})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 9, "valid_perp')  # still running
    return folder


def test_curves_are_a_table_and_a_picture(tmp_path, capsys):
    one, two = run_of(tmp_path / "one", 3.9, 3.5), run_of(tmp_path / "two", 3.8)
    out = tmp_path / "out"
    assert main(["curves", f"runs=[warm-up={one},constant={two}]", f"out={out}"]) == 0
    table = pd.read_csv(out / "curves.csv")
    assert table["run"].tolist() == ["warm-up", "warm-up", "constant"]
    assert table["perplexity"].tolist() == [3.9, 3.5, 3.8]
    assert table["cpu_seconds"].tolist() == [1.5, 3.0, 1.5]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.split() == [f"{out}/curves.csv", f"{out}/curves.png"]
    axes = draw(table).axes
    assert [a.get_xlabel() for a in axes] == ["processor time (s)", "tokens (millions)"]
    assert [line.get_linestyle() for line in axes[0].lines] == ["-", "--"]
    assert len(read_curve(str(one))) == 2


def test_the_first_evaluation_does_not_flatten_all_that_follow(tmp_path):
    table = read_curve(str(run_of(tmp_path / "one", 7.5, 3.9, 3.5))).assign(run="warm-up")
    axes = draw(table).axes[0]
    assert 3.9 < axes.get_ylim()[1] < 4.0
    assert axes.get_title(loc="left") == "above the picture, at the start: 7.50 (warm-up)"


def test_a_model_is_scored_window_by_window(tmp_path):
    text = "ACGTTGCA" * 8
    (tmp_path / "x.fa").write_text(f">a\n{text}\n>b\nGGGGGGGGGGGG\n")
    model = load("bundled")
    ids = torch.tensor([[dict(zip("ACGT", (7, 8, 9, 10), strict=True))[b] for b in text[16:48]]])
    total, counted = 0.0, 0
    with torch.no_grad():
        for start in (0, 16):
            row = ids[:, start : start + 16]
            scores = model(row[:, :-1]).logits.double().log_softmax(-1)
            total -= float(scores.gather(2, row[:, 1:, None]).sum())
            counted += 15
    found = perplexity("bundled", f"{tmp_path}/x.fa:a:16-48", length=15)
    assert found == pytest.approx(math.exp(total / counted), rel=1e-5)
    assert perplexity("bundled", f"{tmp_path}/x.fa:b", 10) != pytest.approx(found)


def test_every_model_has_a_row_and_every_held_out_file_a_column(tmp_path):
    (tmp_path / "x.fa").write_text(">a\n" + "ACGTTGCA" * 8 + "\n")
    words = ["models=[new=random:bundled,trained=bundled]", f"held_out=x={tmp_path}/x.fa"]
    threads = torch.get_num_threads()
    assert main(["genomes", *words, "length=20", f"out={tmp_path}"]) == 0
    torch.set_num_threads(threads)
    table = pd.read_csv(tmp_path / "genomes.csv")
    assert table.columns.tolist() == ["model", "x"]
    assert table["model"].tolist() == ["new", "trained"]
    assert table["x"][1] < table["x"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("draw", "unknown command 'draw'; known: curves, genomes"),
        ("curves out=x", "runs= is missing"),
        ("curves runs=/no/such", "'/no/such' has no name; write NAME=DIR"),
        ("curves runs=a=/no/such", "metrics.jsonl cannot be read: No such file"),
        ("genomes models=a=bundled", "held_out= is missing"),
        ("genomes models=a=bundled held_out=x=/no.fa", "no FASTA file at '/no.fa'"),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
