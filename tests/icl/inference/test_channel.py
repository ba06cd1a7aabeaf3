"""The channel readout against the published operator over the whole sequence, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from torch import Tensor

from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.sequence.dna import reverse_complement
from backbone.tokens import encode_dna
from icl.inference.channel import ChannelReader
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.likelihood import normalise
from icl.method import Context
from prompts.channel_prompt import ChannelPrompt
from prompts.template import ClassTemplate
from tasks.task import Example
from tests.devices import device, put

LETTERS = "ACGT"


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=8, n_layer=3, d_inner=16, max_seq_len=300, initializer_range=0.4
    )
    return put(random_model(config, seed=0)).double().requires_grad_(False).eval()


def ids_of(sequence: str) -> Tensor:
    return put(torch.from_numpy(encode_dna(sequence))).long()


def padded(sequences: list[str]) -> tuple[Tensor, Tensor]:
    rows = [ids_of(sequence) for sequence in sequences]
    longest = max(map(len, rows))
    ids = torch.stack([F.pad(row, (0, longest - len(row)), value=4) for row in rows])
    return ids, put(torch.tensor([len(row) for row in rows]))


def vectors(*shape: int, seed: int, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return put(torch.randn(*shape, width, generator=generator, dtype=torch.float64))


def plain_states(model: HyenaDNA, whole: Tensor, offsets: Tensor) -> Tensor:
    """Final states (1, L, D) of vectors (L, D), with an offset (D,) on each long convolution."""
    hidden = whole[None]
    for block, offset in zip(model.backbone.layers, offsets, strict=True):
        mixer, signal = block.mixer, block.norm1(hidden)
        projected = mixer.in_proj(signal).transpose(1, 2)
        short = mixer.short_filter
        gates = F.conv1d(F.pad(projected, (2, 0)), short.weight, short.bias, groups=short.groups)
        x0 = gates[:, : model.config.d_model].transpose(1, 2)
        moved = (x0 * offset) @ mixer.out_proj.weight.t()
        hidden = hidden + reference.operator(mixer, signal) + moved
        hidden = hidden + block.mlp(block.norm2(hidden))
    return model.backbone.ln_f(hidden)


def plain_likelihood(model: HyenaDNA, parts: list[Tensor], query: str, offsets: Tensor) -> Tensor:
    """Sum of log P over the known bases of a query but its first, base by base."""
    embedded = [model.embed(part) if part.dtype == torch.long else part for part in parts]
    whole = torch.cat([*embedded, model.embed(ids_of(query))])
    logits = model.logits(plain_states(model, whole, offsets))[0]
    chosen = logits[:, ids_of(LETTERS)].log_softmax(-1)
    start = len(whole) - len(query)
    terms = [
        chosen[start + t - 1, LETTERS.index(base)]
        for t, base in enumerate(query)
        if t > 0 and base in LETTERS
    ]
    return torch.stack(terms).sum() if terms else put(torch.zeros(()))


QUERIES = ["ACGTTGCA", "GGNCA", "T", "ACGTACGTACGTNNACGTA", "NACG"]


@pytest.mark.parametrize("with_offsets", [False, True])
def test_values_and_gradients_equal_the_published_operator_over_everything(model, with_offsets):
    scorer, (ids, lengths) = ChannelScorer(model), padded(QUERIES)
    demonstrations = [ids_of("ACGTNTTGA"), ids_of("CCGATAGNGG")]
    prompts = [vectors(4, seed=c).requires_grad_() for c in range(2)]
    offsets = [0.5 * vectors(3, seed=5 + c) * with_offsets for c in range(2)]
    offsets = [offset.requires_grad_() for offset in offsets]
    contexts = [
        scorer.context(
            [prompts[c], demonstrations[c]],
            ids.shape[1],
            state_offsets=offsets[c] if with_offsets else None,
        )
        for c in range(2)
    ]
    found = scorer.log_likelihood(contexts, ids, lengths)
    expected = torch.stack(
        [
            torch.stack(
                [
                    plain_likelihood(model, [prompts[c], demonstrations[c]], q, offsets[c])
                    for c in range(2)
                ]
            )
            for q in QUERIES
        ]
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    inputs = [*prompts, *(offsets if with_offsets else [])]
    weight = vectors(len(QUERIES), seed=9)[:, :2]
    ours = torch.autograd.grad((found * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_an_empty_context_gives_the_models_own_likelihood(model):
    scorer, (ids, lengths) = ChannelScorer(model), padded(["ACGGT"])
    found = scorer.log_likelihood([scorer.context([], 5)], ids, lengths)
    expected = plain_likelihood(model, [], "ACGGT", put(torch.zeros(3, 8)).double())
    torch.testing.assert_close(found[0, 0], expected, rtol=1e-10, atol=0)


def test_a_row_depends_on_neither_its_neighbours_nor_their_order(model):
    scorer = ChannelScorer(model)
    context = scorer.context([ids_of("ACGGTA")], 40)
    ids, lengths = padded(QUERIES)
    together = scorer.log_likelihood([context], ids, lengths)
    backwards = scorer.log_likelihood([context], ids.flip(0), lengths.flip(0))
    torch.testing.assert_close(backwards.flip(0), together, rtol=1e-12, atol=1e-12)
    for row, query in enumerate(QUERIES):
        alone = scorer.log_likelihood([context], *padded([query]))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-12, atol=1e-12)


def test_deep_additions_reach_the_prompt_alone(model):
    scorer, (ids, lengths) = ChannelScorer(model), padded(["ACGTT"])
    prompt, additions = vectors(3, seed=1), vectors(2, 3, seed=2)
    context = scorer.context([prompt, ids_of("GA")], 5, additions=additions)
    hidden = torch.cat([prompt, model.embed(ids_of("GAACGTT"))])[None]
    for i, block in enumerate(model.backbone.layers):
        if i:
            hidden = hidden + F.pad(additions[i - 1], (0, 0, 0, 7))
        hidden = hidden + reference.operator(block.mixer, block.norm1(hidden))
        hidden = hidden + block.mlp(block.norm2(hidden))
    logits = model.logits(model.backbone.ln_f(hidden))[0, :, ids_of(LETTERS)].log_softmax(-1)
    expected = sum(logits[5 + t - 1, LETTERS.index("ACGTT"[t])] for t in range(1, 5))
    found = scorer.log_likelihood([context], ids, lengths)[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_normalisation_by_hand():
    scores, bases = (
        put(torch.tensor([[-8.0, -4.0], [0.0, 0.0]])),
        put(torch.tensor([16, 0])),
    )
    assert normalise(scores, bases, "sum").tolist() == [[-8, -4], [0, 0]]
    assert normalise(scores, bases, "base").tolist() == [[-0.5, -0.25], [0, 0]]
    assert normalise(scores, bases, "sqrt").tolist() == [[-2, -1], [0, 0]]


def test_targets_skip_the_first_base_unknown_ones_and_padding(model):
    targets = ChannelScorer(model).targets(*padded(["NACNT", "GG"]))
    assert targets.counted.int().tolist() == [[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert targets.index[targets.counted].tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_scores_depend_on_neither_batches_nor_order_and_average_both_strands(model, classes, size):
    generator = np.random.default_rng(classes)
    rows = [
        Example("".join(generator.choice(list("ACGTN"), n, p=[0.24] * 4 + [0.04])), 0)
        for n in generator.integers(1, 40, size=30)
    ]
    context = Context(tuple("abcd"[:classes]), 0, lambda: model, batch_size=size, device=device())
    prompt = ChannelPrompt(model, classes, 3, state_layers=3).double()
    with torch.no_grad():
        for seed, parameter in enumerate((prompt.vectors, prompt.state)):
            parameter.copy_(0.5 * vectors(*parameter.shape[:-1], seed=seed))
        prompt.offset.copy_(put(torch.arange(classes)) / 3)
        prompt.log_scale.fill_(0.3)
    nothing = DemonstrationSet(DemonstrationConfig(), context, lambda: 300, ClassTemplate)
    reader = ChannelReader(ChannelScorer(model), prompt, nothing, context)
    found = reader.queries(rows, "both").scores()
    backwards = reader.queries(rows[::-1], "both").scores()[::-1]
    np.testing.assert_allclose(backwards, found, rtol=0, atol=1e-12)

    @torch.no_grad()
    def by_hand(sequence: str, label: int) -> float:
        likelihood = plain_likelihood(model, [prompt.vectors[label]], sequence, prompt.state[label])
        bases = max(1, sum(base in LETTERS for base in sequence[1:]))
        normalised = float(likelihood) / bases**0.5
        return float(prompt.log_scale.exp()) * normalised + float(prompt.offset[label])

    both = [
        [
            (by_hand(row.sequence, label) + by_hand(reverse_complement(row.sequence), label)) / 2
            for label in range(classes)
        ]
        for row in rows
    ]
    np.testing.assert_allclose(found, log_softmax(both, axis=1), rtol=0, atol=1e-10)
