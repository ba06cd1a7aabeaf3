"""Fisher scores: derivatives of the likelihood, beside finite differences of a changed model."""

import copy

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hooks import has_hooks
from backbone.models import weights_sha256
from backbone.sequence.dna import reverse_complement
from backbone.tokens import encode_dna
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.fisher_scores import fisher_scores
from tests.devices import device, put
from tests.icl.methods.test_methods import drawn, tiny_backbone

SEQUENCE = "ACGGTNACCATTGAACGCGT"
LETTERS = "ACGT"


def double_backbone():
    return tiny_backbone().double()


def log_likelihood(model, sequence: str, change=None) -> float:
    """The summed log-probability of the bases but the first, by single positions.

    A change is three parts: additions to what each letter is read as (4, D), factors less 1 of the
    inputs of each feed-forward map, and additions to the head's rows (4, D).
    """
    ids = put(torch.from_numpy(encode_dna(sequence).astype(np.int64)))[None]
    rows = torch.tensor([[LETTERS.find(base) for base in sequence]], device=ids.device)
    head = model.lm_head.weight[put(torch.from_numpy(encode_dna(LETTERS).astype(np.int64)))]
    vectors, changed = model.embed(ids), model
    if change is not None:
        reading, factors, predicting = change
        changed = copy.deepcopy(model)
        for block, factor in zip(changed.backbone.layers, factors, strict=True):
            block.mlp.fc2.weight.data *= 1 + factor
        vectors = vectors + reading[rows] * (rows >= 0)[..., None]
        head = head + predicting
    with torch.no_grad():
        log_p = (changed.encode(vectors) @ head.T).log_softmax(-1)[0]
    return sum(
        float(log_p[t - 1, LETTERS.index(base)])
        for t, base in enumerate(sequence)
        if t > 0 and base in LETTERS
    )


def parts(model, scores: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The three parts of a score."""
    width, inner = model.config.d_model, model.config.d_inner
    middle = scores[4 * width : -4 * width].reshape(-1, inner)
    return scores[: 4 * width].reshape(4, width), list(middle), scores[-4 * width :].reshape(4, -1)


@pytest.mark.parametrize("part", ["reading", "first factors", "last factors", "predicting"])
def test_a_score_is_the_slope_of_the_likelihood_on_both_strands(part):
    model = double_backbone()
    width, inner = model.config.d_model, model.config.d_inner
    generator = torch.Generator().manual_seed(1)

    def direction(name: str, *shape: int) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return put(drawn * (name == part))

    reading = direction("reading", 4, width)
    factors = [direction("first factors", inner), direction("last factors", inner)]
    predicting = direction("predicting", 4, width)

    def changed(step: float) -> float:
        change = (reading * step, [f * step for f in factors], predicting * step)
        strands = SEQUENCE, reverse_complement(SEQUENCE)
        return sum(log_likelihood(model, strand, change) for strand in strands) / 2

    step = 1e-6
    slope = (changed(step) - changed(-step)) / (2 * step)
    (score,) = fisher_scores(model, [SEQUENCE], device=device())
    ours = parts(model, score)
    found = (ours[0] * reading.cpu().numpy()).sum() + (ours[2] * predicting.cpu().numpy()).sum()
    found += sum(
        (mine * theirs.cpu().numpy()).sum() for mine, theirs in zip(ours[1], factors, strict=True)
    )
    bases = sum(base in LETTERS for base in SEQUENCE[1:])
    assert found * bases**0.5 == pytest.approx(slope, rel=1e-5)


def test_the_unchanged_likelihood_is_that_of_the_channel_readout():
    model = double_backbone()
    ids = put(torch.from_numpy(encode_dna(SEQUENCE).astype(np.int64)))[None]
    lengths = torch.tensor([len(SEQUENCE)], device=ids.device)
    with torch.no_grad():
        channel = ChannelScorer(model).log_likelihood([None], ids, lengths)
    assert log_likelihood(model, SEQUENCE) == pytest.approx(float(channel), rel=1e-9)


def test_a_score_does_not_depend_on_the_strand_or_on_other_rows():
    model = tiny_backbone()
    sequences = [example.sequence for example in drawn(5)]
    together = fisher_scores(model, [*sequences, SEQUENCE], device=device())
    for row, sequence in enumerate(sequences):
        alone = fisher_scores(tiny_backbone(), [sequence], device=device())[0]
        np.testing.assert_array_equal(alone, together[row])
        turned = fisher_scores(model, [reverse_complement(sequence)], device=device())[0]
        scale = np.abs(together[row]).max()
        np.testing.assert_allclose(turned, together[row], atol=1e-5 * scale)


def test_the_model_keeps_its_weights_and_has_no_hooks():
    model = tiny_backbone()
    before = weights_sha256(model)
    fisher_scores(model, [SEQUENCE], device=device())
    assert weights_sha256(model) == before
    assert not any(map(has_hooks, model.modules()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_row_beyond_the_context_is_refused():
    with pytest.raises(InputError, match="row 2"):
        fisher_scores(tiny_backbone(), ["ACGT", "ACGT" * 1000])
