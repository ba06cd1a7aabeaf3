"""Likelihoods of the same tokens behind several contexts, against the published operator."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.engine import cpu_likelihood, prefix
from backbone.engine.prefix import PrefixEngine, Targets
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.kernels import forced
from backbone.hyena.model import HyenaDNA, random_model
from tests.devices import put

WIDTH, LETTERS = 8, put(torch.tensor([7, 8, 9, 10]))


@pytest.fixture(params=["cpu", "modules"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to run a layer: the fast one of a CPU, and the model's own modules."""
    with forced(request.param == "cpu"):
        yield request.param


def tiny(depth: int) -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=WIDTH, n_layer=depth, d_inner=16, max_seq_len=200, initializer_range=0.4
    )
    return put(random_model(config, seed=depth)).double().requires_grad_(False).eval()


def vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return put(torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64))


def drawn(rows: int, length: int, seed: int = 0) -> tuple[Tensor, Targets]:
    """Tokens of all kinds, and random letters at random positions."""
    generator = torch.Generator().manual_seed(seed)
    ids = put(torch.randint(12, (rows, length), generator=generator))
    index = put(torch.randint(4, (rows, length), generator=generator))
    return ids, Targets(LETTERS, index, put(torch.rand(rows, length, generator=generator)) < 0.7)


def plain(model: HyenaDNA, prompts: list[Tensor], ids: Tensor, targets: Targets) -> Tensor:
    """The whole sequences, for each prompt (P, D) or (B, P, D)."""
    found = []
    for prompt in prompts:
        whole = torch.cat([prompt.expand(len(ids), -1, -1), model.embed(ids)], dim=1)
        logits = model.logits(reference.encode(model, whole)[:, prompt.shape[-2] :])
        log_p = logits[..., LETTERS].log_softmax(-1)
        terms = log_p.gather(2, targets.index[..., None])[..., 0] * targets.counted
        found.append(terms.sum(1))
    return torch.stack(found, dim=1)


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[1], [0, 5], [2, 1, 0, 40]])
@pytest.mark.parametrize("query", [1, 2, 3, 30])
def test_values_and_gradients_are_those_of_the_whole_sequences(
    way: str, depth: int, lengths: list[int], query: int
) -> None:
    model, (ids, targets) = tiny(depth), drawn(5, query, seed=query)
    engine = PrefixEngine(model)
    prompts = [vectors(n, seed=n).requires_grad_() for n in lengths]
    states = [engine.extend(None, p[None], query) if len(p) else None for p in prompts]
    found, expected = (
        engine.log_likelihood(states, ids, targets),
        plain(model, prompts, ids, targets),
    )
    same(found, expected)
    weight = put(torch.randn(5, len(lengths), dtype=torch.float64))
    learned = [p for p in prompts if len(p)]
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), learned),
        torch.autograd.grad((expected * weight).sum(), learned),
        strict=True,
    ):
        same(a, b)


def test_each_row_may_have_a_context_of_its_own(way: str) -> None:
    model, (ids, targets) = tiny(2), drawn(6, 9)
    engine, own = PrefixEngine(model), vectors(6, 4).requires_grad_()
    shared = vectors(3, seed=1)
    states = [engine.extend(None, own, 9), engine.extend(None, shared[None], 9)]
    found = engine.log_likelihood(states, ids, targets)
    expected = plain(model, [own, shared], ids, targets)
    same(found, expected)
    ours, theirs = (torch.autograd.grad(x.square().sum(), own)[0] for x in (found, expected))
    same(ours, theirs)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_rows_and_positions_taken_a_few_at_a_time_change_nothing(
    way: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (ids, targets) = tiny(2), drawn(rows, 12)
    prompts = [vectors(5, seed=seed).requires_grad_() for seed in range(4)]

    def outcome() -> list[Tensor]:
        engine = PrefixEngine(model)
        states = [engine.extend(None, prompt[None], 12) for prompt in prompts]
        found = engine.log_likelihood(states, ids, targets)
        return [found, *torch.autograd.grad(found.square().sum(), prompts)]

    whole = outcome()
    monkeypatch.setattr(prefix, "POSITIONS", 30)
    monkeypatch.setattr(cpu_likelihood, "CHUNK", 5)
    for a, b in zip(outcome(), whole, strict=True):
        same(a, b)


def test_hooks_of_layers_and_head_act_and_a_trained_head_gets_its_gradient(way: str) -> None:
    model, (ids, targets) = tiny(2), drawn(3, 10)
    prompt = vectors(4)
    engine = PrefixEngine(model)
    state = engine.extend(None, prompt[None], 10)
    before = engine.log_likelihood([state], ids, targets)
    for module in (model.backbone.layers[1].mixer.out_proj, model.backbone.ln_f, model.lm_head):
        handle = module.register_forward_hook(lambda module, inputs, output: 1.5 * output)
        found = engine.log_likelihood([state], ids, targets)
        same(found, plain(model, [prompt], ids, targets))
        assert not torch.allclose(found, before)
        handle.remove()
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    gradients = [
        torch.autograd.grad(found.sum(), model.lm_head.weight)[0]
        for found in (
            engine.log_likelihood([state], ids, targets),
            plain(model, [prompt], ids, targets),
        )
    ]
    same(*gradients)


def test_too_long_is_an_error_with_the_numbers() -> None:
    engine, (ids, targets) = PrefixEngine(tiny(1)), drawn(1, 9)
    state = engine.extend(None, vectors(1, 4), 8)
    with pytest.raises(InputError, match="9 tokens exceed the prefix state's room: 8"):
        engine.log_likelihood([None, state], ids, targets)
