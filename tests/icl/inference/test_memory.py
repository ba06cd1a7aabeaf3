"""The memory readout against loops over positions, in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.sequence.dna import reverse_complement
from backbone.tokens import encode_dna
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.memory import Interpolation, MemoryReader, StateMemory
from icl.method import Context
from prompts.channel_prompt import ChannelPrompt
from prompts.template import ClassTemplate
from prompts.verbalizer import verbalizer
from tasks.task import Example
from tests.devices import device, put

BANDWIDTHS, PRIOR = (0.6, 0.3), 2.0
INTERPOLATION = Interpolation(0.3, 2, PRIOR)


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    config = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=60, initializer_range=0.4)
    return put(random_model(config, seed=0)).double().requires_grad_(False).eval()


def draw(count: int, seed: int, letters: str = "ACGTN", classes: int = 2) -> list[Example]:
    random = np.random.default_rng(seed)
    shares = [0.24] * 4 + [0.04] if "N" in letters else [0.25] * 4
    return [
        Example("".join(random.choice(list(letters), n, p=shares)), i % classes)
        for i, n in enumerate(random.integers(1, 40, size=count))
    ]


def reader(model, shown, classes=2, batch=8) -> MemoryReader:
    """A reader of these demonstrations, all of them."""
    context = Context(
        tuple("abc"[:classes]),
        0,
        lambda: model,
        shots=len(shown) // classes,
        batch_size=batch,
        device=device(),
    )
    rows = DemonstrationSet(DemonstrationConfig(), context, lambda: 10_000, ClassTemplate)
    rows.draw(shown, verbalizer(classes, None), longest=40)
    nothing = ChannelPrompt(model, classes, 0).double().requires_grad_(False)
    scorer = ChannelScorer(model)
    return MemoryReader(scorer, nothing, rows, context, interpolation=INTERPOLATION)


@torch.no_grad()
def states_and_predictions(model: HyenaDNA, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Final states (L, D) by the published operator, and probabilities of A, C, G, T (L, 4)."""
    hidden = model.embed(put(torch.from_numpy(encode_dna(sequence))).long())[None]
    for block in model.backbone.layers:
        hidden = hidden + reference.operator(block.mixer, block.norm1(hidden))
        hidden = hidden + block.mlp(block.norm2(hidden))
    hidden = model.backbone.ln_f(hidden)[0]
    letters = put(torch.from_numpy(encode_dna("ACGT"))).long()
    return hidden.cpu().numpy(), model.logits(hidden)[:, letters].softmax(-1).cpu().numpy()


def by_hand(model: HyenaDNA, shown: list[Example], query: str, classes: int) -> list[float]:
    """Normalised log-likelihoods of a query on one strand, base by base, state by state."""
    kept: list[list[tuple[np.ndarray, str]]] = [[] for _ in range(classes)]
    for row in shown:
        for strand in (row.sequence, reverse_complement(row.sequence)):
            states, _ = states_and_predictions(model, strand)
            pairs = zip(states, strand[1:], strict=False)
            kept[row.label] += [(state, base) for state, base in pairs if base != "N"]
    everything = np.array([state for pairs in kept for state, _ in pairs])
    centre, spread = everything.mean(axis=0), everything.std(axis=0)

    def unit(state: np.ndarray) -> np.ndarray:
        scaled = (state - centre) / spread
        return scaled / np.linalg.norm(scaled)

    states, predictions = states_and_predictions(model, query)
    found = []
    for pairs in kept:
        total, bases = 0.0, 0
        for state, prediction, base in zip(states, predictions, query[1:], strict=False):
            if base == "N":
                continue
            likely = float(prediction["ACGT".index(base)])
            for bandwidth in BANDWIDTHS:
                weights = {letter: 0.0 for letter in "ACGT"}
                for other, letter in pairs:
                    cosine = float(unit(state) @ unit(other))
                    weights[letter] += math.exp((cosine - 1) / bandwidth)
                whole = sum(weights.values()) + PRIOR
                likely = (weights[base] + PRIOR * likely) / whole
            total += math.log(likely)
            bases += 1
        found.append(total / max(1, bases) ** 0.5)
    return found


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_loops_over_all_states_on_both_strands(model, classes):
    shown = draw(2 * classes, 1, classes=classes)
    queries = draw(6, 2)
    found = reader(model, shown, classes).queries(queries, "both").scores()
    expected = [
        np.mean(
            [
                by_hand(model, shown, strand, classes)
                for strand in (row.sequence, reverse_complement(row.sequence))
            ],
            axis=0,
        )
        for row in queries
    ]
    np.testing.assert_allclose(found, log_softmax(expected, axis=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_scores_depend_on_neither_batches_nor_order(model, batch):
    shown, queries = draw(6, 3), draw(30, 4)
    alone = np.concatenate(
        [reader(model, shown, batch=1).queries([row], "both").scores() for row in queries]
    )
    together = reader(model, shown, batch=batch).queries(queries[::-1], "both").scores()[::-1]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


def test_probabilities_of_a_small_memory_by_hand():
    states = put(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64))
    memory = StateMemory(states, (1, 0, 2, 0), Interpolation(0.5, 1, 2.0))
    own = put(torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64))
    found = memory.log_probabilities(states[:1], own).exp()[0].tolist()
    # Cosines 1, 0 and -1, so weights 1, exp(-2) and exp(-4); A stands behind the first state.
    a, g = 1.0, math.exp(-2) + math.exp(-4)
    expected = [(a + 0.2), 0.4, (g + 0.6), 0.8]
    assert found == pytest.approx([value / (a + g + 2) for value in expected])


def test_an_empty_memory_is_the_backbone_itself(model):
    made = reader(model, [Example("A", 0), Example("C", 1)])  # nothing stands after the only base
    sequence = "ACGTTGCA"
    hidden, own = states_and_predictions(model, sequence)
    found = made.log_probabilities(put(torch.from_numpy(hidden)))
    for of_class in found:
        np.testing.assert_allclose(of_class.exp(), own, atol=1e-12)


def test_parts_of_a_query_are_scored_as_the_whole(model, monkeypatch):
    shown, queries = draw(6, 5), draw(4, 6)
    whole = reader(model, shown).queries(queries, "both").scores()
    monkeypatch.setattr("icl.inference.memory.AT_ONCE", 100)
    parts = reader(model, shown).queries(queries, "both").scores()
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)


def test_relaxed_scores_of_plain_letters_are_scores_and_have_gradients(model):
    made = reader(model, draw(6, 7))
    (row,) = draw(1, 8, letters="ACGT")
    letters = put(torch.zeros(len(row.sequence), 5, dtype=torch.float64))
    places = ["ACGTN".index(base) for base in row.sequence]
    letters[range(len(places)), places] = 1
    letters.requires_grad_()
    found = made.relaxed_scores(letters)
    expected = made.queries([row], "forward").scores()[0]
    np.testing.assert_allclose(found.log_softmax(-1).detach().cpu().numpy(), expected, atol=1e-9)
    (gradient,) = torch.autograd.grad(found[0] - found[1], letters)
    assert gradient.abs().sum() > 0
