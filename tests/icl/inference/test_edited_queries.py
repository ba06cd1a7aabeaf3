"""Scores of edited sequences that share states, against whole sequences, in float64."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backbone.engine.branches import BranchEngine
from backbone.engine.prefix import PrefixEngine
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.sequence.dna import reverse_complement
from backbone.sequence.edits import Edit, edits_of_both_strands
from icl.inference.edited_queries import EditedMeanStates, can_share
from icl.inference.embedding import embed_sequences
from icl.method import Context
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.devices import device, put

SEQUENCES = ["ACGTTGCATTGACCAGTNCA", "TTTACAGGATCCAGATACCA", "GGCATCA", "ACGTTGCATTGACCAGTTCA"]
EDITS = [
    Edit(0, 4, 5, "G"),
    Edit(0, 4, 5, "C"),
    Edit(1, 0, 1, "A"),
    Edit(1, 19, 20, "C"),
    Edit(2, 3, 3, "TTT"),
    Edit(2, 0, 6, ""),
    Edit(3, 18, 20, ""),
    Edit(3, 20, 20, "GG"),
    Edit(3, 2, 5, "NC"),
]
LETTERS = np.random.default_rng(0).choice(list("ACGT"), size=(16, 24))
ROWS = [Example("".join(row), i % 2) for i, row in enumerate(LETTERS)]


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=8, n_layer=3, d_inner=16, max_seq_len=200, initializer_range=0.4
    )
    return put(random_model(config, seed=0)).double().requires_grad_(False).eval()


WAYS = {
    "one vector after": ("soft_prompt", dict(epochs=1), dict(prompt_tokens=1)),
    "split": ("soft_prompt", dict(placement="split", epochs=1), dict(prompt_tokens=5)),
    "forward strand": ("soft_prompt", dict(strands="forward", epochs=1), dict(prompt_tokens=2)),
    "mean": (
        "soft_prompt",
        dict(placement="before", readout="mean", epochs=1),
        dict(prompt_tokens=4),
    ),
    "with demonstrations": ("soft_prompt", dict(epochs=1), dict(prompt_tokens=2, shots=1)),
    "deep": ("deep_prompt", dict(placement="split", epochs=1), dict(prompt_tokens=4)),
    "offsets": ("state_prompt", dict(epochs=1), dict(prompt_tokens=0)),
    "channel": ("soft_prompt", dict(readout="channel", epochs=1), dict(prompt_tokens=3)),
    "channel, demonstrations": (
        "few_shot",
        dict(readout="channel", normalisation="base"),
        dict(shots=2),
    ),
    "words averaged": ("few_shot", dict(words_used="averaged"), dict(shots=1)),
    "without demonstrations": ("zero_shot", dict(), dict()),
}


@pytest.mark.parametrize("way", WAYS)
def test_scores_equal_those_of_whole_sequences(model: HyenaDNA, way: str) -> None:
    name, options, budget = WAYS[way]
    entry = METHODS.get(name)
    words = ("AC", "GT") if way in ("one vector after", "words averaged") else None
    context = Context(
        ("a", "b"),
        0,
        lambda: model,
        queries=SEQUENCES,
        label_words=words,
        **budget,
        device=device(),
    )
    method = entry.cls(entry.config(name=name, **options), context)
    method.fit(ROWS[:12], ROWS[12:])
    whole = [edit.of(SEQUENCES[edit.row]) for edit in EDITS]
    expected = method.scores([Example(s, 0) for s in (*SEQUENCES, *whole)])
    found = np.concatenate(method.scores_of_edits(SEQUENCES, EDITS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_where_nothing_can_be_shared_whole_sequences_are_scored(model: HyenaDNA) -> None:
    entry = METHODS.get("few_shot")
    options = entry.config(name="few_shot", demonstrations="per_query", chooser="nearest")
    context = Context(("a", "b"), 0, lambda: model, queries=SEQUENCES, shots=1, device=device())
    assert not entry.cls(options, context).shares_edits
    hooked = put(random_model(model.config, seed=0))
    assert can_share(hooked, context)
    hooked.backbone.layers[0].register_forward_hook(lambda *_: None)
    assert not can_share(hooked, context)
    assert not can_share(model, replace(context, precision="bf16"))


def test_mean_states_equal_those_of_whole_sequences(model: HyenaDNA) -> None:
    found = EditedMeanStates(BranchEngine(PrefixEngine(model)), SEQUENCES, EDITS, "both").values()
    whole = [edit.of(SEQUENCES[edit.row]) for edit in EDITS]
    states = partial(embed_sequences, model, device="cpu", precision="float32")
    np.testing.assert_allclose(np.concatenate(found), states([*SEQUENCES, *whole]), atol=1e-10)


@given(st.text("ACGTN", min_size=1, max_size=20), st.text("ACGTN", max_size=5), st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_edit_of_the_other_strand_gives_the_other_strand(
    sequence: str, letters: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(sequence)))
    edit = Edit(0, start, data.draw(st.integers(start, len(sequence))), letters)
    own, other = edits_of_both_strands([len(sequence)], [edit])
    assert own == edit and other.row == 1
    assert other.of(reverse_complement(sequence)) == reverse_complement(edit.of(sequence))
    assert len(edit.of(sequence)) == len(sequence) + edit.growth
