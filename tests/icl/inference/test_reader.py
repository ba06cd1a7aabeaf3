"""Demonstrations in front of queries, against the plain model over the whole row in float64."""

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
from icl.inference.demonstrations import PREFIX
from icl.method import Context
from icl.methods.deep_prompt import DeepPrompt
from icl.methods.few_shot import FewShot, FewShotConfig
from icl.methods.soft_prompt import SoftPromptConfig, SoftPromptMethod
from prompts.demonstrations import Demonstration, DemonstrationChooser
from prompts.template import Template
from prompts.verbalizer import Verbalizer
from tasks.task import Example
from tests.devices import device, put

WIDTH, MOST = 8, 420
WORDS = {2: ("A", "N"), 3: ("AC", "GT", "AA")}
LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=WIDTH, n_layer=2, d_inner=16, max_seq_len=MOST, initializer_range=0.3
    )
    return put(random_model(shape, seed=3)).double().requires_grad_(False).eval()


def rows(n, seed, classes=2, shortest=20, longest=70):
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, size=n)
    return [
        Example("".join(random.choice(list("ACGT"), size=length)), i % classes)
        for i, length in enumerate(lengths)
    ]


def build(model, cls=SoftPromptMethod, classes=2, shots=1, control=None, **options):
    context = Context(
        labels=LABELS[:classes],
        seed=5,
        load_backbone=lambda: model,
        batch_size=options.pop("batch_size", 4),
        prompt_tokens=options.pop("tokens", None),
        shots=shots,
        label_words=WORDS[classes],
        control=control,
        queries=options.pop("queries", ()),
        device=device(),
    )
    config = FewShotConfig if cls is FewShot else SoftPromptConfig
    if config is SoftPromptConfig:
        options = {"epochs": 1, "rows": 16, "lr": 0.01, **options}
    return cls(config(**options), context)


def shown_to(made, pool, sequence):
    """What a query is shown: read from the state, or chosen anew from the pool."""
    config, state = made.config, made.state()
    if config.demonstrations == "per_query":
        chooser = DemonstrationChooser(
            pool,
            len(made.context.labels),
            made.shots,
            chooser=config.chooser,
            order=config.order,
            seed=5,
        )
        return chooser.for_query(sequence)
    text, ends = state[PREFIX + "letters"].tobytes().decode(), state[PREFIX + "lengths"].cumsum()
    return [
        Demonstration(text[end - length : end], int(label), int(row))
        for end, length, label, row in zip(
            ends,
            *(state[PREFIX + name] for name in ("lengths", "labels", "rows")),
            strict=True,
        )
    ]


def plain_scores(model, state, shown, sequence, words, strands="forward"):
    """Log-probabilities of the words after one strand, the whole row encoded at once."""
    empty = np.zeros((0, model.config.d_model))
    front, back, deep_front, deep_back = (
        put(torch.from_numpy(state.get(name, empty))).double()
        for name in ("before", "after", "deep_before", "deep_after")
    )
    query = Template(Verbalizer(words), strands).prompt(shown, sequence).ids
    assert query[-1] == SEP
    scores = []
    for word in words:
        total = 0.0
        for i, letter in enumerate(word):
            spoken = put(torch.tensor([TOKEN_ID[c] for c in word[:i]], dtype=torch.long))
            parts = [
                front,
                model.embed(put(torch.from_numpy(query))),
                back,
                model.embed(spoken),
            ]
            hidden = torch.cat(parts)[None]
            for layer, block in enumerate(model.backbone.layers):
                if layer and len(deep_front.reshape(-1)) + len(deep_back.reshape(-1)):
                    hidden = hidden.clone()
                    start = len(front) + len(query)
                    hidden[:, : len(front)] += deep_front[layer - 1]
                    hidden[:, start : start + len(back)] += deep_back[layer - 1]
                hidden = block(hidden)
            logits = model.logits(model.backbone.ln_f(hidden))[0, -1]
            total += logits.log_softmax(-1)[TOKEN_ID[letter]]
        scores.append(total)
    return torch.stack(scores) + put(torch.from_numpy(state["offset"])).double()


def expected_scores(model, made, pool, examples):
    words, strands = WORDS[len(made.context.labels)], made.config.demonstration_strands
    found = []
    for example in examples:
        shown = shown_to(made, pool, example.sequence)
        both = [
            plain_scores(model, made.state(), shown, strand, words, strands)
            for strand in (example.sequence, reverse_complement(example.sequence))
        ]
        found.append((sum(both) / 2).log_softmax(-1).cpu().numpy())
    return np.array(found)


def disturbed(made):
    """Gives every learned number a value of its own; nothing is zero that may matter."""
    random = np.random.default_rng(7)
    state = made.state()
    learned = {k: random.normal(size=v.shape) for k, v in state.items() if PREFIX not in k}
    made.load_state(state | learned)
    return made


FORMS = [
    (cls, classes, sets)
    for cls, classes, sets in product(
        ("few", "before", "after", "split", "deep"), (2, 3), ("fixed", "per_query")
    )
]


@pytest.mark.parametrize(("form", "classes", "sets"), FORMS)
def test_scores_are_those_of_the_plain_model(model, form, classes, sets):
    pool, val = rows(12, 1, classes), rows(4, 2, classes)
    options = {
        "demonstrations": sets,
        "demonstration_strands": "both" if classes == 2 else "forward",
    }
    if sets == "per_query":
        options |= {"chooser": "nearest", "order": "nearest_last"}
    if form == "few":
        made = build(model, FewShot, classes, **options)
        made.fit(pool, val)
    else:
        placement = "split" if form == "deep" else form
        cls = DeepPrompt if form == "deep" else SoftPromptMethod
        made = build(model, cls, classes, tokens=3, placement=placement, **options)
        made.fit(pool, val)
        disturbed(made)
    examples = rows(5, 3, classes)
    expected = expected_scores(model, made, pool, examples)
    np.testing.assert_allclose(made.scores(examples), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
@pytest.mark.parametrize("cls", [FewShot, SoftPromptMethod])
def test_predictions_depend_neither_on_batch_size_nor_on_order(model, cls, sets):
    pool, examples = rows(12, 1), rows(20, 3)
    found, state = [], None
    tokens = {} if cls is FewShot else {"tokens": 2, "placement": "split"}
    for size in (1, 7, 64):
        made = build(model, cls, batch_size=size, demonstrations=sets, **tokens)
        made.fit(pool, rows(4, 2))
        if state is not None:
            made.load_state(state)
        state = made.state()
        found.append(made.scores(examples))
    order = np.random.default_rng(0).permutation(len(examples))
    made = build(model, cls, batch_size=7, demonstrations=sets, **tokens)
    made.load_state(state)
    turned = made.scores([examples[i] for i in order])
    found.append(turned[np.argsort(order)])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-9, rtol=0)


def test_without_shots_a_soft_prompt_is_what_it_was(model):
    with_option, without = build(model, shots=0, tokens=3), build(model, shots=None, tokens=3)
    for made in (with_option, without):
        made.fit(rows(12, 1), rows(4, 2))
        assert set(made.state()) == {"before", "after", "deep_before", "deep_after", "offset"}
        assert made.details == {}
    for name, array in with_option.state().items():
        np.testing.assert_array_equal(array, without.state()[name])


def test_shown_rows_are_not_tuned_on(model):
    pool = rows(4, 1)
    made = build(model, tokens=2)
    made.fit(pool, rows(4, 2))
    shown = {d.sequence for d in shown_to(made, pool, "")}
    assert len(shown) == 2 and shown < {e.sequence for e in pool}
    left = made.demonstrations.without_relatives(pool)
    assert {e.sequence for e in left} == {e.sequence for e in pool} - shown


@pytest.mark.parametrize("placement", ["before", "after"])
def test_kept_states_give_the_losses_of_states_encoded_anew(model, monkeypatch, placement):
    states = []
    for kept in (True, False):
        monkeypatch.setattr("icl.inference.reader.fits", lambda *_, kept=kept: kept)
        made = build(model, tokens=2, placement=placement)
        made.fit(rows(12, 1), rows(4, 2))
        states.append(made.state())
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], atol=1e-6)


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
def test_fit_leaves_the_backbone_alone_and_what_was_learned_can_be_loaded(model, sets):
    before, pool, examples = weights_sha256(model), rows(12, 1), rows(5, 3)
    made = build(model, tokens=2, demonstrations=sets)
    made.fit(pool, rows(4, 2))
    assert weights_sha256(model) == before
    fresh = build(model, tokens=2, demonstrations=sets)
    fresh.load_state(made.state())
    np.testing.assert_array_equal(fresh.scores(examples), made.scores(examples))
    assert fresh.full_vocabulary_accuracy(examples) == made.full_vocabulary_accuracy(examples)
    with pytest.raises(InputError, match="saved demonstrations"):
        build(model, tokens=2, shots=0).load_state(made.state())


def test_a_prompt_of_sixteen_thousand_tokens_is_read(model):
    shape = HyenaDNAConfig(d_model=4, n_layer=2, d_inner=8, max_seq_len=17000)
    long = put(random_model(shape, seed=0)).double().requires_grad_(False).eval()
    pool = rows(8, 1, shortest=4000, longest=4000)
    scores = []
    for sets in ("fixed", "per_query"):
        made = build(
            long, FewShot, shots=2, demonstrations=sets, strands="forward", calibration="none"
        )
        made.fit(pool, rows(2, 2))
        (example,) = rows(1, 3)
        state = {"offset": np.zeros(2)}
        shown = shown_to(made, pool, example.sequence)
        expected = plain_scores(long, state, shown, example.sequence, WORDS[2]).log_softmax(-1)
        np.testing.assert_allclose(made.scores([example])[0], expected, atol=1e-9)
        scores.append(made.details["bases_shown"])
    assert scores == [16000, 16000]


def test_the_mean_over_a_query_needs_it_apart_from_its_demonstrations(model):
    made = build(model, tokens=2, readout="mean", placement="before")
    made.fit(rows(12, 1), rows(4, 2))
    assert np.isfinite(made.scores(rows(3, 3))).all()
    with pytest.raises(InputError, match="demonstrations=fixed"):
        build(model, tokens=2, readout="mean", placement="before", demonstrations="per_query")


def test_a_loaded_prompt_refuses_a_row_that_does_not_fit_beside_its_demonstrations(model):
    made = build(model, tokens=2)
    made.fit(rows(12, 1), rows(4, 2))
    with pytest.raises(InputError, match="of demonstrations"):
        made.check([Example("A" * (MOST - 5), 0)])
