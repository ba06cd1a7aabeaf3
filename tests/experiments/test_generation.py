"""Generated sequences, judged: values by hand, and the command on a tiny backbone."""

import numpy as np
import pandas as pd
import pytest

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments.generation import COPIED, Source, judged, kmer_distance, main
from icl import run
from icl.reporting.report import find_reports
from tasks.task import Example


class MoreG:
    """Takes a sequence for class 1 if it has more G than C."""

    def scores(self, examples):
        more = np.array([e.sequence.count("G") > e.sequence.count("C") for e in examples])
        return np.stack([1.0 - more, more], axis=1)


def test_a_table_by_hand():
    draw = np.random.default_rng(0)
    row = "".join(draw.choice(list("ACGT"), size=40))
    copied = "AAAA" + row[5 : 5 + COPIED]
    sources = [
        Source("a", 1, ["GGGA", "CCTT", "GATT", copied]),
        Source("b", 0, ["CC", "GG"]),
    ]
    test = [Example("GGAA", 1), Example("GGGG", 1), Example("CCCC", 0)]
    table = judged(sources, {"judge": MoreG()}, ("c", "g"), [Example(row, 0)], test)
    more = copied.count("G") > copied.count("C")
    assert list(table["judge"]) == [pytest.approx((2 + more) / 4), pytest.approx(0.5)]
    assert (table["judge_low"] < table["judge"]).all() and list(table["label"]) == ["g", "c"]
    assert list(table["copied"]) == [1, 0] and list(table["gc_real"]) == [0.75, 1.0]
    assert table["gc"][1] == 1.0


def test_the_distance_of_kmers():
    assert kmer_distance(["AAAA"], ["AAAAA", "TTTT"]) == 0  # a word and its reverse complement
    assert kmer_distance(["AAAA"], ["CCCC"]) == pytest.approx(1)


def test_the_command(tmp_path, capsys):
    shape = HyenaDNAConfig(
        d_model=8, n_layer=2, d_inner=16, max_seq_len=2000, initializer_range=0.4
    )
    random_model(shape, seed=0).save_pretrained(tmp_path / "tiny")
    words = [f"backbone={tmp_path / 'tiny'}", "audit=none", "threads=1", "n_train=40"]
    words += ["task=synthetic_easy", "test_rows=40", "val_rows=20", f"out={tmp_path / 'runs'}"]
    assert run.main([*words, "method=few_shot", "method.readout=channel", "k=1"]) == 0
    assert run.main([*words, "method=gc_only"]) == 0
    folders = {p.parent.parent.name: p.parent for p in find_reports(tmp_path / "runs")}
    out = tmp_path / "x"
    words = ["count=4", "bases=30", "n_train=40", "judges=[kmer_logreg]", "threads=1"]
    assert main([f"run={folders['few_shot']}", *words, f"out={out}"]) == 0
    table = pd.read_csv(out / "generation_synthetic_easy_few_shot.csv")
    assert len(table) == 2 * 5 and set(table["n"]) == {4}
    fasta = (out / "generation_synthetic_easy_few_shot.fa").read_text()
    assert fasta.count(">") == 8 and ">motif_4 prompt (few_shot)\n" in fasta
    capsys.readouterr()
    assert main([f"run={folders['gc_only']}", *words]) == 2
    assert "method.readout=channel" in capsys.readouterr().err
    assert main([f"run={folders['few_shot']}", "judges=[linear_probe]"]) == 2
    assert "uses the backbone" in capsys.readouterr().err
