"""What a frozen backbone made of a sequence, kept for the life of the process.

Several runs of one process (seeds, sizes of a prompt, a probe beside it) read the same rows with
the same frozen weights; each row is then encoded once. Rows are encoded one at a time: what is kept
depends on the row alone, to the last bit, whichever run came first. On a CPU that is faster than
batches too, because a row's activations fit the cache.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

from backbone.model import HyenaDNA

Value = TypeVar("Value")

KEPT_BYTES = 2 << 30
"""Most that is kept of one kind."""

_KEPT: WeakKeyDictionary[HyenaDNA, dict[str, dict[str, object]]] = WeakKeyDictionary()


def fits(rows: int, bytes_per_row: int) -> bool:
    """Whether values of that many rows can be kept."""
    return rows * bytes_per_row <= KEPT_BYTES


def remembered(
    model: HyenaDNA,
    kind: str,
    sequences: Sequence[str],
    encode: Callable[[str], Value],
    bytes_per_row: int,
) -> list[Value]:
    """Returns a value for each sequence, computed by `encode` where it is not kept yet.

    Args:
        model: the frozen backbone; its weights must not change.
        kind: names what `encode` computes, with every setting that it depends on.
        sequences: the rows.
        encode: computes the value of one sequence.
        bytes_per_row: size of a value; older ones are dropped where all would not fit.
    """
    kept: dict[str, Value] = _KEPT.setdefault(model, {}).setdefault(kind, {})  # type: ignore[assignment]
    new = [s for s in dict.fromkeys(sequences) if s not in kept]
    if not fits(len(kept) + len(new), bytes_per_row):
        kept.clear()
    return [kept.setdefault(s, encode(s)) if s not in kept else kept[s] for s in sequences]
