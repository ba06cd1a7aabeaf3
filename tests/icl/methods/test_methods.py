"""The baselines against values by hand and slow independent paths."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.sequence.dna import reverse_complement
from backbone.sequence.kmers import n_kmers
from backbone.tokens import encode_dna
from icl.baselines.linear import (
    MOST_FOR_NEWTON,
    STRENGTHS,
    Logistic,
    choose_logistic,
    logistic_path,
)
from icl.inference.embedding import embed_sequences
from icl.method import Context
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.devices import device, put


def tiny_backbone():
    config = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=200, filter_order=8)
    model = put(random_model(config, seed=1)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)  # far from linear
    return model


def drawn(n, seed=0, lengths=(20, 90), classes=2):
    generator = np.random.default_rng(seed)
    return [
        Example("".join(generator.choice(list("ACGT"), generator.integers(*lengths))), i % classes)
        for i in range(n)
    ]


def build(name, labels=("a", "b"), **options):
    entry = METHODS.get(name)
    model = tiny_backbone()
    return entry.cls(
        entry.config(name=name, **options), Context(labels, 0, lambda: model, device=device())
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_equals_scikit_learn(classes):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(80, 5)) * [1, 10, 0.1, 3, 0] + 4
    labels = np.arange(80) % classes
    features[:, 1] += 8 * labels
    (model,) = logistic_path(features, labels, [0.1], n_classes=classes, seed=0)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, tol=1e-10))
    reference.fit(features, labels)
    np.testing.assert_allclose(
        model.scores(features), reference.predict_log_proba(features), atol=1e-6
    )


@pytest.mark.parametrize("columns", [20, MOST_FOR_NEWTON + 10])
@pytest.mark.parametrize("classes", [2, 3])
def test_each_strength_of_a_path_is_fitted_as_if_it_were_the_only_one(classes, columns):
    generator = np.random.default_rng(0)
    features = generator.normal(2, 3, size=(60, columns))
    labels = np.arange(60) % classes
    features[:, 0] += labels
    path = logistic_path(features, labels, STRENGTHS, n_classes=classes, seed=0)
    assert len(path) == len(STRENGTHS)
    for strength, model in zip(STRENGTHS, path, strict=True):
        reference = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=10_000, tol=1e-9)
        ).fit(features, labels)
        expected = reference.predict_proba(features)
        atol = 1e-3 if columns > MOST_FOR_NEWTON else 1e-6  # L-BFGS ends before the optimum
        np.testing.assert_allclose(np.exp(model.scores(features)), expected, atol=atol)


def test_logistic_strength_is_the_one_with_the_lowest_validation_loss():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(30, 20)), np.arange(30) % 2
    val = generator.normal(size=(200, 20)), np.arange(200) % 2
    chosen = choose_logistic((features, labels), val, n_classes=2, seed=0)
    assert chosen.strength == 1e-4  # labels say nothing: the less is believed the better


@pytest.mark.parametrize("present", [[1], [0, 2]])
def test_logistic_gives_absent_classes_next_to_nothing(present):
    features = np.random.default_rng(0).normal(size=(20, 3))
    labels = np.resize(present, 20)
    (model,) = logistic_path(features, labels, [1.0], n_classes=3, seed=0)
    probabilities = np.exp(model.scores(features))
    np.testing.assert_allclose(probabilities[:, present].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "state", [{}, {"mean": 1, "scale": 1}, {n: np.zeros(3) for n in ("mean", "scale", "weight")}]
)
def test_logistic_refuses_a_state_that_is_not_its_own(state):
    with pytest.raises(InputError, match="no array"):
        Logistic.from_state(state, 2)


def test_majority_is_the_smoothed_training_frequency():
    method = build("majority", ("a", "b", "c"))
    rows = [Example("A", 0)] * 5 + [Example("A", 1)] * 2
    method.fit(rows, rows)
    np.testing.assert_allclose(np.exp(method.scores(rows[:2])), [[0.6, 0.3, 0.1]] * 2)
    assert method.validation["accuracy"] == pytest.approx(5 / 7)


def test_gc_only_learns_that_the_middle_is_different():
    rows = [
        Example("G" * gc + "A" * (20 - gc), int(5 < gc < 15)) for gc in range(21) for _ in range(5)
    ]
    method = build("gc_only")
    method.fit(rows, rows)
    assert method.validation["accuracy"] > 0.95
    assert method.trainable_parameters == 3


def test_length_only_learns_that_the_middle_is_different_and_reads_no_letter():
    rows = [Example("ACGT"[n % 4] * n, int(20 < n < 80)) for n in (9, 12, 38, 41, 160, 171)] * 9
    method = build("length_only")
    method.fit(rows, rows)
    assert method.validation["accuracy"] == 1
    same = [Example("ACGTN" * 8, 0), Example("G" * 40, 0)]
    np.testing.assert_array_equal(*method.scores(same))


def test_length_only_knows_the_frequencies_where_all_lengths_are_one():
    rows = [Example("A" * 30, 0)] * 6 + [Example("C" * 30, 1)] * 2
    method = build("length_only")
    method.fit(rows, rows)
    np.testing.assert_allclose(np.exp(method.scores(rows[:1])), [[0.75, 0.25]], atol=1e-3)


def test_kmer_length_is_chosen_on_validation():
    generator = np.random.default_rng(0)

    def row(label):  # the same letters, in the order ACT or TCA... by class
        words = generator.permutation(["ACG", "AAA", "CCA"] if label else ["CGA", "AAA", "ACC"])
        return Example("".join(words) * 3 + "".join(generator.choice(list("ACGT"), 20)), label)

    rows = [row(i % 2) for i in range(300)]
    method = build("kmer_logreg", kmers=[1, 4])
    method.fit(rows[:200], rows[200:])
    assert method.validation["kmer"] == 4
    assert method.trainable_parameters == n_kmers(4) + 1
    fixed = build("kmer_logreg", kmer=1)
    fixed.fit(rows[:200], rows[200:])
    assert fixed.validation["loss"] > method.validation["loss"]


def test_embedding_equals_the_mean_over_one_unpadded_row_and_its_other_strand():
    import torch

    model, sequence = tiny_backbone(), "ACGTTGCANNACG"
    means = []
    for strand in (sequence, reverse_complement(sequence)):
        ids = put(torch.from_numpy(encode_dna(strand)))[None]
        means.append(model.encode(model.embed(ids))[0].double().mean(dim=0).cpu().numpy())
    found = embed_sequences(model, [sequence])
    np.testing.assert_allclose(found[0], np.mean(means, axis=0), atol=1e-6)
    other = embed_sequences(model, [reverse_complement(sequence)])
    np.testing.assert_allclose(other, found, atol=1e-6)


def test_embedding_of_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it():
    sequences = [e.sequence for e in drawn(40, lengths=(1, 200))]
    whole = embed_sequences(tiny_backbone(), sequences)
    assert np.array_equal(embed_sequences(tiny_backbone(), sequences[::-1])[::-1], whole)
    assert np.array_equal(embed_sequences(tiny_backbone(), sequences[3:4])[0], whole[3])
    assert whole.std(axis=0).min() > 0.01


@pytest.mark.parametrize(("sequence", "message"), [("A" * 201, "201.*200"), ("", "empty")])
def test_the_probe_refuses_rows_that_the_backbone_cannot_read(sequence, message):
    with pytest.raises(InputError, match=f"row 2.*{message}"):
        build("linear_probe").check([Example("ACGT", 0), Example(sequence, 0)])
