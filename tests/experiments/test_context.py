from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.pretraining.markov import MarkovModel
from backbone.sequence.fasta import Genome
from backbone.tokens import encode_dna
from experiments import context
from experiments.context import contexts, cut, markov_bits, model_bits, table_of

CONFIG = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=700, initializer_range=0.4)


def fasta(path: Path, length: int, seed: int, unknown: slice | None = None) -> Path:
    letters = np.random.default_rng(seed).choice(list(b"ACGT"), length).astype(np.uint8)
    if unknown is not None:
        letters[unknown] = ord("N")
    path.write_text(f">{path.stem}\n{letters.tobytes().decode()}\n")
    return path


def test_contexts_are_a_ladder_and_the_longest() -> None:
    assert contexts(10_240, 128) == [256, 1_024, 4_096, 10_112]
    assert contexts(1_024 + 64, 64) == [256, 1_024]
    with pytest.raises(InputError, match="fewer than 256; lower scored="):
        contexts(300, 64)


def test_windows_do_not_overlap_and_end_in_known_bases(tmp_path: Path) -> None:
    genome = Genome([fasta(tmp_path / "a.fa", 950, 0, slice(299, 300))])
    windows = cut(genome, 100, 20, 50)
    (record,) = genome.records
    letters = genome.letters(record)
    starts = [0, 100, 300, 400, 500, 600, 700, 800]  # 200 ends in N, 900 is not whole
    assert np.array_equal(windows, np.stack([letters[s : s + 100] for s in starts]))
    assert np.array_equal(cut(genome, 100, 20, 2), windows[[0, -1]])
    with pytest.raises(InputError, match="no window of 2000 bases"):
        cut(genome, 2000, 20, 50)


def test_the_same_bases_are_scored_with_each_context() -> None:
    model = random_model(CONFIG, seed=0).double().eval().requires_grad_(False)
    letters = np.random.default_rng(1).choice(list(b"ACGT"), (3, 700)).astype(np.uint8)
    found = dict(model_bits(model, letters, [256, 690], 10))
    for lag, bits in found.items():
        assert bits.shape == (3, 10)
        for row in range(3):
            ids = torch.from_numpy(encode_dna(letters[row].tobytes().decode()))
            seen = ids[700 - 10 - lag :]
            logs = model(seen[None]).logits[0].log_softmax(-1)
            expected = [-float(logs[lag - 1 + i, ids[690 + i]]) / log(2) for i in range(10)]
            assert np.allclose(bits[row], expected, atol=1e-5)
    assert not np.allclose(found[256], found[690])


def test_markov_models_score_the_same_bases(tmp_path: Path) -> None:
    path = fasta(tmp_path / "train.fa", 5_000, 2)
    windows = np.random.default_rng(3).choice(list(b"ACGT"), (2, 60)).astype(np.uint8)
    genome = Genome([path])
    sequence = genome.letters(genome.records[0])
    for order, bits in markov_bits([path], windows, 10):
        whole = MarkovModel(order).fit([sequence])
        expected = [-whole.log_probabilities(row)[-10:] / log(2) for row in windows]
        assert np.allclose(bits, expected)


def test_gains_are_paired_over_windows() -> None:
    base = np.random.default_rng(0).normal(2, 0.5, size=(40, 5))
    table = table_of({("m", 256): base, ("m", 1024): base - 0.25})
    assert table["bits_per_base"].tolist() == pytest.approx([base.mean(), base.mean() - 0.25])
    assert table["gain"].tolist() == pytest.approx([0, 0.25])
    assert table["gain_low"].isna().all()  # no window differs from another: no interval
    assert table["low"].iloc[1] < table["bits_per_base"].iloc[1] < table["high"].iloc[1]
    assert table["perplexity"].iloc[0] == pytest.approx(2 ** base.mean())
    assert table["bases"].tolist() == [200, 200]


def test_the_command_writes_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random_model(CONFIG, seed=0).save_pretrained(tmp_path / "model")
    held, train = fasta(tmp_path / "held.fa", 3_000, 4), fasta(tmp_path / "train.fa", 3_000, 5)
    threads = torch.get_num_threads()
    arguments = [f"backbone={tmp_path / 'model'}", f"fasta={held}", f"markov_fasta={tmp_path}"]
    arguments += [f"out={tmp_path / 'out'}", "scored=16", "windows=3"]
    assert train.exists() and context.main(arguments) == 0
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    table = pd.read_csv(tmp_path / "out" / "context.csv")
    assert table["context"].tolist() == [256, 684, 3, 5, 8]
    assert table["model"].tolist()[2:] == [f"Markov, order {order}" for order in (3, 5, 8)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["context.csv", "context.png"]
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "context.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["windows=3"], "fasta= is missing"),
        (["fasta=nowhere.fa"], "no FASTA file at 'nowhere.fa'"),
        (["fasta=x", "scored=0"], "scored=0: must be 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert context.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert context.main([]) == 0
    assert "fasta=[]" in capsys.readouterr().out
