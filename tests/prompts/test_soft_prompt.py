import pytest
import torch

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from prompts.soft_prompt import PromptShape, SoftPrompt
from tests.devices import put


@pytest.fixture(scope="module")
def model():
    return put(
        random_model(HyenaDNAConfig(d_model=6, n_layer=3, d_inner=8, max_seq_len=32), seed=0)
    )


@pytest.mark.parametrize(
    ("placement", "before", "after"), [("before", 5, 0), ("after", 0, 5), ("split", 2, 3)]
)
def test_a_budget_is_divided(placement, before, after):
    assert PromptShape.of(5, placement, 2) == PromptShape(before, after, 2)
    assert PromptShape.of(0, placement, 2) == PromptShape(0, 0, 2)


def test_vectors_start_as_nucleotides_and_further_layers_at_nothing(model):
    prompt = SoftPrompt(model, PromptShape(40, 3, 2), 2, "nucleotides", seed=1)
    words = model.get_input_embeddings().weight[7:11]
    nearest = (prompt.before[:, None] == words[None]).all(-1)
    assert (nearest.sum(1) == 1).all() and nearest.any(0).all()
    assert prompt.deep_before.shape == (2, 40, 6) and prompt.deep_after.shape == (2, 3, 6)
    for zero in (prompt.deep_before, prompt.deep_after, prompt.offset):
        assert not zero.any()
    assert prompt.count == 43 * 6 * 3 + 2


def test_noise_has_the_scale_of_nucleotides(model):
    prompt = SoftPrompt(model, PromptShape(2000, 0, 0), 2, "normal", seed=1)
    scale = model.get_input_embeddings().weight[7:11].std()
    assert torch.isclose(prompt.before.std(), scale, rtol=0.05)


@pytest.mark.parametrize("init", ["nucleotides", "normal"])
def test_the_seed_alone_decides_the_draw(model, init):
    torch.manual_seed(5)
    one, same, other = (
        SoftPrompt(model, PromptShape(9, 9, 0), 2, init, seed) for seed in (3, 3, 4)
    )
    assert torch.equal(one.before, same.before) and torch.equal(one.after, same.after)
    assert not torch.equal(one.before, other.before)


def test_separator_gets_no_addition(model):
    prompt = SoftPrompt(model, PromptShape(1, 2, 2), 2, "normal", seed=0)
    with torch.no_grad():
        prompt.deep_after.fill_(3.0)
    additions = prompt.additions_after()
    assert additions.shape == (2, 3, 6)
    assert not additions[:, 0].any() and (additions[:, 1:] == 3).all()
    empty = SoftPrompt(model, PromptShape(1, 0, 2), 2, "normal", seed=0)
    assert empty.additions_after().shape == (2, 1, 6)


def test_a_prompt_of_one_layer_adds_nothing(model):
    prompt = SoftPrompt(model, PromptShape(1, 2, 0), 2, "normal", seed=0)
    assert prompt.additions_before() is None and prompt.additions_after() is None
