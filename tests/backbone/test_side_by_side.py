"""Pieces come back in their order, with the same numbers on any number of threads."""

import threading

import pytest
import torch

from backbone.engine.prefix import PrefixEngine
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.protocol import Targets
from backbone.side_by_side import (
    differentiable,
    in_turn,
    inside_operations,
    side_by_side,
    summed,
    thread_count,
    use_threads,
)

THREADS = (1, 2, 3)


@pytest.fixture(scope="module")
def engine():
    config = HyenaDNAConfig(d_model=32, n_layer=2, d_inner=64, max_seq_len=4096)
    return PrefixEngine(random_model(config, seed=2).requires_grad_(False).eval())


@pytest.mark.parametrize("threads", THREADS)
def test_results_are_in_the_order_of_the_pieces(threads):
    use_threads(threads)
    meet = threading.Barrier(min(2, threads))

    def work(piece):
        if piece < 2 and threads > 1:
            meet.wait(timeout=20)  # both are computed at the same time
        return piece**2

    assert list(side_by_side(work, range(20))) == [i**2 for i in range(20)]
    assert thread_count() == threads and torch.get_num_threads() == 1


def test_a_thread_records_gradients_and_converts_numbers_as_the_caller_does():
    use_threads(2)
    weight = torch.ones(2, 2, requires_grad=True)

    def work(_):
        return (weight @ weight).requires_grad, (weight @ weight).dtype

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert set(side_by_side(work, range(4))) == {(False, torch.bfloat16)}
    assert set(side_by_side(work, range(4))) == {(True, torch.float32)}


def test_pieces_of_a_piece_are_computed_by_its_thread():
    use_threads(2)

    def name(_):
        return threading.current_thread().name

    def names(_):
        return {name(None), *side_by_side(name, range(3))}

    assert all(len(found) == 1 for found in side_by_side(names, range(4)))
    with in_turn():
        assert set(side_by_side(name, range(4))) == {name(None)}


def test_pieces_of_a_lone_piece_are_shared():
    use_threads(2)
    meet = threading.Barrier(2)

    def inner(piece):
        return meet.wait(timeout=20) >= 0 and piece  # both are computed at the same time

    def outer(_):
        return list(side_by_side(inner, (1, 2)))

    assert list(side_by_side(outer, ["lone"])) == [[1, 2]]
    assert list(side_by_side(outer, [])) == []


def test_an_error_of_a_piece_reaches_the_caller():
    use_threads(2)
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda piece: 1 / piece, range(3)))


def test_operations_have_the_threads_where_there_are_no_pieces():
    use_threads(3)
    with inside_operations():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("threads", THREADS)
def test_gradients_of_pieces_are_those_of_the_whole(threads):
    use_threads(threads)
    shared = torch.tensor([1.0, 2.0], requires_grad=True)
    rows = torch.tensor([[3.0], [4.0], [5.0]], requires_grad=True)
    fixed = torch.tensor([1, 1])

    def work(tensors):
        one, row, whole = tensors
        return one * row * whole, row.detach()

    found = differentiable([(work, [shared, row, fixed]) for row in rows])
    assert [part[0].tolist() for part in found] == [[3, 6], [4, 8], [5, 10]]
    torch.stack([part[0] for part in found]).sum().backward()
    assert shared.grad.tolist() == [12, 12] and rows.grad.tolist() == [[3], [3], [3]]


@pytest.mark.parametrize("threads", THREADS)
def test_a_sum_of_losses_has_the_summed_gradient(threads):
    use_threads(threads)
    at = torch.tensor([1.0, 2.0], requires_grad=True)
    unused = torch.ones(1, requires_grad=True)
    total = summed(lambda i: i * (at**2).sum(), [1, 2, 3], [at, unused])
    (2 * total).backward()
    assert total.item() == 30 and at.grad.tolist() == [24, 48] and unused.grad is None


def numbers_of(engine: PrefixEngine) -> list[torch.Tensor]:
    """What the engine computes of rows cut into several pieces, with gradients of a prompt."""
    draw = torch.Generator().manual_seed(0)
    prompt = torch.randn(1, 1500, 32, generator=draw).requires_grad_()
    ids = torch.randint(7, 11, (9, 700), generator=draw)
    lengths = torch.randint(600, 700, (9,), generator=draw)
    targets = Targets(torch.arange(7, 11), (ids - 7).roll(-1, 1), torch.ones_like(ids) > 0)
    prefix = engine.extend(None, prompt, room=1000)
    found = [engine.encode_last(prefix, ids, lengths), engine.encode(prefix, ids)]
    behind = engine.extend(prefix, ids, 40, lengths=lengths)
    segment = torch.randn(1, 20, 32, generator=draw).requires_grad_()
    found += [engine.encode_last(behind, segment.expand(9, -1, -1))]
    found += [engine.log_likelihood([prefix, None], ids, targets)]
    sum(one.square().mean() for one in found).backward()
    return [*found, prompt.grad, segment.grad]


def test_no_number_of_the_engine_depends_on_the_number_of_threads(engine):
    found = []
    for threads in THREADS:
        use_threads(threads)
        found.append(numbers_of(engine))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other)
