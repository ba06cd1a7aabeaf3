"""Cached results of the frozen backbone, kept for the life of the process.

Several runs of one process (seeds, prompt lengths, a probe) read the same rows with the same frozen
weights, so each row is encoded once. Rows are encoded one at a time: a result depends on the row
alone, to the last bit, whichever run came first. On a CPU this is also faster than batches, because
a row's activations fit the cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from backbone.hooks import has_hooks
from backbone.protocol import LanguageModel

Row = tuple[Tensor, ...]

KEPT_BYTES = 2 << 30
"""Most bytes kept for one backbone, unless a run sets another limit."""

BLOCK = 64
"""Rows that share an allocation: one small allocation per row, between large temporaries, would
fragment the heap."""


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
    encode: Callable[[str], Row],
    bytes_per_row: int,
    most: int | None = None,
) -> Row:
    """Return the results of `encode` for each sequence, computed where they are not cached yet.

    Args:
        model: The frozen backbone; its weights must not change.
        kind: Name of what `encode` computes, with every setting that it depends on.
        sequences: The N rows.
        encode: Computes the tensors of one sequence; shapes are the same for every sequence.
        bytes_per_row: Size of a row's tensors. If not all fit, other kinds are dropped, the least
            recently used first, then older rows of this one.
        most: Bytes to keep for the backbone, `KEPT_BYTES` if None.

    Returns:
        The tensors, with the N rows as first dimension.
    """
    # What a hook changes is never kept: it can come and go while the weights stay.
    kinds = {} if any(map(has_hooks, model.modules())) else _KEPT.setdefault(model, {})
    kinds[kind] = kinds.pop(kind, _Kind(bytes_per_row))  # the most recently used is last
    kept = kinds[kind].rows
    new = [s for s in dict.fromkeys(sequences) if s not in kept]
    _make_room(kinds, len(new) * bytes_per_row, KEPT_BYTES if most is None else most)
    if not fits(len(kept) + len(new), bytes_per_row, most):
        kept.clear()
        new = list(dict.fromkeys(sequences))
    for start in range(0, len(new), BLOCK):
        some = new[start : start + BLOCK]
        block = tuple(torch.stack(parts) for parts in zip(*map(encode, some), strict=True))
        kept.update((sequence, (block, i)) for i, sequence in enumerate(some))
    places = [kept[sequence] for sequence in sequences]
    result = tuple(part.new_empty(len(places), *part.shape[1:]) for part in places[0][0])
    for row, (block, i) in enumerate(places):
        for target, part in zip(result, block, strict=True):
            target[row] = part[i]
    return result


def _make_room(kinds: dict[str, _Kind], wanted: int, most: int) -> None:
    """Drop kinds, all but the last at most, until `wanted` more bytes fit."""
    while len(kinds) > 1 and sum(kind.bytes for kind in kinds.values()) + wanted > most:
        del kinds[next(iter(kinds))]
