from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbone.common.errors import InputError
from backbone.engine import cpu_mixer as mixing
from backbone.engine import filter_cache as filters
from backbone.engine import prefix
from backbone.engine.prefix import PrefixEngine
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.kernels import forced
from backbone.hyena.model import HyenaDNA, random_model
from tests.devices import put

WIDTH = 8


@pytest.fixture(params=["cpu", "modules"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to run a layer: the fast one of a CPU, and the model's own modules."""
    with forced(request.param == "cpu"):
        yield request.param


def tiny(depth: int, max_seq_len: int = 700) -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=WIDTH, n_layer=depth, d_inner=16, max_seq_len=max_seq_len, initializer_range=0.4
    )
    return put(random_model(config, seed=depth)).double().requires_grad_(False).eval()


def vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return put(torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64))


def plain(model: HyenaDNA, prompt: Tensor, queries: Tensor, additions: Tensor | None) -> Tensor:
    """The whole sequence in the published form, with additions at the prompt's positions."""
    whole = torch.cat([prompt.expand(len(queries), -1, -1), queries], dim=1)
    if additions is not None:
        nothing = queries.new_zeros(len(additions), *queries.shape[1:])
        additions = torch.cat([additions, nothing], dim=1)
    return reference.encode(model, whole, additions)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm().clamp(min=1e-30))


def gradients(loss: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("prefix", [0, 1, 2, 3, 5, 300])
@pytest.mark.parametrize("query", [1, 2, 30])
def test_prefix_changes_neither_values_nor_gradients(
    way: str, depth: int, prefix: int, query: int
) -> None:
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


def equal_with_gradients(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """Holds values, and gradients with respect to inputs, to 1e-10 relative."""
    assert relative(ours, theirs) < 1e-10
    weight = put(torch.randn(theirs.shape, generator=torch.Generator().manual_seed(9))).double()
    found, expected = (gradients((x * weight).sum(), inputs) for x in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        assert relative(a, b) < 1e-10 if b.norm() > 0 else a.norm() == 0


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("lengths", [None, [9, 1, 4, 2]])
def test_reading_the_last_position_equals_reading_all(
    way: str, depth: int, lengths: list[int] | None
) -> None:
    model = tiny(depth)
    engine = PrefixEngine(model)
    prompt, queries = vectors(1, 6, seed=1).requires_grad_(), vectors(4, 9, seed=3)
    queries.requires_grad_()
    ends = None if lengths is None else put(torch.tensor(lengths))
    read = engine.encode_last(engine.extend(None, prompt, room=9), queries, ends)
    at = 6 + (put(torch.full((4,), 9)) if ends is None else ends) - 1
    expected = plain(model, prompt, queries, None)[put(torch.arange(4)), at]
    equal_with_gradients(read, expected, [prompt, queries])


@pytest.mark.parametrize("lengths", [[7, 1, 3], [2, 1, 2], [1, 1, 1]])
def test_token_ids_are_encoded_as_their_embeddings(way: str, lengths: list[int]) -> None:
    model = tiny(3)
    engine = PrefixEngine(model)
    prompt = vectors(1, 6, seed=1).requires_grad_()
    ids = put(torch.randint(12, (3, max(lengths)), generator=torch.Generator().manual_seed(0)))
    ends = put(torch.tensor(lengths))
    expected = plain(model, prompt, model.embed(ids), None)[:, 6:]
    state = engine.extend(None, prompt, room=9)
    equal_with_gradients(engine.encode(state, ids), expected, [prompt])
    last = engine.encode_last(state, ids, ends)
    equal_with_gradients(last, expected[put(torch.arange(3)), ends - 1], [prompt])
    end = vectors(1, 2, seed=2).requires_grad_()
    rows = engine.extend(state, ids, room=2, lengths=ends)
    for row, length in enumerate(lengths):
        query = torch.cat([model.embed(ids[row : row + 1, :length]), end], dim=1)
        theirs = plain(model, prompt, query, None)[:, 6 + length :]
        ours = engine.encode(rows.rows(put(torch.tensor([row]))), end)
        equal_with_gradients(ours, theirs, [prompt, end])


@pytest.mark.parametrize("room", [1, 8, 9, 30])
@pytest.mark.parametrize("lengths", [None, [20, 1, 2, 13]])
def test_what_rows_hand_on_to_a_suffix_is_exact(
    way: str, room: int, lengths: list[int] | None
) -> None:
    model = tiny(2)
    engine = PrefixEngine(model)
    prompt, queries = vectors(1, 5, seed=1).requires_grad_(), vectors(4, 20, seed=2)
    end = vectors(1, room, seed=3).requires_grad_()
    queries.requires_grad_()
    ends = None if lengths is None else put(torch.tensor(lengths))
    shared = engine.extend(None, prompt, room=20 + room)
    rows = engine.extend(shared, queries, room=room, lengths=ends)
    ours = engine.encode(rows, end.expand(4, -1, -1))
    theirs = [
        plain(model, prompt, torch.cat([query[None, :length], end], dim=1), None)[:, 5 + length :]
        for query, length in zip(queries, lengths or [20] * 4, strict=True)
    ]
    equal_with_gradients(ours, torch.cat(theirs), [prompt, queries, end])


def test_rows_and_channels_taken_a_few_at_a_time_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, lengths = tiny(2), put(torch.tensor([6, 2, 5, 1, 4]))
    engine = PrefixEngine(model)
    prompt, queries = vectors(1, 7, seed=1).requires_grad_(), vectors(5, 6, seed=2)
    end = vectors(5, 3, seed=3)

    def scored() -> Tensor:
        state = engine.extend(None, prompt, room=9)
        rows = engine.extend(state, queries, room=3, lengths=lengths)
        read = engine.encode_last(rows, end), engine.encode_last(state, queries, lengths)
        return torch.cat([*read, engine.encode(rows, end)[:, 0]])

    at_once = scored()
    monkeypatch.setattr(prefix, "POSITIONS", 12)
    monkeypatch.setattr(mixing, "AT_ONCE", 100)
    equal_with_gradients(scored(), at_once, [prompt])


@pytest.mark.parametrize("tokens", [1, 2, 50])
def test_activations_computed_anew_give_the_plain_paths_values_and_gradients(
    way: str, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(prefix, "SEGMENT", 8)
    model = tiny(3)
    engine = PrefixEngine(model, checkpoint_prefix=True)
    prompt, second = vectors(1, tokens, seed=1), vectors(1, 20, seed=2)
    additions = vectors(2, tokens, seed=4)
    inputs = [x.requires_grad_() for x in (prompt, second, additions)]
    queries = vectors(3, 5, seed=3)
    first = engine.extend(None, prompt, room=25, additions=additions)
    ours = engine.encode(engine.extend(first, second, room=5), queries)
    more = torch.cat([additions, put(torch.zeros(2, 20, WIDTH))], dim=1)
    theirs = plain(model, torch.cat([prompt, second], dim=1), queries, more)[:, tokens + 20 :]
    equal_with_gradients(ours, theirs, inputs)


def test_activations_computed_anew_are_not_kept() -> None:
    kept = []
    for anew in (False, True):
        engine = PrefixEngine(tiny(4), checkpoint_prefix=anew)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            engine.extend(None, vectors(1, 400).requires_grad_(), room=4)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize("name", ["in_proj", "short_filter", "filter_fn"])
def test_weights_that_are_trained_get_their_gradients(name: str) -> None:
    model = tiny(2)
    weights = list(getattr(model.backbone.layers[0].mixer, name).parameters())
    for weight in weights:
        weight.requires_grad_()
    prompt, queries = vectors(1, 5, seed=1), vectors(2, 9, seed=2)
    engine = PrefixEngine(model)
    ours = engine.encode_last(engine.extend(None, prompt, room=9), queries)
    equal_with_gradients(ours, plain(model, prompt, queries, None)[:, -1], weights)


def test_under_autocast_layers_follow_the_models_own() -> None:
    model = tiny(2).float()
    engine = PrefixEngine(model)
    prompt, queries = vectors(1, 30, seed=1).float(), vectors(2, 9, seed=2).float()
    exact = plain(model, prompt, queries, None)[:, -1]
    with torch.autocast("cpu", torch.bfloat16):
        halved = engine.encode_last(engine.extend(None, prompt, room=9), queries)
    assert 1e-5 < relative(halved.float(), exact) < 0.05


def test_transforms_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PrefixEngine(tiny(2))
    before = engine.filters.spectrum(0, 30, 30)
    assert engine.filters.spectrum(0, 30, 30) is before and before is not None
    monkeypatch.setattr(filters, "KEPT_BYTES", 5 * before.nbytes)
    for length in range(30, 60):
        engine.filters.spectrum(1, length, length)
        assert engine.filters.kept_bytes <= 5 * before.nbytes
    again = engine.filters.spectrum(0, 30, 30)
    assert again is not before and again is not None and torch.equal(again, before)


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
    rows = engine.extend(shared, queries, room=suffix, lengths=put(torch.tensor(lengths)))
    read = engine.encode_last(rows, end.expand(len(lengths), -1, -1), additions=deep)
    for i, length in enumerate(lengths):
        whole = torch.cat([prompt, queries[i : i + 1, :length], end], dim=1)
        nothing = deep.new_zeros(depth - 1, prefix + length, WIDTH)
        expected = reference.encode(model, whole, torch.cat([nothing, deep], dim=1))
        assert relative(read[i], expected[0, -1]) < 1e-10


def test_chained_prefixes_equal_one_prefix(way: str) -> None:
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
    picked = engine.encode_last(whole.rows(put(torch.tensor([3, 0]))), end.expand(2, -1, -1))
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


@pytest.mark.parametrize("before", [5000, 20000])
def test_taps_do_not_depend_on_what_was_asked_for_before(before: int) -> None:
    shape = HyenaDNAConfig(d_model=8, n_layer=1, d_inner=8, max_seq_len=20000)
    fresh, used = (PrefixEngine(put(random_model(shape, seed=0))).filters for _ in range(2))
    used.taps(0, before)
    assert torch.equal(fresh.taps(0, 200), used.taps(0, 200))
