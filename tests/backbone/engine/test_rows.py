"""Rows of token ids that are read one at a time: the same numbers, whatever is read beside them."""

import pytest
import torch
from torch import Tensor

from backbone.engine import cpu_rows
from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.kernels import forced
from backbone.hyena.model import HyenaDNA, random_model
from backbone.side_by_side import thread_count, use_threads
from tests.devices import device, put

ROOM, BASES = 7, (7, 11)


@pytest.fixture(autouse=True)
def cpu_layers():
    """Layers are run by the kernels made for CPUs, whatever the device."""
    with forced(True):
        yield


def tiny(depth: int, dtype: torch.dtype = torch.float32) -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=16, n_layer=depth, d_inner=32, max_seq_len=300, initializer_range=0.4
    )
    return put(random_model(config, seed=depth)).to(dtype).requires_grad_(False).eval()


def drawn(rows: int, length: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return put(torch.randint(*BASES, (rows, length), generator=draw))


def before(engine: PrefixEngine, kind: str, rows: int) -> PrefixState | None:
    if kind == "nothing":
        return None
    return engine.extend(None, drawn(1 if kind == "shared" else rows, 20, seed=1), 200)


def tensors(state: PrefixState) -> list[Tensor]:
    return [part for layer in state.layers for part in (layer.tail, layer.spill)]


CONTEXTS = pytest.mark.parametrize("context", ["nothing", "shared", "one each"])


@CONTEXTS
@pytest.mark.parametrize("rows", [7, 32])
def test_the_state_of_a_row_does_not_depend_on_its_batch(context: str, rows: int) -> None:
    engine = PrefixEngine(tiny(3))
    ids, first = drawn(rows, 100), before(engine, context, rows)
    lengths = put(torch.arange(rows) * 3 + 1)  # some end before the short filter is full
    together = engine.extend(first, ids, ROOM, lengths)
    for row in range(rows):
        own = first if first is None or first.count == 1 else first.part(slice(row, row + 1))
        alone = engine.extend(own, ids[row : row + 1], ROOM, lengths[row : row + 1])
        unpadded = engine.extend(own, ids[row : row + 1, : lengths[row]], ROOM)
        for one, other, all_rows in zip(*map(tensors, (alone, unpadded, together)), strict=True):
            assert torch.equal(one[0], all_rows[row])
            if lengths[row] > engine.blocks[0].mixer.past:
                assert torch.equal(one, other)


@CONTEXTS
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_values_are_those_of_the_modules(context: str, depth: int) -> None:
    engine, ids = PrefixEngine(tiny(depth, torch.float64)), drawn(4, 61)
    lengths = put(torch.tensor([61, 2, 30, 3]))
    first = before(engine, context, 4)
    found = engine.extend(first, ids, ROOM, lengths), engine.encode(first, ids)
    with forced(False):
        first = before(engine, context, 4)
        expected = engine.extend(first, ids, ROOM, lengths), engine.encode(first, ids)
    for one, other in zip(tensors(found[0]), tensors(expected[0]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-10, atol=1e-10)


def test_states_of_layers_are_those_of_the_modules() -> None:
    engine, ids = PrefixEngine(tiny(2, torch.float64)), drawn(2, 50)
    found = list(engine.layer_states(ids))
    with forced(False):
        expected = list(engine.layer_states(ids))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_hidden_states_do_not_depend_on_the_batch_or_what_was_read_before() -> None:
    engine, ids = PrefixEngine(tiny(2)), drawn(7, 90)
    together = engine.encode(None, ids)
    for length in (90, 33, 90):  # buffers are used again at another length
        for row in range(7):
            alone = engine.encode(None, ids[row : row + 1, :length])
            if length == 90:
                assert torch.equal(alone[0], together[row])


@pytest.mark.skipif(device() != "cpu", reason="threads share rows on a CPU")
def test_threads_compute_the_same_numbers() -> None:
    engine, ids, count = PrefixEngine(tiny(2)), drawn(9, 80), thread_count()
    found = []
    try:
        for threads in (1, 2, 3):
            use_threads(threads)
            found.append([*tensors(engine.extend(None, ids, ROOM)), engine.encode(None, ids)])
    finally:
        use_threads(count)
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_longer_rows_are_read_in_another_way(monkeypatch) -> None:
    engine, ids = PrefixEngine(tiny(2, torch.float64)), drawn(3, 80)
    short = engine.encode(None, ids)
    assert engine.reads_apart(80)
    monkeypatch.setattr("backbone.engine.prefix.MOST_POSITIONS", 79)
    assert not engine.reads_apart(80)
    torch.testing.assert_close(engine.encode(None, ids), short, rtol=1e-10, atol=1e-10)


def test_hooks_and_trained_weights_see_whole_batches() -> None:
    model = tiny(2)
    engine = PrefixEngine(model)
    seen: list[int] = []
    handle = model.backbone.layers[0].norm2.register_forward_hook(
        lambda module, inputs, output: seen.append(len(output))
    )
    assert not engine.reads_apart(50)
    engine.encode(None, drawn(3, 50))
    handle.remove()
    assert sum(seen) == 3
    model.backbone.layers[1].mlp.fc1.weight.requires_grad_()
    assert not engine.reads_apart(50)
    assert engine.encode(None, drawn(3, 50)).requires_grad


def test_a_thread_keeps_views_of_a_bounded_number_of_lengths() -> None:
    engine = PrefixEngine(tiny(2))
    for length in range(3, 200):
        engine.encode(None, drawn(1, length))
    assert len(engine._rows._buffers.views) <= cpu_rows.VIEWS
