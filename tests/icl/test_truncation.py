"""Rows that are longer than the backbone can hold: refused, or cut where the run says so."""

import pytest

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from icl import predict
from icl.config.options import RunConfig, identity, resolve
from icl.methods.catalog import METHODS
from icl.reporting.report import read_report
from icl.truncation import Cut
from tasks.registry import TaskConfig
from tasks.task import Example


def config(**options):
    method = METHODS.get("gc_only").config(name="gc_only")
    return resolve(RunConfig(task=TaskConfig("synthetic_easy"), method=method, **options))


@pytest.fixture
def short(tmp_path):
    """A checkpoint that holds 32 tokens; the task's rows have 40."""
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=32)
    random_model(shape, seed=0).save_pretrained(tmp_path / "short")
    return f"backbone={tmp_path / 'short'}"


def test_the_side_says_what_is_dropped():
    row = Example("AACCGGT", 1)
    assert [Cut(side, 3).text(row.sequence) for side in ("right", "left", "center")] == [
        "AAC", "GGT", "CCG",
    ]  # fmt: skip
    assert Cut("left", 7).rows([row]) == [row]
    assert Cut("left", 6).count([row, Example("ACG", 0)]) == 1


def test_long_rows_without_a_policy_are_one_line_that_names_it(tiny, call, short, tmp_path):
    code, _, err = call("task=tiny_rows", "method=linear_probe", short)
    said = err.split("error: ")[1]  # behind what saving the checkpoint has said
    assert code == 2 and said.count("\n") == 1
    assert (
        "40 nucleotides exceed the 32 that fit" in err and "truncate=right, left or center" in err
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["method=linear_probe"], 32),
        (["method=zero_shot"], 30),  # [SEP] and a label word of one letter
        (["method=soft_prompt", "k=2", "method.epochs=1"], 28),
        (["method=gc_only", "max_bases=25"], 25),
    ],
)
def test_a_run_cuts_every_row_to_what_fits_and_reports_how_many(
    tiny, call, short, tmp_path, words, most
):
    code, _, err = call("task=tiny_rows", *words, short, "truncate=right")
    assert code == 0, err
    (file,) = (tmp_path / "runs").rglob("report.json")
    report = read_report(file)
    assert report.outcome.details["rows_cut"] == 90 and report.outcome.details["max_bases"] == most
    if words[0] != "method=gc_only":
        (tmp_path / "x.fa").write_text(f">one\n{'ACGT' * 20}\n")
        predict.main([f"run={file.parent}", "fasta=x.fa"])
        assert (tmp_path / "scores.tsv").read_text().count("\n") == 2


def test_a_policy_names_the_run_only_where_there_is_one():
    assert "truncate" not in identity(config()) and "max_bases" not in identity(config())
    cut = config(truncate="left", max_bases=20)
    assert identity(cut)["truncate"] == "left" and identity(cut)["max_bases"] == 20


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("truncate=middle", "must be one of none, left, right, center"),
        ("max_bases=9", "max_bases=9: choose which bases of longer rows are dropped"),
        ("max_bases=0", "max_bases=0: must be 1 or more"),
    ],
)
def test_mistakes_are_one_line(tiny, call, word, message):
    code, _, err = call("task=tiny_rows", "method=gc_only", word)
    assert code == 2 and message in err and err.count("\n") == 1
