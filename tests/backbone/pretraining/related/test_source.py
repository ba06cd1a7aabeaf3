"""Rows of related windows: who draws them, what counts, exact resumption, the context gain."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.pretrain import main, pretrain, source_of
from backbone.pretraining.config import PretrainConfig
from backbone.pretraining.data import IGNORED
from backbone.pretraining.related.context_gain import bits_a_base, context_gain
from backbone.pretraining.related.genomes import Genomes, Stretch
from backbone.pretraining.related.source import STREAMS, RelatedSource, join
from backbone.tokens import NUCLEOTIDES, SEP, N


def codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.fixture
def config(tmp_path, monkeypatch) -> PretrainConfig:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for name, length in (("train", 6_000), ("valid", 3_000)):
        (tmp_path / f"{name}.fa").write_text(
            f">{name}\n{''.join(random.choice(list('ACGT'), size=length))}\n"
        )
    return PretrainConfig(
        source="related",
        fasta=[str(tmp_path / "train.fa")],
        valid_fasta=[str(tmp_path / "valid.fa")],
        out=str(tmp_path / "run"),
        d_model=8,
        n_layer=2,
        max_seq_len=256,
        first_length=128,
        batch_tokens=512,
        tokens=512 * 8,
        checkpoint_every=512 * 3,
        valid_every=512 * 4,
        log_every=1,
        threads=torch.get_num_threads(),
    )


def test_windows_are_joined_by_separators_that_do_not_count():
    tokens, targets = join([codes("ACN"), codes("GT")])
    assert tokens.tolist() == [7, 8, N, SEP, 9, 10]
    assert targets.tolist() == [7, 8, IGNORED, IGNORED, 9, 10]
    assert join([codes("A"), codes("C")], separator_targets=True)[1].tolist() == [7, SEP, 8]


def test_a_row_is_the_same_whoever_draws_it(config):
    source = source_of(config)
    whole = source.batch(9, 200, seed=5, step=3)
    parts = [source.batch(3, 200, 5, 3, first) for first in (0, 3, 6)]
    assert whole.inputs.shape == whole.targets.shape == (9, 200)
    assert np.array_equal(np.concatenate([part.inputs for part in parts]), whole.inputs)
    assert np.array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
    assert not np.array_equal(source.batch(9, 200, 5, 4).inputs, whole.inputs)
    # The target of a position is the next token, but for separators.
    ahead = whole.inputs[:, 1:]
    assert np.array_equal(whole.targets[:, :-1], np.where(ahead == SEP, IGNORED, ahead))


def test_excluded_intervals_are_never_drawn(config, tmp_path):
    bases = ["A"] * 6_000
    bases[1_000:2_000] = "G" * 1_000
    Path(config.fasta[0]).write_text(f">train\n{''.join(bases)}\n")
    Path(tmp_path / "out.bed").write_text("train\t1000\t2000\nother\t0\t5\n")
    given = replace(config, streams=["neighbourhood", "plain"], exclude=[str(tmp_path / "out.bed")])
    drawn = source_of(given).batch(50, 100, seed=0, step=0).inputs
    assert not np.isin(drawn, (8, 9)).any()  # no G, and no C on the other strand
    with_them = source_of(replace(given, exclude=[])).batch(50, 100, seed=0, step=0).inputs
    assert np.isin(with_them, (8, 9)).any()


def test_a_run_that_was_killed_ends_with_the_same_weights(config, monkeypatch):
    config = replace(config, streams=["neighbourhood", "markov", "plain"])
    whole = pretrain(config)
    stopped = replace(config, out=f"{config.out}-again")

    def kill(status):
        if status.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(stopped, kill)
    again = pretrain(stopped)
    assert (whole / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_the_context_gain_is_a_line_of_the_metrics(config):
    pretrain(replace(config, streams=["neighbourhood", "markov", "plain"]))
    lines = map(json.loads, (Path(config.out) / "metrics.jsonl").read_text().splitlines())
    found = [set(line) for line in lines if "valid_perplexity" in line]
    assert found
    assert all({"context_gain.neighbourhood", "context_gain.markov"} <= names for names in found)


def tiny_model(max_seq_len: int = 256):
    return random_model(
        HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=max_seq_len), 0
    )


def test_bits_a_base_are_those_of_the_models_own_logits():
    model = tiny_model().eval()
    front, query = codes("ACGTTTGA"), codes("GGNAC")
    (bits,) = bits_a_base(model, [[front, query]])
    tokens = torch.tensor([[7, 8, 9, 10, 10, 10, 9, 7, SEP, 9, 9, N, 7, 8]])
    with torch.no_grad():
        log_p = model(tokens).logits[0][:, list(NUCLEOTIDES)].log_softmax(-1) / np.log(2)
    # The first base of the query, at 9, does not count; nor does the N, at 11.
    by_hand = -(log_p[9, 2] + log_p[11, 0] + log_p[12, 1]) / 3
    assert bits == pytest.approx(float(by_hand), rel=1e-5)


def test_without_windows_in_front_related_and_unrelated_are_the_same():
    family = STREAMS["markov"](Genomes([Stretch("g", codes("ACGT" * 100))]))
    gain = context_gain(tiny_model(), family, queries=3, bases=20)
    assert gain.counts == (0, 1, 2, 4, 8)  # 16 windows do not fit 256 tokens
    assert gain.related.shape == gain.unrelated.shape == (3, 5)
    assert (gain.gain[:, 0] == 0).all()
    assert (gain.gain[:, 1:] != 0).all()
    assert context_gain(tiny_model(16), family, bases=20).counts == ()


def test_held_out_rows_come_from_held_out_regions():
    train = Genomes([Stretch("g", codes("A" * 500))])
    valid = Genomes([Stretch("g", codes("CG" * 250))])
    source = RelatedSource(train, valid, {"neighbourhood": 1.0})
    rows = source.held_out(64, 4)
    assert rows is not None
    assert set(np.unique(rows.inputs)) <= {8, 9, SEP}
    assert RelatedSource(train, None, {"plain": 1.0}).held_out(64, 4) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["streams=[nearby]"], "unknown stream"),
        (["alphabet=protein"], "source=related needs alphabet=dna"),
        (["source=relatd"], "must be one of windows, related"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(config, capsys, words, message):
    given = [f"fasta={config.fasta[0]}", f"out={config.out}", "tokens=4096", "source=related"]
    assert main([*given, *words]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err


def test_a_bed_file_of_other_genomes_is_refused(config, capsys, tmp_path):
    (tmp_path / "other.bed").write_text("chrX\t0\t5\n")
    given = [f"fasta={config.fasta[0]}", f"out={config.out}", "tokens=4096", "source=related"]
    assert main([*given, f"exclude=[{tmp_path}/other.bed]"]) == 2
    assert "no genome has a record" in capsys.readouterr().err
