"""Markov models: values by hand, and sources whose entropy is known."""

import math
from pathlib import Path

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.pretraining import markov
from backbone.pretraining.markov import MarkovModel, main


def letters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def test_order_0_by_hand() -> None:
    # "AAC" and its reverse complement "GTT": A 2, C 1, G 1, T 2, four kinds.
    # P(A) = (2 + 4/4) / (6 + 4) = 0.3; P(C) = 2/10.
    model = MarkovModel(0).fit([letters("AAC")])
    assert np.exp(model.log_probabilities(letters("ANC"))) == pytest.approx([0.3, 0.2])
    assert model.perplexity([letters("AC")]) == pytest.approx(1 / math.sqrt(0.06))


def test_order_1_by_hand() -> None:
    # After A: one A, one C (from AAC); nothing from GTT. P(C|A) = (1 + 2 * 0.2) / (2 + 2).
    model = MarkovModel(1).fit([letters("AAC")])
    probabilities = np.exp(model.log_probabilities(letters("ACA")))
    # After C nothing was seen: P(A|C) = P(A).
    assert probabilities == pytest.approx([0.3, 1.4 / 4, 0.3])


def test_probabilities_of_every_context_sum_to_1() -> None:
    random = np.random.default_rng(0)
    model = MarkovModel(3).fit([letters("".join(random.choice(list("ACGTN"), 500)))])
    for context in ("ACG", "TTT", "GCA", "AA", ""):
        total = sum(
            math.exp(model.log_probabilities(letters(context + base))[-1]) for base in "ACGT"
        )
        assert total == pytest.approx(1)


def test_contexts_do_not_span_n() -> None:
    model = MarkovModel(2).fit([letters("ACGTTGCATTACG" * 5)])
    apart = np.concatenate([model.log_probabilities(letters(part)) for part in ("ACG", "TTA")])
    assert np.array_equal(model.log_probabilities(letters("ACGNTTA")), apart)


def test_recovers_a_source_of_order_1() -> None:
    # Stays with 0.7, else one of the others: symmetric under reverse complement.
    random = np.random.default_rng(1)
    steps = random.choice(4, p=[0.7, 0.1, 0.1, 0.1], size=200_000)
    text = letters("ACGT")[np.cumsum(steps) % 4]
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    train, valid = text[:150_000], text[150_000:]
    assert MarkovModel(0).fit([train]).perplexity([valid]) == pytest.approx(4, rel=0.01)
    for order in (1, 4):
        perplexity = MarkovModel(order).fit([train]).perplexity([valid])
        assert perplexity == pytest.approx(math.exp(entropy), rel=0.01)


def test_a_sequence_left_out_and_a_shorter_context_are_as_if_counted_anew() -> None:
    random = np.random.default_rng(2)
    rows = [letters("".join(random.choice(list("ACGTN"), 60))) for _ in range(4)]
    query = letters("".join(random.choice(list("ACGT"), 40)))
    found = MarkovModel(4).fit(rows).without(rows[1]).up_to(2).log_probabilities(query)
    anew = MarkovModel(2).fit([rows[0], *rows[2:]]).log_probabilities(query)
    assert np.array_equal(found, anew)


def test_refuses_other_orders_and_nothing_to_score() -> None:
    with pytest.raises(InputError, match="order 12"):
        MarkovModel(12)
    with pytest.raises(InputError, match="no A, C, G or T"):
        MarkovModel(0).fit([letters("A")]).perplexity([letters("NN")])


def test_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.fa", "b.fa"):
        (tmp_path / name).write_text(f">{name}\n" + "ACGGT" * 50 + "\n")
    assert main([f"fasta={tmp_path}", f"valid_fasta={tmp_path}/b.fa"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list("358")
    assert main([f"fasta={tmp_path}"]) == 2
    assert "nothing is held out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_without_arguments_the_command_prints_its_help(arguments, capsys) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith("python -m backbone.markov key=value ...") and not said.err
    assert "valid_fasta=" in said.out


@pytest.mark.parametrize("order", [0, 1, 3])
def test_drawn_sequences_follow_the_probabilities(order):
    """Counted again, words of order + 1 bases have the probabilities that they were drawn with."""
    text = np.frombuffer(b"ACGTTGCATTGACCAGTGCAAACCCGGT" * 5, dtype=np.uint8)
    model = MarkovModel(order).fit([text])
    drawn = model.draw(300, 200, np.random.default_rng(0))
    assert {len(row) for row in drawn} == {200} and len(set(drawn)) == 300
    counts = np.zeros(4 ** (order + 1))
    for row in drawn:
        codes = np.frombuffer(row.encode(), dtype=np.uint8)
        for words, _ in list(markov._words(codes, order))[-1:]:
            counts += np.bincount(words, minlength=4 ** (order + 1))
    counts = counts.reshape(-1, 4)
    seen = counts.sum(axis=1) > 500
    shares = counts[seen] / counts[seen].sum(axis=1, keepdims=True)
    assert seen.any()
    np.testing.assert_allclose(shares, model._probabilities[order].reshape(-1, 4)[seen], atol=0.06)
