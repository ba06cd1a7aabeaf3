"""Cached results of the frozen backbone, kept for the life of the process, and on disk if wanted.

Several runs of one process (seeds, prompt lengths, a probe) read the same rows with the same frozen
weights, so each row is encoded once. Threads share rows, a few at a time. What encodes them sees to
it that a result depends on the row alone, to the last bit, whichever run came first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import Tensor

from backbone.hooks import has_hooks
from backbone.protocol import LanguageModel
from backbone.side_by_side import side_by_side
from backbone.state_store import LEAST_LETTERS, StateStore, key_of

Row = tuple[Tensor, ...]

KEPT_BYTES = 2 << 30
"""Most bytes kept for one backbone, unless a run sets another limit."""

TOGETHER = 8
"""Rows that a thread encodes at a time: what is done once for all of them costs little."""


@dataclass
class _Kind:
    """The rows of one kind; each is a row of a block."""

    bytes_per_row: int
    rows: dict[str, tuple[Row, int]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return len(self.rows) * self.bytes_per_row


_KEPT: WeakKeyDictionary[LanguageModel, dict[str, _Kind]] = WeakKeyDictionary()


def fits(rows: int, bytes_per_row: int, most: int | None = None) -> bool:
    """Return whether results of that many rows fit into `most` bytes (default `KEPT_BYTES`)."""
    return rows * bytes_per_row <= (KEPT_BYTES if most is None else most)


def cached_states(
    model: LanguageModel,
    kind: str,
    sequences: Sequence[str],
    encode: Callable[[Sequence[str]], Row],
    bytes_per_row: int,
    most: int | None = None,
    store: StateStore | None = None,
    done: Callable[[int, int], None] = lambda done, rows: None,
) -> Row:
    """Return the results of `encode` for each sequence, computed where they are not cached yet.

    Args:
        model: The frozen backbone; its weights must not change.
        kind: Name of what `encode` computes, with every setting that it depends on.
        sequences: The N rows.
        encode: Computes the tensors of some sequences, which are their first dimension; each
            sequence's depend on it alone, and have the same shapes for every sequence.
        bytes_per_row: Size of a row's tensors. If not all fit, other kinds are dropped, the least
            recently used first, then older rows of this one.
        most: Bytes to keep for the backbone, `KEPT_BYTES` if None.
        store: Where rows are looked for on disk, and written; None for nowhere.
        done: Called with how many rows have been computed, of how many.

    Returns:
        The tensors, with the N rows as first dimension; they may be those that are kept.
    """
    # What a hook changes is never kept: it can come and go while the weights stay.
    hooked = any(map(has_hooks, model.modules()))
    kinds = {} if hooked else _KEPT.setdefault(model, {})
    kinds[kind] = kinds.pop(kind, _Kind(bytes_per_row))  # the most recently used is last
    kept = kinds[kind].rows
    new = [s for s in dict.fromkeys(sequences) if s not in kept]
    _make_room(kinds, len(new) * bytes_per_row, KEPT_BYTES if most is None else most)
    if not fits(len(kept) + len(new), bytes_per_row, most):
        kept.clear()
        new = list(dict.fromkeys(sequences))
    if new:
        kept.update(_found(model, kind, new, encode, None if hooked else store, done))
    return _in_order([kept[sequence] for sequence in sequences])


def _found(
    model: LanguageModel,
    kind: str,
    sequences: Sequence[str],
    encode: Callable[[Sequence[str]], Row],
    store: StateStore | None,
    done: Callable[[int, int], None],
) -> dict[str, tuple[Row, int]]:
    """Return the tensors of different sequences, and their places there: from disk, or computed."""
    if store is None or sum(map(len, sequences)) < LEAST_LETTERS:
        return _places(sequences, _encoded(sequences, encode, done))
    key = key_of(model, kind)
    found = store.read(key, sequences)
    new = [sequence for sequence in sequences if sequence not in found]
    if not new:
        return found
    block = _encoded(new, encode, done)
    found |= _places(new, block)
    if store.write(key, new, block):
        found |= store.read(key, new)  # mapped into memory: what was computed is freed
    return found


def _encoded(
    sequences: Sequence[str],
    encode: Callable[[Sequence[str]], Row],
    done: Callable[[int, int], None],
) -> Row:
    """Return the tensors of sequences, each in one allocation.

    Small ones for each row, between large temporaries, would fragment the heap.
    """
    result: Row = ()
    count, start = len(sequences), 0
    some = [sequences[i : i + TOGETHER] for i in range(0, count, TOGETHER)]
    for parts in side_by_side(encode, some):
        result = result or tuple(part.new_empty(count, *part.shape[1:]) for part in parts)
        stop = start + len(parts[0])
        for target, part in zip(result, parts, strict=True):
            target[start:stop] = part
        start = stop
        done(start, count)
    return result


def _places(sequences: Sequence[str], block: Row) -> dict[str, tuple[Row, int]]:
    return {sequence: (block, row) for row, sequence in enumerate(sequences)}


def _in_order(places: Sequence[tuple[Row, int]]) -> Row:
    """Return rows of blocks as tensors: without a copy where they follow each other in one."""
    block, start = places[0]
    stop = start + len(places)
    if all(one is block for one, _ in places) and [i for _, i in places] == [*range(start, stop)]:
        return tuple(part[start:stop] for part in block)
    result = tuple(part.new_empty(len(places), *part.shape[1:]) for part in block)
    for row, (own, i) in enumerate(places):
        for target, part in zip(result, own, strict=True):
            target[row] = part[i]
    return result


def _make_room(kinds: dict[str, _Kind], wanted: int, most: int) -> None:
    """Drop kinds, all but the last at most, until `wanted` more bytes fit."""
    while len(kinds) > 1 and sum(kind.bytes for kind in kinds.values()) + wanted > most:
        del kinds[next(iter(kinds))]
