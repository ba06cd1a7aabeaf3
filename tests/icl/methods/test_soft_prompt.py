"""Soft and deep prompts against the plain model, written out position by position."""

from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.hyena.zoo import weights_sha256
from backbone.sequence.dna import reverse_complement
from backbone.tokens import SEP, TOKEN_ID
from icl.inference.reader import LabelWordScorer
from icl.method import Context
from icl.methods.deep_prompt import DeepPrompt
from icl.methods.soft_prompt import SoftPromptConfig, SoftPromptMethod
from tasks.task import Example
from tests.devices import device, put

WIDTH, MOST = 16, 160
WORDS = {2: ("A", "N"), 3: ("AC", "GT", "AA")}


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=WIDTH, n_layer=2, d_inner=32, max_seq_len=MOST, initializer_range=0.3
    )
    return put(random_model(shape, seed=3)).requires_grad_(False).eval()


def rows(n, seed, shortest=20, longest=90, classes=2):
    """Class 0 is rich in A and T, class 1 in C and G; both strands are alike in this."""
    random = np.random.default_rng(seed)
    shares = ([0.42, 0.08, 0.08, 0.42], [0.08, 0.42, 0.42, 0.08], [0.25] * 4)
    lengths = random.integers(shortest, longest + 1, size=n)
    return [
        Example(
            "".join(random.choice(list("ACGT"), size=length, p=shares[i % classes])), i % classes
        )
        for i, length in enumerate(lengths)
    ]


def build(model, tokens=5, deep=False, classes=2, batch_size=8, **options):
    context = Context(
        labels=tuple(f"class {i}" for i in range(classes)),
        seed=0,
        load_backbone=lambda: model,
        batch_size=batch_size,
        prompt_tokens=tokens,
        label_words=WORDS[classes],
        device=device(),
    )
    config = SoftPromptConfig(**{"epochs": 6, "rows": 16, "lr": 0.05, **options})
    return (DeepPrompt if deep else SoftPromptMethod)(config, context)


def disturbed(made):
    """Gives every learned number a value of its own; nothing is zero that may matter."""
    random = np.random.default_rng(7)
    made.load_state(
        {k: random.normal(size=v.shape).astype(np.float32) for k, v in made.state().items()}
    )
    return made


def plain_encode(model, vectors, additions):
    hidden = vectors
    for i, block in enumerate(model.backbone.layers):
        if i > 0:
            hidden = hidden + additions[i - 1]
        hidden = block(hidden)
    return model.backbone.ln_f(hidden)


def plain_scores(model, state, sequence, words, readout):
    """Scores (C,) of one strand: [before; sequence; SEP; after; the label word but its last]."""
    state = {name: put(torch.from_numpy(array)) for name, array in state.items()}
    query = model.embed(put(torch.tensor([[TOKEN_ID[letter] for letter in sequence]])))
    sep = model.embed(put(torch.tensor([[SEP]])))
    front, back = state["before"], state["after"]

    def hidden(*tail):
        vectors = torch.cat([front[None], query, *tail], dim=1)
        additions = put(torch.zeros(1, vectors.shape[1], WIDTH))
        if len(state["deep_before"]):
            start = len(front) + len(sequence) + 1
            additions[:, : len(front)] = state["deep_before"]
            if tail:
                additions[:, start : start + len(back)] = state["deep_after"]
        return plain_encode(model, vectors, additions)

    if readout == "mean":
        mean = hidden()[0, len(front) :].mean(dim=0)
        logits = model.logits(mean)
        return logits[[TOKEN_ID[word] for word in words]] + state["offset"]
    if len(words[0]) == 1:
        logits = model.logits(hidden(sep, back[None])[0, -1])
        return logits[[TOKEN_ID[word] for word in words]] + state["offset"]
    scores = []
    for word in words:
        total = 0.0
        for i, letter in enumerate(word):
            spoken = model.embed(
                put(torch.tensor([[TOKEN_ID[c] for c in word[:i]]], dtype=torch.long))
            )
            logits = model.logits(hidden(sep, back[None], spoken)[0, -1])
            total += logits.log_softmax(-1)[TOKEN_ID[letter]]
        scores.append(total)
    return torch.stack(scores) + state["offset"]


FORMS = [
    (placement, readout, deep, classes, tokens)
    for placement, readout, deep, classes, tokens in product(
        ("before", "after", "split"), ("last", "mean"), (False, True), (2, 3), (0, 5)
    )
    if readout == "last" or (placement == "before" and classes == 2)
]


@pytest.mark.parametrize(("placement", "readout", "deep", "classes", "tokens"), FORMS)
def test_scores_are_those_of_the_plain_model(model, placement, readout, deep, classes, tokens):
    made = disturbed(build(model, tokens, deep, classes, placement=placement, readout=readout))
    examples = rows(5, seed=1, classes=classes)
    expected = []
    for example in examples:
        strands = (example.sequence, reverse_complement(example.sequence))
        both = [plain_scores(model, made.state(), s, WORDS[classes], readout) for s in strands]
        expected.append((sum(both) / 2).double().log_softmax(-1).cpu().numpy())
    np.testing.assert_allclose(made.scores(examples), expected, atol=2e-5)


def test_the_forward_strand_alone(model):
    made = disturbed(build(model, strands="forward"))
    (example,) = rows(1, seed=1)
    expected = plain_scores(model, made.state(), example.sequence, WORDS[2], "last")
    np.testing.assert_allclose(made.scores([example])[0], expected.log_softmax(-1), atol=2e-5)


@pytest.mark.parametrize("placement", ["before", "after", "split"])
def test_predictions_depend_neither_on_batch_size_nor_on_order(model, placement):
    examples = rows(70, seed=2)
    state = disturbed(build(model, placement=placement)).state()
    found = []
    for size in (1, 7, 64):
        made = build(model, placement=placement, batch_size=size)
        made.load_state(state)
        found.append(made.scores(examples))
    order = np.random.default_rng(0).permutation(len(examples))
    turned = made.scores([examples[i] for i in order])
    found.append(turned[np.argsort(order)])
    for other in found[1:]:
        assert np.abs(np.exp(other) - np.exp(found[0])).max() < 1e-5


def accuracy(made, examples):
    return float((made.scores(examples).argmax(1) == [e.label for e in examples]).mean())


def test_fit_learns_an_easy_task_leaves_the_backbone_alone_and_repeats_itself(model):
    before = weights_sha256(model)
    first, second = build(model, epochs=12), build(model, epochs=12)
    for made in (first, second):
        made.fit(rows(96, seed=4), rows(32, seed=5))
    assert weights_sha256(model) == before
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, second.state()[name])
    assert first.validation == second.validation
    test = rows(100, seed=6)
    assert accuracy(first, test) > 0.8
    fresh = build(model)
    fresh.load_state(first.state())
    np.testing.assert_array_equal(fresh.scores(test), first.scores(test))


def test_shuffled_labels_teach_nothing(model):
    random = np.random.default_rng(0)

    def shuffled(examples):
        labels = random.permutation([e.label for e in examples])
        return [Example(e.sequence, int(i)) for e, i in zip(examples, labels, strict=True)]

    made = build(model, epochs=3)
    made.fit(shuffled(rows(96, seed=4)), shuffled(rows(32, seed=5)))
    scores = made.scores(rows(100, seed=6))
    # No row may be called with much confidence where the labels say nothing.
    assert np.exp(scores).max(axis=1).mean() < 0.75


def test_without_tokens_only_the_offsets_are_learned(model):
    made = build(model, tokens=0, epochs=2)
    made.fit(rows(32, seed=4), rows(16, seed=5))
    assert made.trainable_parameters == 2
    moved = {name for name, array in made.state().items() if array.any()}
    assert moved <= {"offset"}


@pytest.mark.parametrize(
    ("deep", "tokens", "classes", "count"),
    [(False, 5, 2, 5 * 16 + 2), (True, 5, 2, 2 * 5 * 16 + 2), (True, 0, 3, 3)],
)
def test_trainable_parameters(model, deep, tokens, classes, count):
    assert build(model, tokens, deep, classes).trainable_parameters == count


def test_kept_states_give_the_losses_of_states_encoded_anew(model, monkeypatch):
    model = deepcopy(model)  # of which no other test has kept states
    states: list[dict[str, np.ndarray]] = []
    counts: dict[int | None, int] = {None: 0, 0: 0}
    contexts = LabelWordScorer.contexts

    def counted(scorer, prompt, batch, *rest):
        counts[kept_bytes] += len(batch.ids)
        return contexts(scorer, prompt, batch, *rest)

    monkeypatch.setattr(LabelWordScorer, "contexts", counted)
    for kept_bytes in (None, 0):
        made = build(model, epochs=2)
        object.__setattr__(made.context, "kept_bytes", kept_bytes)
        made.fit(rows(48, seed=4), rows(16, seed=5))
        states.append(made.state())
    # Kept: each row of both strands once. Not kept: again in each of two epochs.
    assert counts[None] == 2 * (48 + 16) and counts[0] > 2 * counts[None]
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], atol=1e-3)


@pytest.mark.parametrize("placement", ["before", "after", "split"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_longest_sequence_that_fits_is_read_and_one_more_base_refused(
    model, placement, classes
):
    made = build(model, 30, classes=classes, placement=placement)
    longest = MOST - 30 - 1 - len(WORDS[classes][0])
    made.check([Example("A" * longest, 0)])
    assert np.isfinite(made.scores([Example("A" * longest, 0), Example("C", 1)])).all()
    with pytest.raises(InputError, match=f"{MOST + 1} tokens"):
        made.check([Example("A" * (longest + 1), 0)])


def test_half_precision_stays_close(model):
    examples = rows(20, seed=8)
    made = disturbed(build(model))
    full = made.scores(examples)
    half = build(model)
    object.__setattr__(half.context, "precision", "bf16")
    half.load_state(made.state())
    assert np.abs(np.exp(half.scores(examples)) - np.exp(full)).max() < 0.1


def test_full_vocabulary_accuracy_counts_words_that_beat_every_token(model):
    made = disturbed(build(model))
    vectors = put(torch.from_numpy(made.state()["after"]))
    examples = rows(12, seed=9)
    likeliest = []
    for example in examples:
        query = put(torch.tensor([TOKEN_ID[letter] for letter in example.sequence] + [SEP]))
        hidden = model.encode(torch.cat([model.embed(query), vectors])[None])
        likeliest.append(int(model.logits(hidden)[0, -1].argmax()))
    right = [TOKEN_ID["AN"[e.label]] == i for e, i in zip(examples, likeliest, strict=True)]
    assert made.full_vocabulary_accuracy(examples) == sum(right) / len(examples)
    of_words = build(model, classes=3)
    assert of_words.full_vocabulary_accuracy(rows(3, seed=0, classes=3)) is None


def test_another_shape_of_prompt_is_refused(model):
    with pytest.raises(InputError, match="shapes"):
        build(model, 4).load_state(build(model, 5).state())
