"""Long sequences in stretches that are read after a part of what stands before them."""

from collections.abc import Iterator


def stretches(length: int, context: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the stretches of a sequence: the whole one if it fits the context.

    Args:
        length: Bases of the sequence.
        context: Bases that are read at a time.
        overlap: Bases before a stretch that are read with it, fewer than the context.
    """
    step = length if length <= context else context - overlap
    for start in range(0, length, max(1, step)):
        yield start, min(length, start + step)
