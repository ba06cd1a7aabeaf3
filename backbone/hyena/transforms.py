"""Lengths at which real transforms are fast."""

from functools import lru_cache

ODD = (1, 3, 5, 9, 15, 25, 27)
"""Odd factors of transform lengths: with more of them a transform takes longer than it saves."""


@lru_cache(maxsize=4096)
def fast_length(least: int) -> int:
    """Returns a length >= `least` that transforms fast: a power of two times one of ODD, even."""
    return min(odd << max(1, ((least - 1) // odd).bit_length()) for odd in ODD)


def transform_length(signal: int, filters: int) -> int:
    """Returns a fast size in which a signal and a filter convolve without wrapping around."""
    return fast_length(signal + filters - 1)
