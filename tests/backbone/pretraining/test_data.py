"""Batch of token ids from one genome or several: weights, case, alphabets, who draws which row."""

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.pretraining.data import IGNORED, Batch, GenomeSource, MixedSource, token_ids
from backbone.pretraining.windows import divide
from backbone.sequence.dna import PROTEIN, RNA


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def codes(*texts):
    return np.stack([np.frombuffer(text.encode(), dtype=np.uint8) for text in texts])


def source(tmp_path, name, bases, held_out="", **options):
    path = tmp_path / f"{name}.fa"
    path.write_text(f">{name}\n{bases}\n" + (f">{name}_held\n{held_out}\n" if held_out else ""))
    division = divide([str(path)], holdout=[f"{name}_held"] if held_out else [])
    return GenomeSource(division, 0.1, **options)


def mixed(tmp_path, weights):
    parts = {
        "a": source(tmp_path, "a", "AT" * 50, held_out="A" * 40),
        "c": source(tmp_path, "c", "C" * 300, held_out="C" * 90, reverse_complement=False),
        "g": source(tmp_path, "g", "G" * 30, reverse_complement=False),
    }
    return MixedSource(parts, weights)


def test_genomes_are_drawn_by_their_weights(tmp_path):
    rows = mixed(tmp_path, {"a": 3, "c": 1, "g": 4}).batch(1600, 8, seed=0, step=0)
    shares = [float((rows.inputs[:, 0] == token).mean()) for token in (8, 9)]
    assert shares == pytest.approx([1 / 8, 4 / 8], abs=0.04)
    assert rows.inputs.shape == rows.targets.shape == (1600, 8)


def test_a_row_is_the_same_whoever_draws_it(tmp_path):
    for drawn in (mixed(tmp_path, {"a": 1, "c": 1, "g": 1}), source(tmp_path, "x", "ACGGT" * 40)):
        whole = drawn.batch(12, 8, seed=5, step=9)
        parts = [drawn.batch(4, 8, 5, 9, first) for first in (0, 4, 8)]
        assert np.array_equal(np.concatenate([part.inputs for part in parts]), whole.inputs)
        assert not np.array_equal(drawn.batch(12, 8, 5, 10).inputs, whole.inputs)


def test_all_genomes_are_held_out_alike(tmp_path):
    drawn = mixed(tmp_path, {"a": 1, "c": 1, "g": 1})
    assert drawn.held_out(9, 10**9).inputs[:, 0].tolist() == [7] * 4 + [8] * 9
    assert drawn.held_out(9, 6).inputs[:, 0].tolist() == [7] * 2 + [8] * 2
    assert MixedSource({"g": drawn.sources["g"]}, {"g": 1}).held_out(9, 9) is None


def test_soft_masked_letters_are_read_but_need_not_count(tmp_path):
    rows = token_ids(codes("ACgtN", "nnACG"), soft_masked_targets=False)
    assert rows.inputs.tolist() == [[7, 8, 9, 10], [11, 11, 7, 8]]
    assert rows.targets.tolist() == [[8, IGNORED, IGNORED, IGNORED], [IGNORED, 7, 8, 9]]
    counted = token_ids(codes("ACgtN")).targets.tolist()
    assert counted == [[8, 9, 10, IGNORED]]
    made = source(tmp_path, "m", "ACGT" * 20 + "acgt" * 20, soft_masked_targets=False)
    batch = made.batch(50, 20, seed=0, step=0)
    assert 0.3 < (batch.targets == IGNORED).mean() < 0.7
    assert set(np.unique(batch.inputs)) == {7, 8, 9, 10}
    plain = source(tmp_path, "p", "ACGT" * 20 + "acgt" * 20).batch(50, 20, seed=0, step=0)
    assert np.array_equal(plain.inputs, batch.inputs)
    assert (plain.targets != IGNORED).all()


def test_other_alphabets_have_their_own_ids(tmp_path):
    assert token_ids(codes("ACGUN"), RNA).inputs.tolist() == [[7, 8, 9, 10]]
    rows = token_ids(codes("ACDYX"), PROTEIN)
    assert rows.inputs.tolist() == [[7, 8, 9, 26]]
    assert rows.targets.tolist() == [[8, 9, 26, IGNORED]]


def test_a_protein_has_no_reverse_complement(tmp_path):
    (tmp_path / "p.fa").write_text(">p\nMKVLAAGIVG*\n")
    division = divide([str(tmp_path / "p.fa")], alphabet=PROTEIN)
    with pytest.raises(InputError, match="alphabet=protein has no complementary strand"):
        GenomeSource(division, 0.1)
    drawn = GenomeSource(division, 0.5, reverse_complement=False)
    assert drawn.batch(1, 10, 0, 0).inputs[0].tolist() == [17, 15, 24, 16, 7, 7, 12, 14, 24, 12]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_processes_share_held_out_rows_evenly_and_count_each_once(count):
    rows = Batch(np.arange(10, dtype=np.int8).reshape(5, 2), np.full((5, 2), 3, dtype=np.int8))
    shares = [rows.share(rank, count) for rank in range(count)]
    assert len({len(share) for share in shares}) == 1
    counted = [s.inputs[i].tolist() for s in shares for i in range(len(s)) if s.targets[i, 0] == 3]
    assert sorted(counted) == rows.inputs.tolist()
