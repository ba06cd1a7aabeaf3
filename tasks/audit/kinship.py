"""How the rows of a task's splits are related: which test rows are copies of training rows.

The search takes seconds for 30,000 rows, and the runs of a sweep share one split. Its result is
therefore kept in memory and, under the hash of the rows, in the user's cache folder.
"""

import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from backbone.common.files import atomic_replace, cache_folder
from tasks.audit.near_duplicates import near_duplicates
from tasks.division import canonical_strand
from tasks.task import Example, Splits

NONE, NEAR, OPPOSITE, SAME = range(4)
"""The closest relative of a row among others: none, a near-duplicate, its reverse complement, or
the same sequence."""

_VERSION = 1
"""Raised whenever the search would find other relatives among the same rows."""

PATIENCE = 2.0
"""Seconds until a search reports that it is running."""


@dataclass(frozen=True)
class Kinship:
    """The relatives of the rows of one division.

    Attributes:
        train: (N,) the closest relation of each training row to an earlier one.
        val: (V,) of each validation row to a training row.
        test: (T,) of each test row to a row of training or validation.
        test_in_train: (T,) of each test row to a row of training alone.
        clusters: (N + V + T,) numbers from 0 on of training, validation and test rows: relatives,
            and relatives of relatives, share one.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    test_in_train: np.ndarray
    clusters: np.ndarray

    def of(self, split: str) -> np.ndarray:
        """The relations of the rows that are scored, by the name of their split: val or test."""
        return {"val": self.val, "test": self.test}[split]


def counted(relation: np.ndarray) -> dict[str, int]:
    """Count the rows, and those with a relative of each kind, by the closest one."""
    names = {"same": SAME, "reverse_complement": OPPOSITE, "near": NEAR}
    counts = {name: int((relation == kind).sum()) for name, kind in names.items()}
    return {"rows": len(relation), **counts}


def kinship(splits: Splits) -> Kinship:
    """Return the relatives of a division's rows, from the cache if they are there."""
    return _kept(_Rows(splits))


class _Rows:
    """Splits that are equal when their hashes are, so that results can be memoised."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits

    def __hash__(self) -> int:
        return hash(self.splits.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rows) and other.splits.sha256 == self.splits.sha256


@lru_cache(maxsize=8)
def _kept(rows: _Rows) -> Kinship:
    splits = rows.splits
    file = cache_folder("kinship") / f"{splits.sha256}.{_VERSION}.npz"
    found = _read(file, splits)
    if found is None:
        with _announced(sum(map(len, (splits.train, splits.val, splits.test)))):
            found = find_kinship(splits.train, splits.val, splits.test)
        _write(file, found)
    return found


@contextmanager
def _announced(rows: int) -> Iterator[None]:
    """Print to standard error that a long search is running, and finally how long it took."""
    said = f"searching for relatives among {rows:,} rows"
    begin = time.monotonic()
    timer = threading.Timer(PATIENCE, lambda: print(f"{said} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    seconds = time.monotonic() - begin
    if seconds > PATIENCE:
        print(f"{said}: {seconds:.1f} s, kept for later runs", file=sys.stderr)


def find_kinship(
    train: Sequence[Example], val: Sequence[Example], test: Sequence[Example]
) -> Kinship:
    """Compare all rows with each other and return their relatives."""
    rows = [example.sequence for example in (*train, *val, *test)]
    strands = [canonical_strand(row) for row in rows]
    number = {strand: i for i, strand in enumerate(sorted(set(strands)))}
    numbers = np.array([number[strand] for strand in strands])
    pairs = near_duplicates(list(number))
    forward = np.array([row == strand for row, strand in zip(rows, strands, strict=True)])
    n_train, n_val = len(train), len(val)
    learned = n_train + n_val

    def to(reference: slice, asked: slice) -> np.ndarray:
        return _closest(
            numbers[asked], forward[asked], numbers[reference], forward[reference], pairs
        )

    return Kinship(
        train=_to_earlier(numbers[:n_train], forward[:n_train], pairs),
        val=to(slice(0, n_train), slice(n_train, learned)),
        test=to(slice(0, learned), slice(learned, None)),
        test_in_train=to(slice(0, n_train), slice(learned, None)),
        clusters=_clusters(len(number), pairs)[numbers],
    )


def _closest(
    numbers: np.ndarray,
    forward: np.ndarray,
    other_numbers: np.ndarray,
    other_forward: np.ndarray,
    pairs: np.ndarray,
) -> np.ndarray:
    """Return the closest relation of rows to other rows, (N,) int8.

    Args:
        numbers: (N,) number of each row's sequence, the same for both strands.
        forward: (N,) which of the two strands it is.
        other_numbers: (M,) the same for the other rows.
        other_forward: (M,) the same for the other rows.
        pairs: (P, 2) numbers of near-duplicates.
    """
    size = 1 + max(numbers.max(initial=0), other_numbers.max(initial=0), pairs.max(initial=0))
    there = np.zeros((2, size), dtype=bool)
    there[other_forward.astype(int), other_numbers] = True
    either = there[0] | there[1]
    near = np.zeros(size, dtype=bool)
    near[pairs[either[pairs[:, 1]], 0]] = True
    near[pairs[either[pairs[:, 0]], 1]] = True
    relation = np.where(near[numbers], NEAR, NONE)
    relation[either[numbers]] = OPPOSITE
    relation[there[forward.astype(int), numbers]] = SAME
    return relation.astype(np.int8)


def _to_earlier(numbers: np.ndarray, forward: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the closest relation of each row to an earlier row, (N,) int8."""
    first = np.full(1 + max(numbers.max(initial=0), pairs.max(initial=0)), len(numbers))
    np.minimum.at(first, numbers, np.arange(len(numbers)))
    nearest = np.full(len(first), len(numbers))
    np.minimum.at(nearest, pairs[:, 0], first[pairs[:, 1]])
    np.minimum.at(nearest, pairs[:, 1], first[pairs[:, 0]])
    row = np.arange(len(numbers))
    relation = np.where(nearest[numbers] < row, NEAR, NONE)
    relation[first[numbers] < row] = OPPOSITE
    _, first_of_strand = np.unique(numbers * 2 + forward, return_index=True)
    is_repeat = np.ones(len(numbers), dtype=bool)
    is_repeat[first_of_strand] = False
    relation[is_repeat] = SAME
    return relation.astype(np.int8)


def _clusters(n: int, pairs: np.ndarray) -> np.ndarray:
    """Return the connected component of each of `n` sequences, (n,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _read(file: Path, splits: Splits) -> Kinship | None:
    """Return what an earlier process found; None if there is nothing, or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = Kinship(**arrays)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # only a cache: the search is repeated
    sizes = [len(rows) for rows in (splits.train, splits.val, splits.test)]
    whole = [len(found.train), len(found.val), len(found.test)] == sizes
    return found if whole and len(found.clusters) == sum(sizes) else None


def _write(file: Path, found: Kinship) -> None:
    # Without room in the cache the next process searches again; this one goes on.
    with suppress(OSError), atomic_replace(file) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, **vars(found))
