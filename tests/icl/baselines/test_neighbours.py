"""kmer_knn and embedding_knn: whom they ask, and how the votes are counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.sequence.dna import reverse_complement
from backbone.sequence.kmers import kmer_frequencies
from icl.baselines.neighbours import TEMPERATURES, vote
from icl.inference.embedding import embed_sequences
from icl.method import Context
from icl.methods.catalog import METHODS
from prompts.similarity import Cosine
from tasks.task import Example
from tests.devices import device, put


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=300, initializer_range=0.3)
    return put(random_model(shape, seed=1)).requires_grad_(False).eval()


def rows(n, seed, longest=40):
    random = np.random.default_rng(seed)
    lengths = random.integers(20, longest + 1, size=n)
    return [
        Example("".join(random.choice(list("ACGT"), size=length)), i % 2)
        for i, length in enumerate(lengths)
    ]


TRAIN, VAL, TEST = rows(20, 1), rows(10, 2), rows(12, 3)


def fitted(model, name, shots=2, control=None, train=TRAIN, **options):
    entry = METHODS.get(name)
    queries = [e.sequence for e in (*VAL, *TEST)]
    context = Context(
        ("a", "b"),
        0,
        lambda: model,
        shots=shots,
        control=control,
        queries=queries,
        batch_size=8,
        device=device(),
    )
    method = entry.cls(entry.config(name=name, **options), context)
    method.fit(train, VAL)
    return method


def asked(method, query):
    template = method.demonstrations.template(method.verbalizer)
    return method.demonstrations.before(query, template)


@pytest.mark.parametrize("name", ["kmer_knn", "embedding_knn"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "alternating", "policy": "drop", "shots": 5},
        {"demonstration_strands": "both", "policy": "trim", "shots": 4},
        {"demonstrations": "per_query", "chooser": "nearest", "order": "nearest_last"},
        {"demonstrations": "per_query", "chooser": "nearest_embedding"},
        {"demonstrations": "per_query", "policy": "trim", "shots": 5},
        {"control": "demo_labels_flipped"},
        {"control": "demos_random_dna", "demonstrations": "per_query"},
    ],
)
def test_the_demonstrations_are_those_of_few_shot(model, name, options):
    ours, theirs = fitted(model, name, **options), fitted(model, "few_shot", **options)
    ours.scores(TEST), theirs.scores(TEST)
    assert {e.sequence: asked(ours, e.sequence) for e in TEST} == {
        e.sequence: asked(theirs, e.sequence) for e in TEST
    }
    assert asked(ours, TEST[0].sequence)
    shared = {n: value for n, value in theirs.details.items() if n in ours.details}
    assert ours.details == shared and ours.details["bases_shown"] > 0


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
@pytest.mark.parametrize("name", ["kmer_knn", "embedding_knn"])
def test_scores_are_those_of_a_slow_vote(model, name, sets):
    method = fitted(model, name, demonstrations=sets)
    temperature = method.validation["temperature"]
    assert temperature in TEMPERATURES

    def vector(sequence):
        if name == "kmer_knn":
            return kmer_frequencies([sequence])[0]
        return embed_sequences(model, [sequence])[0]

    for example, found in zip(TEST, method.scores(TEST), strict=True):
        query, counts, weights = vector(example.sequence), np.ones(2), []
        shown = asked(method, example.sequence)
        for one in shown:
            other = vector(one.sequence)
            cosine = query @ other / np.sqrt((query @ query) * (other @ other))
            weights.append(np.exp((cosine - 1) / temperature))
        for one, weight in zip(shown, weights, strict=True):
            counts[one.label] += len(shown) * weight / sum(weights)
        np.testing.assert_allclose(np.exp(found), counts / counts.sum(), rtol=1e-6)


def test_the_temperature_is_the_one_with_the_least_validation_loss(model):
    method = fitted(model, "kmer_knn")
    labels = np.array([e.label for e in VAL])
    losses = []
    for temperature in TEMPERATURES:
        method._temperature = temperature
        losses.append(-method.scores(VAL)[np.arange(len(VAL)), labels].mean())
    assert method.validation["loss"] == pytest.approx(min(losses))
    assert method.validation["temperature"] == TEMPERATURES[int(np.argmin(losses))]


def test_the_demonstrations_choose_the_temperature_without_a_label_of_validation(model):
    """One of each class is left out, and asks the others, at every temperature."""
    method = fitted(model, "kmer_knn", shots=3, temperature="demonstrations")
    by_class = [[d for d in method.demonstrations.shared() if d.label == c] for c in (0, 1)]
    losses = []
    for temperature in TEMPERATURES:
        loss = 0.0
        for i, pair in enumerate(zip(*by_class, strict=True)):
            rest = [d for of_class in by_class for j, d in enumerate(of_class) if j != i]
            near = Cosine([d.sequence for d in rest], kmer_frequencies)
            for one in pair:
                votes = vote(
                    near.to(one.sequence), np.array([d.label for d in rest]), 2, temperature
                )
                loss -= votes[one.label]
        losses.append(loss)
    assert method.validation["temperature"] == TEMPERATURES[int(np.argmin(losses))]
    flipped = [Example(e.sequence, 1 - e.label) for e in VAL]
    method.fit(TRAIN, flipped)
    assert method.validation["temperature"] == TEMPERATURES[int(np.argmin(losses))]


def test_one_demonstration_a_class_leaves_the_largest_temperature(model):
    method = fitted(model, "kmer_knn", shots=1, temperature="demonstrations")
    assert method.validation["temperature"] == max(TEMPERATURES)


def test_demonstrations_of_each_query_cannot_choose_one_temperature(model):
    with pytest.raises(InputError, match="give method.demonstrations=fixed"):
        fitted(model, "kmer_knn", temperature="demonstrations", demonstrations="per_query")


def test_votes_by_hand():
    near, far = 1.0, 1.0 - 0.1 * np.log(3)  # at temperature 0.1 the near one counts three times
    found = vote(np.array([near, far]), np.array([0, 1]), 2, 0.1)
    np.testing.assert_allclose(np.exp(found), [(1 + 1.5) / 4, (1 + 0.5) / 4])
    found = vote(np.array([0.2, 0.2, 0.2]), np.array([0, 1, 1]), 3, 1e-4)
    np.testing.assert_allclose(np.exp(found), [2 / 6, 3 / 6, 1 / 6])


def test_equally_near_neighbours_tie_and_nobody_says_nothing():
    for temperature in TEMPERATURES:
        np.testing.assert_allclose(
            vote(np.array([0.9, 0.9, 0.1, 0.1]), np.array([0, 1, 0, 1]), 2, temperature),
            np.log([0.5, 0.5]),
        )
    np.testing.assert_allclose(vote(np.zeros(0), np.zeros(0, int), 4, 1.0), np.log([0.25] * 4))


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 2)), max_size=8),
    st.sampled_from(TEMPERATURES),
)
def test_votes_are_finite_probabilities_in_any_order(neighbours, temperature):
    similarities = np.array([s for s, _ in neighbours])
    labels = np.array([c for _, c in neighbours], dtype=np.int64)
    found = vote(similarities, labels, 3, temperature)
    assert np.isfinite(found).all() and np.exp(found).sum() == pytest.approx(1)
    turned = vote(similarities[::-1], labels[::-1], 3, temperature)
    np.testing.assert_allclose(found, turned, atol=1e-9)


def test_a_query_alone_knows_nothing(model):
    for options in ({"control": "query_alone"}, {"shots": 0}):
        np.testing.assert_allclose(fitted(model, "kmer_knn", **options).scores(TEST), np.log(0.5))


def test_the_other_strand_of_a_query_has_the_same_vote(model):
    method = fitted(model, "kmer_knn")
    turned = [Example(reverse_complement(e.sequence), e.label) for e in TEST]
    np.testing.assert_allclose(method.scores(turned), method.scores(TEST), atol=1e-12)


def test_what_a_prompt_could_not_show_is_refused(model):
    with pytest.raises(InputError, match="give fewer shots"):
        fitted(model, "kmer_knn", shots=8)
    with pytest.raises(InputError, match="299 nucleotides exceed"):
        fitted(model, "kmer_knn").check([Example("A" * 299, 0)])
    with pytest.raises(InputError, match="no array temperature"):
        fitted(model, "kmer_knn").load_state({})
