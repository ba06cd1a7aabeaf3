"""Embeddings of DNA without labels: what is in the files, by plain passes of the backbone."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.sequence.dna import reverse_complement
from backbone.tokens import encode_dna
from experiments.embed import __main__ as command
from icl.inference.embedding import embed

SHAPE = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=24, initializer_range=0.4)
MODEL = random_model(SHAPE, seed=1).requires_grad_(False).eval()
LONG = "".join(np.random.default_rng(0).choice(list("ACGT"), size=61))
SHORT = "ACGTTNGCA"


@pytest.fixture
def ask(monkeypatch, tmp_path, capsys):
    """Calls the command on two records; gives the code and what it said of a mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("backbone.hyena.zoo.load", lambda name, device: MODEL)
    monkeypatch.setattr(command, "prepare_arithmetic", lambda threads, device: None)
    (tmp_path / "x.fa").write_text(f">long text\n{LONG}\n>short\n{SHORT.lower()}\n")

    def one(*words):
        code = command.main(["fasta=x.fa", "out=o", *words])
        return code, capsys.readouterr().err

    return one


def layers_of(text: str) -> dict[str, np.ndarray]:
    """Every layer's states (L, D) in one pass."""
    ids = torch.from_numpy(encode_dna(text))[None]
    states: list[torch.Tensor] = []
    MODEL.encode(MODEL.embed(ids), states)
    hidden = states[-2]
    named = {"embedding": states[0], "block_1": states[1], "final_norm": states[-1]}
    assert hidden is states[1]
    return {name: value[0].numpy() for name, value in named.items()}


def test_pooled_embeddings_are_those_of_the_library_call(ask):
    assert ask("layers=[block_1,final_norm]")[0] == 0
    arrays = load_file("o/embeddings.safetensors")
    expected = embed(MODEL, [LONG, SHORT], ["block_1", "final_norm"])
    assert set(arrays) == {"block_1", "final_norm"}
    for name, values in expected.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_allclose(arrays[name], values, atol=1e-6)
    rows = pd.read_csv("o/rows.tsv", sep="\t")
    assert rows[["record", "start", "end", "first", "last"]].values.tolist() == [
        ["long", 0, 61, 0, 1],
        ["short", 0, 9, 1, 2],
    ]


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_every_base_has_its_own_state_on_each_strand(ask, strands):
    assert ask("pool=none", f"strands={strands}", "layers=[embedding,final_norm]")[0] == 0
    arrays = load_file("o/embeddings.safetensors")
    rows = pd.read_csv("o/rows.tsv", sep="\t")
    assert rows[["first", "last"]].values.tolist() == [[0, 61], [61, 70]]
    # 24 tokens at a time, of which 6 stand before a stretch of 18.
    for name in ("embedding", "final_norm"):
        expected = []
        for start in (0, 18, 36, 54):
            end = min(61, start + 18)
            first, last = max(0, start - 6), min(61, end + 6)
            own = layers_of(LONG[first:end])[name][start - first :]
            other = layers_of(reverse_complement(LONG[start:last]))[name][last - end :][::-1]
            expected.append(own if strands == "forward" else (own + other) / 2)
        own, other = (layers_of(text)[name] for text in (SHORT, reverse_complement(SHORT)))
        expected.append(own if strands == "forward" else (own + other[::-1]) / 2)
        np.testing.assert_allclose(arrays[name], np.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "none"])
def test_parquet_holds_the_same_numbers(ask, pool):
    words = (f"pool={pool}", "layers=[block_1,final_norm]")
    assert ask(*words)[0] == 0 and ask(*words, "format=parquet")[0] == 0
    arrays = load_file("o/embeddings.safetensors")
    table = pd.read_parquet("o/embeddings.parquet")
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.stack(table[name]), values)
    counts = table.groupby("row").size().tolist()
    assert counts == ([1, 1] if pool == "mean" else [61, 9])
    assert table["position"].tolist() == [t for count in counts for t in range(count)]


def test_intervals_are_read_on_their_strand(ask, tmp_path):
    (tmp_path / "x.bed").write_text("long\t3\t50\ta\t0\t-\nlong\t3\t20\tb\t0\t+\n")
    assert ask("bed=x.bed", "pool=none", "strands=forward")[0] == 0
    found = load_file("o/embeddings.safetensors")["final_norm"]
    assert found.shape == (64, 8)
    backwards = reverse_complement(LONG[3:50])
    np.testing.assert_allclose(found[:18], layers_of(backwards[:18])["final_norm"], atol=1e-6)
    np.testing.assert_allclose(found[47:], layers_of(LONG[3:20])["final_norm"], atol=1e-6)
    assert ask("bed=x.bed")[0] == 0
    pooled = embed(MODEL, [backwards, LONG[3:20]], ["final_norm"])["final_norm"]
    found = load_file("o/embeddings.safetensors")["final_norm"]
    np.testing.assert_allclose(found, pooled, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["layers=[block_9]"], "unknown layer 'block_9'"),
        (["fasta=no.fa"], "no FASTA file"),
        (["format=npz"], "format=npz: must be one of safetensors, parquet"),
        (["fasta=[]", "bed=x.bed"], "bed=x.bed needs fasta="),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(ask, words, part, tmp_path):
    code, err = ask(*words)
    assert code == 2 and part in err and err.count("\n") == 1
    assert not (tmp_path / "o").exists()
