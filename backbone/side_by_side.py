"""Pieces of work that threads share, each computed by one of them alone.

Where several threads share one operation, its last digits depend on their number: each takes a
part, and libraries compute parts of other sizes by other instructions. Here an operation has one
thread, and threads share pieces: rows of a batch, channels, stretches of positions. How work is cut
into pieces depends on its shape alone, and sums over pieces are taken in their order, so that no
result depends on the number of threads.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backbone.hyena.chunking import autocast_of

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Pieces that are begun before they are asked for, for each thread."""


class _Threads(threading.local):
    """What a thread knows: whether it is computing a piece."""

    busy = False


_state = _Threads()
_pool: ThreadPoolExecutor | None = None
_count = 1


def use_threads(count: int) -> None:
    """Have pieces shared by so many threads from now on; an operation has one."""
    global _pool, _count
    torch.set_num_threads(1)
    if count != _count:
        if _pool is not None:
            _pool.shutdown()
        _pool = ThreadPoolExecutor(count - 1, "piece") if count > 1 else None
        _count = count


def thread_count() -> int:
    """Return how many threads share pieces."""
    return _count


@contextmanager
def in_turn() -> Iterator[None]:
    """Has this thread compute the pieces of the block itself, one by one.

    What watches a thread, such as a counter of operations, sees no other.
    """
    before, _state.busy = _state.busy, True
    try:
        yield
    finally:
        _state.busy = before


@contextmanager
def inside_operations() -> Iterator[None]:
    """Has threads share each operation of the block, for computations without pieces.

    Their last digits depend on the number of threads.
    """
    with in_turn():
        torch.set_num_threads(_count)
        try:
            yield
        finally:
            torch.set_num_threads(1)


def side_by_side(work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """Yield what `work` returns for each piece, in their order.

    Gradients are recorded, and numbers converted, as where this is called. A piece that is itself
    cut into pieces computes them one by one, unless it is the only one.
    """
    rest = iter(pieces)
    begun = list(islice(rest, 2))
    pieces = chain(begun, rest)
    if _pool is None or _state.busy or len(begun) < 2:
        yield from map(work, pieces)
        return
    grad, convert = torch.is_grad_enabled(), autocast_of("cpu")
    pending: deque[tuple[T, Future[R]]] = deque()
    for piece in pieces:
        pending.append((piece, _pool.submit(_alone, work, piece, grad, convert)))
        if len(pending) > AHEAD * _count:
            yield _first(work, pending, grad, convert)
    while pending:
        yield _first(work, pending, grad, convert)


def _first(
    work: Callable[[T], R],
    pending: "deque[tuple[T, Future[R]]]",
    grad: bool,
    convert: Callable[[], AbstractContextManager[object]],
) -> R:
    """Take the first of the pieces and return its result.

    While another thread computes it, this one computes pieces that none has begun.
    """
    for place, (piece, future) in enumerate([*pending]):
        if pending[0][1].done():
            break
        if future.cancel():
            done: Future[R] = Future()
            done.set_result(_alone(work, piece, grad, convert))
            pending[place] = piece, done
    return pending.popleft()[1].result()


def run(work: Callable[[T], object], pieces: Iterable[T]) -> None:
    """Do work on each piece, whatever it returns."""
    deque(side_by_side(work, pieces), maxlen=0)


def _alone(
    work: Callable[[T], R],
    piece: T,
    grad: bool,
    convert: Callable[[], AbstractContextManager[object]],
) -> R:
    _state.busy = True
    try:
        with torch.set_grad_enabled(grad), convert():
            return work(piece)
    finally:
        _state.busy = False


Work = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def differentiable(pieces: Sequence[tuple[Work, Sequence[Tensor]]]) -> list[tuple[Tensor, ...]]:
    """Return the tensors of each piece, ready for a backward pass that shares the pieces too.

    Args:
        pieces: What computes a piece, and the tensors that it reads. Gradients reach these tensors
            alone, and are summed in the order of the pieces.
    """
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return list(side_by_side(lambda piece: piece[0](piece[1]), pieces))
    counts = [len(tensors) for _, tensors in pieces]
    flat = [tensor for _, tensors in pieces for tensor in tensors]
    sizes: list[int] = []
    found = _Pieces.apply([work for work, _ in pieces], counts, sizes, *flat)
    return [tuple(part) for part in _cut(found, sizes)]


class _Pieces(torch.autograd.Function):
    """Runs pieces side by side, each with a graph of its own, which its backward pass goes back."""

    @staticmethod
    def forward(
        ctx: Any, works: Sequence[Work], counts: list[int], sizes: list[int], *flat: Tensor
    ) -> tuple[Tensor, ...]:
        wanted = ctx.needs_input_grad[3:]

        def compute(piece: tuple[Work, Sequence[Tensor], Sequence[bool]]) -> _Graph:
            work, tensors, moving = piece
            with torch.enable_grad():
                own = [x.detach().requires_grad_(w) for x, w in zip(tensors, moving, strict=True)]
                return own, work(own)

        pieces = zip(works, _cut(flat, counts), _cut(wanted, counts), strict=True)
        ctx.graphs = list(side_by_side(compute, pieces))
        results = [result for _, result in ctx.graphs]
        sizes += map(len, results)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return tuple(x.detach() for result in results for x in result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        def differentiate(piece: tuple[_Graph, Sequence[Tensor | None]]) -> list[Tensor | None]:
            (own, results), outer = piece
            moving = [x for x in own if x.requires_grad]
            reached = [
                (x, g)
                for x, g in zip(results, outer, strict=True)
                if g is not None and x.requires_grad
            ]
            if not moving or not reached:
                return [None] * len(own)
            outputs, own_gradients = zip(*reached, strict=True)
            found = iter(torch.autograd.grad(outputs, moving, own_gradients, allow_unused=True))
            return [next(found) if x.requires_grad else None for x in own]

        if ctx.graphs is None:
            raise RuntimeError("pieces computed side by side are differentiated once")
        pieces = list(zip(ctx.graphs, _cut(gradients, ctx.sizes), strict=True))
        ctx.graphs = None
        parts = list(side_by_side(differentiate, pieces))
        return None, None, None, *(gradient for part in parts for gradient in part)


def summed(
    loss: Callable[[T], Tensor], pieces: Sequence[T], parameters: Sequence[Tensor]
) -> Tensor:
    """Return the sum of losses of pieces, ready for `backward`.

    Each is differentiated at once, so that no more graphs are in memory than there are threads.
    Gradients are summed in the order of the pieces.

    Args:
        loss: Returns the loss of a piece.
        pieces: The pieces.
        parameters: What gradients are wanted of.
    """
    return _Summed.apply(loss, pieces, *parameters)


class _Summed(torch.autograd.Function):
    """Losses and their gradients, which the backward pass only hands out."""

    @staticmethod
    def forward(
        ctx: Any, loss: Callable[[T], Tensor], pieces: Sequence[T], *parameters: Tensor
    ) -> Tensor:
        def differentiate(piece: T) -> tuple[Tensor, Sequence[Tensor | None]]:
            with torch.enable_grad():
                own = loss(piece)
            found = torch.autograd.grad(own, parameters, allow_unused=True) if parameters else ()
            return own.detach(), found

        total: Tensor | None = None
        sums: list[Tensor | None] = [None] * len(parameters)
        for own, gradients in side_by_side(differentiate, pieces):
            total = own if total is None else total + own
            for i, gradient in enumerate(gradients):
                before = sums[i]
                if gradient is not None:
                    sums[i] = gradient if before is None else before + gradient
        assert total is not None, "a sum has pieces"
        ctx.sums = sums
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        sums, ctx.sums = ctx.sums, None
        return None, None, *(None if s is None else s * outer for s in sums)


_Graph = tuple[list[Tensor], tuple[Tensor, ...]]


def _cut(flat: Sequence[T], counts: Iterable[int]) -> list[Sequence[T]]:
    """Cut a sequence into parts of so many elements."""
    found, start = [], 0
    for count in counts:
        found.append(flat[start : start + count])
        start += count
    return found
