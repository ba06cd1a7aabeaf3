"""Named streams of random numbers: one seed, one stream per purpose, without shared numbers."""

import hashlib

import numpy as np


def stream(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """Return the random generator of one purpose under a seed.

    Two purposes, or two lists of keys, never share numbers: `default_rng(s)`, `default_rng([s])`
    and `default_rng([s, 0])` are one stream, which is why a bare seed is not used as one.

    Args:
        seed: The seed of the run, 0 or more.
        purpose: What is drawn, in words: "demonstrations", "shuffled labels".
        keys: What distinguishes draws of one purpose, such as an epoch or a row; each 0 or more.
    """
    return np.random.default_rng(_sequence(seed, purpose, keys))


def stream_seed(seed: int, purpose: str, *keys: int) -> int:
    """Return a seed below 2**63 for a generator that is not NumPy's, such as torch's."""
    return int(_sequence(seed, purpose, keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(seed: int, purpose: str, keys: tuple[int, ...]) -> np.random.SeedSequence:
    digest = hashlib.sha256(purpose.encode()).digest()
    # NumPy drops trailing zeros of its entropy; the count of keys at the end keeps them apart.
    return np.random.SeedSequence(
        [seed, int.from_bytes(digest[:16], "big"), *(key + 1 for key in keys), len(keys) + 1]
    )
