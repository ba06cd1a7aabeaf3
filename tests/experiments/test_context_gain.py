import csv

import numpy as np
import pytest

from backbone.hyena.zoo import load
from backbone.pretraining.related.context_gain import context_gain
from backbone.pretraining.related.genomes import Genomes, Stretch
from backbone.pretraining.related.source import STREAMS
from experiments.context_gain import main

RANDOM = np.random.default_rng(0)
HELD_OUT = "".join(RANDOM.choice(list("ACGT"), size=900))


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "genome.fa").write_text(f">train\n{'ACGT' * 200}\n>held\n{HELD_OUT}\n")
    return [
        f"fasta={tmp_path}/genome.fa", "holdout=held", f"out={tmp_path}/out", "queries=3",
        "bases=30", "counts=[0,2]", "threads=1",
    ]  # fmt: skip


def test_the_gain_on_held_out_regions_is_written_as_table_and_picture(words, tmp_path, capsys):
    assert main([*words, "streams=[neighbourhood,markov]"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "context_gain.csv").open()))
    assert [(row["stream"], row["windows"]) for row in rows] == [
        ("neighbourhood", "0"), ("neighbourhood", "2"), ("markov", "0"), ("markov", "2"),
    ]  # fmt: skip
    held_out = Genomes([Stretch("genome", np.frombuffer(HELD_OUT.encode(), dtype=np.uint8))])
    family = STREAMS["neighbourhood"](held_out)
    expected = context_gain(load("bundled"), family, (0, 2), queries=3, bases=30)
    for row, place in zip(rows[:2], (0, 1), strict=True):
        assert float(row["related"]) == pytest.approx(expected.related[:, place].mean())
        assert float(row["gain"]) == pytest.approx(expected.gain[:, place].mean(), abs=1e-9)
    assert (tmp_path / "out" / "context_gain.png").is_file()
    assert "context_gain.svg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["fasta=[]"], "fasta= is missing"),
        (["streams=[x]"], "unknown stream 'x'"),
        (["backbones=[]"], "give at least one of"),
        (["backbones=[nothing]"], "nothing is neither a folder nor a known name"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, capsys, more, message):
    assert main([*words, *more]) == 2
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert captured.out == ""
