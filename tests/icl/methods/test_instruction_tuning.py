"""Instruction tuning: what its prompts show, and what its answers are."""

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from backbone.tokens import SEP, TOKEN_ID
from icl.method import Context
from icl.methods.catalog import METHODS
from icl.tuning.adapters import merge_adapter
from tests.devices import device, put
from tests.icl.methods.test_tuned_methods import rows, shaped

LETTER = {number: letter for letter, number in TOKEN_ID.items()}


@pytest.fixture(scope="module")
def model():
    return shaped()


def build(model, shots=2, labels=("poor", "rich"), words=("A", "N"), control=None, **options):
    entry = METHODS.get("instruction_tuning")
    settings = {"epochs": 2, "rows": 4, "tuning_samples": 8, **options}
    context = Context(
        labels,
        0,
        lambda: model,
        shots=shots,
        label_words=words,
        batch_size=8,
        control=control,
        device=device(),
    )
    return entry.cls(entry.config(**settings), context)


def parts(ids):
    """A row of token ids as its texts between [SEP]."""
    texts = "".join("|" if i == SEP else LETTER[int(i)] for i in ids)
    return texts.split("|")


def prompts_of_an_epoch(method, asked, train, seed=1):
    return [parts(ids) for ids in method._prompts(asked, train, seed).encoded]


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_tuning_prompts_show_other_training_rows_in_balance_and_never_the_row_itself(model, shots):
    train = rows(30, seed=1)
    label_of = {e.sequence: e.label for e in train}
    twin = train[0]
    method = build(model, shots)
    # A reverse complement of a row that is asked stands in the pool too.
    other = type(twin)(reverse_complement(twin.sequence), twin.label)
    pool = [*train, other]
    label_of[other.sequence] = other.label
    asked = train[:8]
    prompts = prompts_of_an_epoch(method, asked, pool)
    assert len(prompts) == 2 * len(asked)
    for row, (*shown, query) in enumerate(prompts):
        own = asked[row % len(asked)].sequence
        assert query == (own if row < len(asked) else reverse_complement(own))
        sequences, words = shown[::2], shown[1::2]
        assert len(sequences) == 2 * shots
        assert set(sequences) <= set(label_of) - {own, reverse_complement(own)}
        labels = [label_of[sequence] for sequence in sequences]
        assert words == ["AN"[label] for label in labels]
        assert labels.count(0) == labels.count(1) == shots


def test_every_example_and_every_epoch_has_demonstrations_of_its_own(model):
    train = rows(40, seed=1)
    method = build(model)
    first, again, second = (prompts_of_an_epoch(method, train[:8], train, s) for s in (1, 1, 2))
    assert first == again and first != second
    shown = {tuple(prompt[:-1]) for prompt in first[:8]}
    assert len(shown) == 8
    # What an example is shown does not depend on which others are asked.
    alone = prompts_of_an_epoch(method, train[3:4], train, 1)
    assert alone[0] == first[3]


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("words", [("A", "N"), ("AC", "GT")])
def test_answers_are_those_of_the_plain_tuned_model_behind_training_rows(model, adapter, words):
    train, val = rows(30, seed=1), rows(8, seed=2)
    method = build(model, words=words, adapter=adapter, lr=0.01)
    method.fit(train, val)
    tuned = merge_adapter(method.module)
    state = method.state()
    letters = state["demonstrations.letters"].tobytes().decode()
    ends = np.cumsum(state["demonstrations.lengths"])
    shown = [letters[e - n : e] for n, e in zip(state["demonstrations.lengths"], ends, strict=True)]
    assert set(shown) <= {e.sequence for e in train}
    front: list[int] = []
    for sequence, label in zip(shown, state["demonstrations.labels"], strict=True):
        front += [TOKEN_ID[c] for c in sequence] + [SEP]
        front += [TOKEN_ID[c] for c in words[label]] + [SEP]
    for example in rows(2, seed=3):
        scores = []
        for strand in (example.sequence, reverse_complement(example.sequence)):
            query = [*front, *(TOKEN_ID[c] for c in strand), SEP]
            for word in words:
                ids = query + [TOKEN_ID[c] for c in word]
                likely = tuned(put(torch.tensor([ids]))).logits.log_softmax(-1)[0]
                at = range(len(query) - 1, len(ids) - 1)
                scores.append(sum(likely[i, ids[i + 1]].item() for i in at))
        expected = put(torch.tensor(scores)).reshape(2, 2).mean(0) + put(
            torch.from_numpy(method.offset)
        )
        expected = expected.log_softmax(0)
        np.testing.assert_allclose(method.scores([example])[0], expected, atol=1e-4)
    assert method.tuning_samples == 8
    assert method.details["demonstrations_shown"] == 4


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_the_channel_reads_queries_behind_each_class_under_the_tuned_weights(model, adapter):
    method = build(model, words=None, adapter=adapter, lr=0.01, readout="channel")
    method.fit(rows(30, seed=1), rows(8, seed=2))
    tuned = merge_adapter(method.module)
    state = method.state()
    letters = state["demonstrations.letters"].tobytes().decode()
    ends = np.cumsum(state["demonstrations.lengths"])
    shown = [letters[e - n : e] for n, e in zip(state["demonstrations.lengths"], ends, strict=True)]
    front: list[list[int]] = [[], []]
    for sequence, label in zip(shown, state["demonstrations.labels"], strict=True):
        front[label] += [TOKEN_ID[c] for c in sequence] + [SEP]
    nucleotides = [TOKEN_ID[c] for c in "ACGT"]
    for example in rows(2, seed=3):
        scores = []
        for strand in (example.sequence, reverse_complement(example.sequence)):
            query = [TOKEN_ID[c] for c in strand]
            for before in front:
                logits = tuned(put(torch.tensor([[*before, *query]]))).logits[0, len(before) :]
                likely = logits[:, nucleotides].log_softmax(-1)
                index = [nucleotides.index(token) for token in query[1:]]
                total = sum(float(likely[t, i]) for t, i in enumerate(index))
                scores.append(total / len(index) ** 0.5)
        mean = put(torch.tensor(scores)).reshape(2, 2).mean(0).double()
        expected = (
            float(state["scale"]) * mean + put(torch.from_numpy(method.offset))
        ).log_softmax(0)
        np.testing.assert_allclose(method.scores([example])[0], expected, atol=1e-4)


def test_queries_of_a_channel_step_stand_behind_rows_that_are_none_of_them(model):
    train = rows(30, seed=1)
    method = build(model, words=None, readout="channel")
    first, again, other = (
        {d.sequence for d in method._demonstrations_for(train[:8], train, seed).shared()}
        for seed in (1, 1, 2)
    )
    assert first == again != other and len(first) == 4
    assert not first & {e.sequence for e in train[:8]}


def test_a_control_reaches_the_prompts_of_tuning_and_of_scoring(model):
    train = rows(30, seed=1)
    method = build(model, control="query_alone")
    assert all(len(prompt) == 1 for prompt in prompts_of_an_epoch(method, train[:4], train))
    method.fit(train, rows(8, seed=2))
    method.scores(rows(2, seed=3))
    assert method.details["demonstrations_shown"] == 0


def test_prompts_that_may_not_fit_are_refused_with_the_numbers(model):
    train = rows(30, seed=1, longest=40)
    with pytest.raises(InputError, match="16 demonstrations .* max_seq_len of 300"):
        build(model, shots=8).check(train)
    build(model, shots=8, policy="trim").check(train)
    build(model, shots=2).check(train)


def test_more_tuning_samples_than_rows_are_refused(model):
    with pytest.raises(InputError, match="tuning_samples=31: there are 30"):
        build(model, tuning_samples=31).fit(rows(30, seed=1), rows(8, seed=2))
