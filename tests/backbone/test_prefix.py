import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbone.config import HyenaDNAConfig
from backbone.errors import InputError
from backbone.model import HyenaDNA, random_model
from backbone.prefix import PrefixEngine

WIDTH = 8


def tiny(depth: int, max_seq_len: int = 700) -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=WIDTH, n_layer=depth, d_inner=16, max_seq_len=max_seq_len, initializer_range=0.4
    )
    return random_model(config, seed=depth).double().requires_grad_(False).eval()


def vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64)


def plain(model: HyenaDNA, prompt: Tensor, queries: Tensor, additions: Tensor | None) -> Tensor:
    """The whole sequence through the whole model, with additions at the prompt's positions."""
    hidden = torch.cat([prompt.expand(len(queries), -1, -1), queries], dim=1)
    for i, block in enumerate(model.backbone.layers):
        if additions is not None and i > 0:
            extra = torch.cat([additions[i - 1], torch.zeros_like(queries[0])])
            hidden = hidden + extra
        hidden = block(hidden)
    return model.backbone.ln_f(hidden)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm().clamp(min=1e-30))


def gradients(loss: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("prefix", [0, 1, 2, 3, 5, 300])
@pytest.mark.parametrize("query", [1, 2, 30])
def test_prefix_changes_neither_values_nor_gradients(depth: int, prefix: int, query: int) -> None:
    model = tiny(depth)
    engine = PrefixEngine(model)
    prompt = vectors(1, prefix, seed=1).requires_grad_()
    additions = vectors(depth - 1, prefix, seed=2).requires_grad_()
    queries = vectors(3, query, seed=3).requires_grad_()
    weight = vectors(3, query, seed=4)

    state = engine.extend(None, prompt, room=query, additions=additions)
    shared = engine.encode(state, queries)
    expected = plain(model, prompt, queries, additions)[:, prefix:]
    assert relative(shared, expected) < 1e-10
    inputs = [prompt, additions, queries]
    ours = gradients((shared * weight).sum(), inputs)
    theirs = gradients((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        if b.numel() and b.norm() > 0:
            assert relative(a, b) < 1e-10


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reading_the_last_position_equals_reading_all(depth: int) -> None:
    model, lengths = tiny(depth), torch.tensor([9, 1, 4, 2])
    engine = PrefixEngine(model)
    prompt = vectors(1, 6, seed=1).requires_grad_()
    queries = vectors(4, 9, seed=3)
    state = engine.extend(None, prompt, room=9)
    read = engine.encode_last(state, queries, lengths)
    expected = plain(model, prompt, queries, None)[torch.arange(4), 6 + lengths - 1]
    assert relative(read, expected) < 1e-10
    weight = vectors(4, seed=5)
    ours, theirs = (gradients((x * weight).sum(), [prompt])[0] for x in (read, expected))
    assert relative(ours, theirs) < 1e-10


@settings(max_examples=40, deadline=None)
@given(
    depth=st.integers(1, 3),
    prefix=st.integers(0, 12),
    lengths=st.lists(st.integers(1, 11), min_size=1, max_size=4),
    suffix=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_rows_of_mixed_length_between_prefix_and_suffix_equal_whole_sequences(
    depth: int, prefix: int, lengths: list[int], suffix: int, seed: int
) -> None:
    model = tiny(depth, max_seq_len=40)
    engine = PrefixEngine(model)
    prompt, end = vectors(1, prefix, seed=seed), vectors(1, suffix, seed=seed + 1)
    deep = vectors(depth - 1, suffix, seed=seed + 2)
    queries = vectors(len(lengths), max(lengths), seed=seed + 3)

    shared = engine.extend(None, prompt, room=max(lengths) + suffix) if prefix else None
    rows = engine.extend(shared, queries, room=suffix, lengths=torch.tensor(lengths))
    read = engine.encode_last(rows, end.expand(len(lengths), -1, -1), additions=deep)
    for i, length in enumerate(lengths):
        whole = torch.cat([prompt, queries[i : i + 1, :length], end], dim=1)
        for layer, block in enumerate(model.backbone.layers):
            if layer:
                whole = whole.clone()
                whole[0, -suffix:] += deep[layer - 1]
            whole = block(whole)
        assert relative(read[i], model.backbone.ln_f(whole)[0, -1]) < 1e-10


def test_chained_prefixes_equal_one_prefix() -> None:
    model = tiny(2)
    engine = PrefixEngine(model)
    first, second, queries = vectors(1, 7, seed=1), vectors(1, 20, seed=2), vectors(3, 5, seed=3)
    chained = engine.extend(engine.extend(None, first, room=25), second, room=5)
    expected = plain(model, torch.cat([first, second], dim=1), queries, None)[:, 27:]
    assert relative(engine.encode(chained, queries), expected) < 1e-10


def test_states_of_rows_can_be_kept_and_picked() -> None:
    engine = PrefixEngine(tiny(2))
    queries, end = vectors(4, 6, seed=1), vectors(1, 3, seed=2)
    whole = engine.extend(None, queries, room=3)
    picked = engine.encode_last(whole.rows(torch.tensor([3, 0])), end.expand(2, -1, -1))
    for row, query in zip(picked, queries[[3, 0]], strict=True):
        alone = engine.extend(None, query[None], room=3)
        assert relative(row, engine.encode_last(alone, end)[0]) < 1e-12


def test_too_long_is_an_error_with_the_numbers() -> None:
    engine = PrefixEngine(tiny(1, max_seq_len=10))
    with pytest.raises(InputError, match="12 tokens exceed this checkpoint's max_seq_len of 10"):
        engine.extend(None, vectors(1, 8), room=4)
    state = engine.extend(None, vectors(1, 4), room=2)
    with pytest.raises(InputError, match="3 tokens exceed the prefix state's room: 2"):
        engine.encode(state, vectors(1, 3))
