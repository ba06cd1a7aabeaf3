from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone import generate as generation
from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.engine.prefix import PrefixEngine
from backbone.engine.streaming import OnlineConvolution, OnlineModel
from backbone.generate import Sampling, draw, generate, nucleus
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.tokens import NUCLEOTIDES, TOKENS
from tests.devices import put

CONFIG = HyenaDNAConfig(d_model=8, n_layer=3, d_inner=16, max_seq_len=80, initializer_range=0.4)
MODEL = put(random_model(CONFIG, seed=5)).double().eval().requires_grad_(False)


def tokens(rows: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(rows + length)
    return put(torch.randint(7, 11, (rows, length), generator=draw))


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), rows=st.integers(1, 3), seed=st.integers(0, 99))
def test_online_convolution_equals_the_direct_sum(length: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    taps = put(torch.randn(2, length, generator=generator, dtype=torch.float64))
    signal = put(torch.randn(rows, 2, length, generator=generator, dtype=torch.float64))
    before = put(torch.randn(rows, 2, length, generator=generator, dtype=torch.float64))
    online = OnlineConvolution(taps, before)
    for t in range(length):
        direct = (taps[:, : t + 1].flip(-1) * signal[..., : t + 1]).sum(-1)
        assert torch.allclose(online.step(signal[..., t]), before[..., t] + direct, atol=1e-10)


@cache
def of_the_full_pass(rows: int) -> torch.Tensor:
    return reference.logits(MODEL, tokens(rows, 80))


@pytest.mark.parametrize("prompt", [0, 1, 2, 30])
@pytest.mark.parametrize("rows", [1, 3])
def test_every_tokens_logits_are_those_of_the_full_pass(prompt: int, rows: int) -> None:
    ids = tokens(rows, 80)
    online = OnlineModel(MODEL, ids[:, :prompt], room=80 - prompt)
    expected = of_the_full_pass(rows)
    for t in range(prompt, 80):
        assert torch.allclose(online.step(ids[:, t]), expected[:, t], atol=1e-10)
    with pytest.raises(InputError, match="no room is left"):
        online.step(ids[:, 0])


def test_drawn_tokens_follow_the_full_pass() -> None:
    prompt, sampling = tokens(2, 7), Sampling(temperature=0.7, top_p=0.9, seed=4)
    found = generate(MODEL, prompt, 40, sampling)
    streams = [stream(4, "generated tokens", row) for row in range(2)]
    # Causal: one full pass over what was drawn has the logits of every draw. If all draws before
    # one are right, so are its logits; so all are right if each is.
    logits = reference.logits(MODEL, torch.cat([prompt, found], dim=1))[..., list(NUCLEOTIDES)]
    for t in range(40):
        probabilities, order = nucleus(logits[:, 6 + t], 0.7, 0.9)
        for row in range(2):
            at = np.searchsorted(probabilities[row].cumsum(0), streams[row].random(), side="right")
            assert found[row, t] == NUCLEOTIDES[int(order[row, int(at)])]


def test_nucleus_is_the_smallest_set_that_holds_top_p() -> None:
    logits = put(torch.tensor([[0.1, 0.5, 0.15, 0.25]])).log()
    probabilities, order = nucleus(logits, 1.0, 0.7)
    assert order.tolist() == [[1, 3, 2, 0]]
    assert torch.allclose(probabilities, put(torch.tensor([[2 / 3, 1 / 3, 0, 0]])).double())
    sharper, _ = nucleus(logits, 0.5, 1.0)
    squares = put(torch.tensor([[0.25, 0.0625, 0.0225, 0.01]])).double()
    assert torch.allclose(sharper, squares / squares.sum())
    only, _ = nucleus(logits, 1.0, 1e-9)
    assert only.tolist() == [[1, 0, 0, 0]]


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = put(torch.tensor([[0.1, 0.6, 0.3]])).log().expand(4, -1)
    uniform = put(torch.tensor([0.0, 0.59, 0.61, 0.9999999]))
    assert draw(logits, uniform, 1.0, 1.0).tolist() == [1, 1, 2, 0]
    assert draw(logits, uniform, 0, 1.0).tolist() == [1] * 4
    assert draw(logits, uniform, 1.0, 0.6).tolist() == [1] * 4


def test_a_row_depends_on_seed_and_place_alone() -> None:
    prompt = tokens(3, 5)
    together = generate(MODEL, prompt, 20, Sampling(seed=1))
    assert torch.equal(generate(MODEL, prompt[:1], 20, Sampling(seed=1)), together[:1])
    assert torch.equal(generate(MODEL, prompt, 20, Sampling(seed=1)), together)
    assert not torch.equal(generate(MODEL, prompt, 20, Sampling(seed=2)), together)


def test_only_tokens_that_may_come_are_drawn() -> None:
    wild = put(random_model(CONFIG, seed=5)).double().eval()
    with torch.no_grad():
        wild.get_input_embeddings().weight[:7] *= 30  # specials have the largest logits
    nothing = put(torch.empty(4, 0, dtype=torch.long))
    assert set(generate(wild, nothing, 60, Sampling()).unique().tolist()) == set(NUCLEOTIDES)
    free = Sampling(tokens=tuple(range(len(TOKENS))))
    assert generate(wild, nothing, 60, free).min() < 7


def test_transformers_generate_takes_the_same_most_probable_tokens() -> None:
    prompt = tokens(2, 6)
    everything = Sampling(temperature=0, tokens=tuple(range(CONFIG.padded_vocab_size)))
    ours = generate(MODEL, prompt, 12, everything)
    theirs = HyenaDNA.generate(
        MODEL, prompt, max_new_tokens=12, do_sample=False, eos_token_id=-1, pad_token_id=4
    )
    assert torch.equal(theirs[:, 6:], ours)


def test_without_arguments_the_command_prints_its_help_and_generates_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "run", None)
    assert generation.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("python -m backbone.generate key=value") and ">" not in printed
    assert generation.main(["--help"]) == 0
    assert capsys.readouterr().out == printed


def test_the_command_prints_fasta(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    put(random_model(CONFIG, seed=5)).save_pretrained(tmp_path / "model")
    arguments = [f"backbone={tmp_path / 'model'}", "prompt=acgu", "bases=70", "count=2", "seed=9"]
    assert generation.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(line) for line in lines[1::1] if line[0] != ">"] == [74, 74]
    assert lines[0].startswith(">generated_1 ") and lines[2].startswith(">generated_2 ")
    assert lines[1].startswith("ACGT") and lines[1] != lines[3]
    assert set(lines[1] + lines[3]) <= set("ACGT")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["temperature=-1"], "temperature=-1.0: must be 0 or more"),
        (["top_p=0"], "top_p=0.0: must be more than 0 and at most 1"),
        (["seed=-1"], "seed=-1: must be 0 or more"),
        (["count=0"], "count=0: must be at least 1"),
        (["tokens=[A,B]"], "tokens: 'B' is not one of [CLS]"),
        (["tokens=[]"], "tokens is empty"),
        (["prompt=ACXG"], "position 3: 'X' is not a nucleotide letter"),
        (["bases=10241"], "together at most this checkpoint's max_seq_len of 10240"),
        (["bases=0"], "must be at least one to generate"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert generation.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("prompt", [0, 1, 4])
def test_a_context_stands_in_front(prompt: int) -> None:
    """Tokens behind a context's vectors are those behind the same tokens of the context."""
    before, start, sampling = tokens(1, 6), tokens(2, prompt), Sampling(seed=3)
    engine = PrefixEngine(MODEL)
    context = engine.extend(None, MODEL.embed(before), room=prompt + 20)
    found = generate(MODEL, start, 20, sampling, context)
    if prompt:
        whole = torch.cat([before.expand(2, -1), start], dim=1)
        assert torch.equal(found, generate(MODEL, whole, 20, sampling))
    else:  # the first token is drawn uniformly, the others follow it behind the context
        first = torch.cat([before.expand(2, -1), found[:, :1]], dim=1)
        online = OnlineModel(MODEL, first[:, :-1], room=5)
        expected = online.step(first[:, -1])
        again = OnlineModel(MODEL, start, room=5, context=context)
        assert torch.allclose(again.step(found[:, 0]), expected, atol=1e-10)
    with pytest.raises(InputError, match="room"):
        generate(MODEL, start, 40, sampling, context)
    alone = generate(MODEL, start[1:], 20, sampling, context, first_row=1)
    assert torch.equal(alone[0], found[1])
