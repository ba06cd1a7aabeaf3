"""What holds for every registered method, on rows that differ in composition and a tiny backbone.

A method that is added is found by the registry; `OPTIONS` makes it small.
"""

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.hyena.zoo import weights_sha256
from backbone.sequence.edits import Edit
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.devices import put
from tests.icl.methods.every import Trial, method_of

OPTIONS = {
    "cnn": dict(lr=1e-2, epochs=5, rows=16),
    "deep_prompt": dict(lr=0.05, epochs=12, rows=16),
    "fine_tune": dict(lr=0.01, epochs=3, rows=8),
    "ia3": dict(lr=0.1, epochs=4, rows=8),
    "instruction_tuning": dict(lr=0.01, epochs=4, rows=8, tuning_samples=48),
    "kmer_logreg": dict(kmers=[2, 3]),
    "lora": dict(lr=0.02, epochs=4, rows=8),
    "soft_prompt": dict(lr=0.05, epochs=12, rows=16),
    "state_prompt": dict(lr=0.05, epochs=12, rows=16),
    "few_shot, channel": dict(readout="channel"),
    "few_shot, memory": dict(readout="memory"),
    "soft_prompt, channel": dict(readout="channel", lr=0.05, epochs=12, rows=16),
    "deep_prompt, channel": dict(readout="channel", lr=0.05, epochs=12, rows=16),
    "instruction_tuning, channel": dict(
        readout="channel", lr=0.01, epochs=4, rows=8, tuning_samples=48
    ),
    "fisher_probe, both": dict(readout="both"),
    "lora, channel": dict(readout="channel", lr=0.02, epochs=4, rows=8, class_vectors=4),
    "state_prompt, direct": dict(readout="direct", lr=0.05, epochs=12, rows=16),
}
"""By method; a name with a comma is a further way to use the method before it."""

BUDGETS = {"prompt_tokens": 4, "shots": 2}

D_MODEL = 16
D_INNER = 32
PARAMETERS = {
    "deep_prompt": 2 * BUDGETS["prompt_tokens"] * D_MODEL + 2,
    "embedding_knn": 0,
    "few_shot": 2,
    "fisher_probe": 8 * D_MODEL + 2 * D_INNER + 1,
    "fisher_probe, both": 9 * D_MODEL + 2 * D_INNER + 1,
    "gc_only": 3,
    "kmer_knn": 0,
    "length_only": 3,
    "linear_probe": D_MODEL + 1,
    "majority": 1,
    "markov": 2,
    "soft_prompt": BUDGETS["prompt_tokens"] * D_MODEL + 2,
    "state_prompt": 2 * (2 + BUDGETS["prompt_tokens"]) * D_MODEL + 1 + 2,
    "few_shot, channel": 2,
    "few_shot, memory": 2,
    "soft_prompt, channel": 2 * BUDGETS["prompt_tokens"] * D_MODEL + 1 + 2,
    "deep_prompt, channel": 2 * 2 * BUDGETS["prompt_tokens"] * D_MODEL + 1 + 2,
    "state_prompt, direct": (2 + BUDGETS["prompt_tokens"]) * D_MODEL + 2,
    "zero_shot": 2,
}
"""Learned parameters, by hand; methods that tune weights are counted in their own tests."""

UNTAUGHT = {"few_shot", "few_shot, channel", "length_only", "majority", "zero_shot"}
"""Methods that cannot tell the rows: they do not see the letters, or their weights are random."""

UNDERIVED = {
    *("embedding_knn", "gc_only", "kmer_knn", "kmer_logreg", "length_only", "majority", "markov"),
    *("fine_tune", "fisher_probe", "fisher_probe, both", "ia3", "instruction_tuning"),
    *("instruction_tuning, channel", "lora", "lora, channel"),
}
"""Methods without derivatives by their input's letters."""

NAMES = (*METHODS.names(), *(name for name in OPTIONS if "," in name))


def rows(n: int, seed: int) -> list[Example]:
    """Class 0 is rich in A and T, class 1 in C and G."""
    random = np.random.default_rng(seed)
    shares = ([0.42, 0.08, 0.08, 0.42], [0.08, 0.42, 0.42, 0.08])
    lengths = random.integers(20, 41, size=n)
    return [
        Example("".join(random.choice(list("ACGT"), size=length, p=shares[i % 2])), i % 2)
        for i, length in enumerate(lengths)
    ]


def shuffled(examples: list[Example], seed: int) -> list[Example]:
    labels = np.random.default_rng(seed).permutation([e.label for e in examples])
    return [Example(e.sequence, int(label)) for e, label in zip(examples, labels, strict=True)]


TRAIN, VAL, TEST = rows(64, 1), rows(24, 2), rows(60, 3)
TRIAL = Trial(TRAIN, VAL, TEST, BUDGETS, OPTIONS)


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=D_MODEL, n_layer=2, d_inner=32, max_seq_len=300, initializer_range=0.3
    )
    return put(random_model(shape, seed=3)).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def fitted(model):
    return TRIAL.fitted(model)


def test_options_are_of_methods_that_there_are():
    assert {*OPTIONS, *PARAMETERS, *UNTAUGHT} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_a_finite_log_probability_for_each_row_and_class(fitted, name):
    scores = fitted(name).scores
    assert scores.shape == (len(TEST), 2) and scores.dtype == np.float64
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_shared_backbone_has_the_same_bytes_after_fit_and_stays_frozen(fitted, model, name):
    assert weights_sha256(model) == fitted(name).weights_before
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_validation_says_accuracy_and_loss(fitted, name):
    validation = fitted(name).method.validation
    assert 0 <= validation["accuracy"] <= 1 and validation["loss"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_budgets_and_parameters_are_as_counted(fitted, name):
    method, budget = fitted(name).method, METHODS.get(method_of(name)).budget
    assert method.prompt_tokens == (BUDGETS["prompt_tokens"] if budget == "prompt_tokens" else None)
    assert method.shots == (BUDGETS["shots"] if budget == "shots" else None)
    assert method.trainable_parameters >= 0
    assert method.trainable_parameters == PARAMETERS.get(name, method.trainable_parameters)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_method_scores_the_same_in_batches_of_any_size(fitted, model, name):
    once = fitted(name)
    state = once.method.state()
    for size in (1, 7, 64):
        restored = TRIAL.build(name, model, batch_size=size)
        restored.load_state(state)
        scores = restored.scores(TEST)
        np.testing.assert_allclose(scores, once.scores, atol=2e-5)
        np.testing.assert_array_equal(scores.argmax(axis=1), once.scores.argmax(axis=1))
        assert restored.trainable_parameters == once.method.trainable_parameters


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_the_other_rows_or_their_order(fitted, name):
    once = fitted(name)
    np.testing.assert_allclose(once.method.scores(TEST[::-1])[::-1], once.scores, atol=2e-5)
    np.testing.assert_allclose(once.method.scores(TEST[5:6])[0], once.scores[5], atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_learns_the_same_to_the_last_bit_whatever_was_drawn_before(
    fitted, model, name
):
    once, again = fitted(name), TRIAL.build(name, model)
    put(torch.rand(3)), np.random.rand(3)
    again.fit(TRAIN, VAL)
    np.testing.assert_array_equal(again.scores(TEST), once.scores)
    states = once.method.state(), again.state()
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        np.testing.assert_array_equal(states[0][key], states[1][key])


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_is_none_is_refused(fitted, model, name):
    if fitted(name).method.state():
        with pytest.raises(InputError):
            TRIAL.build(name, model).load_state({})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNTAUGHT])
def test_composition_is_learned(fitted, name):
    labels = np.array([e.label for e in TEST])
    assert (fitted(name).scores.argmax(axis=1) == labels).mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_say_nothing_are_met_at_chance(model, name):
    method = TRIAL.build(name, model)
    method.fit(shuffled(TRAIN, 4), shuffled(VAL, 5))
    test = shuffled(TEST, 6)
    right = method.scores(test).argmax(axis=1) == [e.label for e in test]
    # Three standard deviations of 60 rows; whoever looks at the labels has all of them.
    assert abs(right.mean() - 0.5) < 0.2


EDITS = (
    Edit(0, 7, 8, "A"),
    Edit(0, 7, 8, "C"),
    Edit(2, 0, 1, "G"),
    Edit(2, 4, 4, "ACGT"),
    Edit(1, 3, 9, ""),
    Edit(1, len(TEST[1].sequence) - 2, len(TEST[1].sequence), ""),
    Edit(3, 5, 8, "NC"),
)


@pytest.mark.parametrize("name", NAMES)
def test_edited_sequences_are_scored_as_if_they_stood_alone(fitted, name):
    method = fitted(name).method
    sequences = [e.sequence for e in TEST[:5]]
    whole = [edit.of(sequences[edit.row]) for edit in EDITS]
    expected = method.scores([Example(s, 0) for s in (*sequences, *whole)])
    found = np.concatenate(method.scores_of_edits(sequences, EDITS))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_relaxed_scores_are_the_scores_and_their_derivatives(fitted, name):
    """At a sequence they are its log-odds; one letter's share moved by little, they follow."""
    method, sequence = fitted(name).method, TEST[1].sequence
    letters = put(torch.eye(5, dtype=torch.float64))[["ACGTN".index(base) for base in sequence]]
    if method.relaxed_scores(letters) is None:
        assert method_of(name) in UNDERIVED
        return
    assert method_of(name) not in UNDERIVED

    def log_odds(shares):
        found = method.relaxed_scores(shares)
        return found[1] - found[0]

    (expected,) = method.scores([Example(sequence, 0)])
    own = float(log_odds(letters).detach())
    assert own == pytest.approx(expected[1] - expected[0], abs=2e-4)
    letters.requires_grad_()
    (slope,) = torch.autograd.grad(log_odds(letters), letters)
    towards = torch.zeros_like(letters).index_put(
        (put(torch.tensor(3)),), put(torch.tensor(0.2)).double()
    )
    towards = towards - 0.2 * letters * (put(torch.arange(len(letters))) == 3)[:, None]
    step = 0.02 * towards
    with torch.no_grad():
        change = log_odds(letters + step) - log_odds(letters - step)
    assert float((slope * step).sum() * 2) == pytest.approx(float(change), rel=0.05, abs=2e-4)
