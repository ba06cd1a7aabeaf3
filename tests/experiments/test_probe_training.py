"""Training on episodes: which tokens count, and a small Hyena that learns to learn from context."""

import numpy as np
import pytest
import torch

from backbone.pretraining.data import IGNORED
from backbone.pretraining.trainer import Trainer
from backbone.tokens import decode_dna
from experiments.probe import measure
from experiments.probe_training import EpisodeSource, Options, main
from tasks.catalog import PROBES
from tasks.probes.probe import Probe
from tasks.probes.recall import Recall

STEPS = 1500
"""At most; a third is usual."""

TOY = Probe("toy", ("A", "T"), Recall(words=("A", "T"), key=1))


def test_only_answers_that_the_context_tells_are_counted():
    source = EpisodeSource(TOY, shots=2)
    rows = source.batch(40, 30, seed=3, step=5)
    assert rows.inputs.shape == rows.targets.shape == (40, 30)
    shown = set()
    for inputs, targets in zip(rows.inputs, rows.targets, strict=True):
        pairs = decode_dna(inputs).removesuffix("[PAD]" * 2).split("[SEP]")[:-1]
        pairs = list(zip(pairs[::2], pairs[1::2], strict=True))
        answer_at = [4 * i + 1 for i in range(len(pairs))]  # key SEP word SEP
        counted = [i for i, at in enumerate(answer_at) if targets[at] != IGNORED]
        first = counted[0]
        assert counted == list(range(first, len(pairs)))
        shown.add(first)
        told = dict(pairs[:first])
        assert len(told) == first
        for key, word in pairs[first:]:
            assert told[key] == word
        at = [answer_at[i] for i in counted]
        assert [decode_dna(targets[[i]]) for i in at] == [pairs[i][1] for i in counted]
        others = np.delete(targets, at)
        assert (others == IGNORED).all()
    assert shown == {2, 4}  # one or two shots of two words


def test_rows_of_bit_functions_count_whole_answers():
    rows = EpisodeSource(PROBES.get("boolean_not"), shots=1).batch(1, 62, seed=0, step=0)
    counted = np.flatnonzero(rows.targets[0] != IGNORED)
    assert counted.tolist() == [*range(18 + 8, 18 + 16), *range(36 + 8, 36 + 16)]
    asked = decode_dna(rows.inputs[0][18:26])
    answer = decode_dna(rows.targets[0][26:34])
    assert answer == asked.translate(str.maketrans("AC", "CA"))


def test_rows_are_a_function_of_seed_and_step_and_held_out_rows_are_others():
    source, other = EpisodeSource(TOY, 2), EpisodeSource(TOY, 2)

    def text(rows):
        return [row.tobytes() for row in rows.inputs]

    drawn = text(source.batch(8, 63, seed=0, step=0))
    assert drawn == text(other.batch(8, 63, seed=0, step=0))
    assert drawn[:3] == text(other.batch(3, 63, seed=0, step=0))
    assert drawn != text(source.batch(8, 63, seed=0, step=1))
    held_out = text(source.held_out(63, 8))
    assert len(held_out) == 8 and not set(held_out) & set(drawn)
    assert len(source.held_out(63, 10**9)) < 10**4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("probe=copy", "probe=copy: train on recall or on a boolean one"),
        ("probe=recall shots=0", "shots=0: must be 1 or more"),
        ("probe=recall shots=9", "shots=9: 18 pairs"),
        ("probe=recall max_seq_len=30", "4 shots and one query take 44 tokens, and a row has 30"),
        ("probe=recall lr=0", "lr=0.0: must be more than 0"),
        ("", "probe= is missing"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, words, message):
    out = tmp_path / "run"
    assert main([f"out={out}", "tokens=1000", "threads=1", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two layers of width 32, trained on keys of one base until held-out answers are known."""
    out = tmp_path_factory.mktemp("toy") / "run"
    options = Options(
        probe=TOY.name,
        shots=2,
        out=str(out),
        d_model=32,
        d_inner=64,
        n_layer=2,
        max_seq_len=96,
        last_length=48,
        filter_order=32,
        activation_freq=1.0,
        embed_dropout=0.0,
        tokens=STEPS * 24 * 48,
        batch_tokens=24 * 48,
        lr=4e-3,
        threads=1,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trainer = Trainer(options, EpisodeSource(TOY, options.shots))
    for status in trainer.run():
        if status.step % 100 == 0 and trainer.evaluate(trainer.valid) < 1.03:
            break
    torch.set_num_threads(threads)
    return trainer.model.requires_grad_(False).eval()


def test_a_small_hyena_learns_from_its_context_and_the_controls_say_so(trained):
    result = measure(trained, TOY, 2, episodes=500, seed=11)
    assert result.accuracy.value >= 0.9
    assert result.mode == 0.5
    assert result.shuffled.low < 0.5 < result.shuffled.high
    assert result.flipped.value <= 0.1
    assert result.follows.value >= 0.9
