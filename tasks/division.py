"""Splits of rows: stratified by class, seeded, with equal sequences kept together.

The functions take labels and sequences and return row numbers; they know nothing of tasks.
"""

from collections.abc import Sequence

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.sequence.dna import reverse_complement

DIVISIONS = ("official", "clean", "by_cluster", "by_chromosome")
"""The division that the source gives; its test rows without a relative among the others; all rows
anew, relatives kept together; all rows anew, chromosomes kept together."""


def canonical_strand(sequence: str) -> str:
    """Return a sequence or its reverse complement, whichever sorts first."""
    return min(sequence, reverse_complement(sequence))


def same_sequence(sequences: Sequence[str]) -> np.ndarray:
    """Number the sequences so that equal ones and reverse complements share a number.

    Args:
        sequences: N cleaned sequences.

    Returns:
        (N,) numbers from 0 in the order of the strands that sort first, so that they do not depend
        on the order of the rows.
    """
    strands = [canonical_strand(sequence) for sequence in sequences]
    number = {strand: i for i, strand in enumerate(sorted(set(strands)))}
    return np.array([number[strand] for strand in strands], dtype=np.int64)


def joined(numbers: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Number the rows again, so that rows that share a number or a group share one.

    Rows that are connected through others share one too: a group joins all copies of its rows.

    Args:
        numbers: (N,) numbers of `same_sequence`, or of clusters of relatives.
        groups: N groups; empty for a row on its own.

    Returns:
        (N,) numbers from 0 in the order of the smallest number that was joined, so that they do not
        depend on the order of the rows.
    """
    parent = list(range(int(numbers.max(initial=-1)) + 1))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for number, group in zip(numbers.tolist(), groups, strict=True):
        if group:
            one, other = root(first.setdefault(group, number)), root(number)
            parent[max(one, other)] = min(one, other)
    roots = np.array([root(number) for number in numbers.tolist()], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1]


def apportion(total: int, weights: Sequence[float] | np.ndarray) -> list[int]:
    """Apportion `total` by `weights` with the method of largest remainders; earlier ones win ties.

    Returns:
        A count per weight: its exact share, rounded up or down. They sum to `total`.
    """
    exact = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    # The sum of shares such as 0.7 + 0.1 + 0.2 is exact only to rounding: 7 may come as 6.999...
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts.tolist()


def divide(
    labels: Sequence[int] | np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Divide rows into parts with the same proportion of classes in each.

    Rows of one group stay together, in the stratum of the smallest label among them. If every group
    is one row, each part gets its exact share of each class, rounded. The draw depends on the seed
    and the groups' numbers, not on the order of the rows.

    Args:
        labels: N class numbers.
        groups: (N,) numbers of `same_sequence`.
        shares: Share of each part; they sum to 1.
        seed: Seed of the draw.

    Returns:
        The row numbers of each part, ascending.
    """
    generator = stream(seed, "division")
    group_sizes = np.bincount(groups)
    group_class = np.full(len(group_sizes), np.iinfo(np.int64).max)
    np.minimum.at(group_class, groups, np.asarray(labels, dtype=np.int64))
    part_of_group = np.empty(len(group_sizes), dtype=np.int64)
    for label in np.unique(group_class):
        members = generator.permutation(np.flatnonzero(group_class == label))
        sizes = group_sizes[members]
        ends = np.cumsum(apportion(int(sizes.sum()), shares))
        first_row = np.cumsum(sizes) - sizes
        part_of_group[members] = np.searchsorted(ends, first_row, side="right")
    part_of_row = part_of_group[groups]
    return [np.flatnonzero(part_of_row == part) for part in range(len(shares))]


def stratified_sample(labels: Sequence[int] | np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw `n` rows, stratified by class, with at least one of every class.

    Args:
        labels: N class numbers.
        n: Rows to draw.
        seed: Seed of the draw.

    Returns:
        (n,) ascending row numbers.

    Raises:
        InputError: If there are fewer than `n` rows or more than `n` classes.
    """
    values, counts = np.unique(np.asarray(labels, dtype=np.int64), return_counts=True)
    if not len(values) <= n <= len(labels):
        raise InputError(
            f"cannot take {n} of {len(labels)} rows of {len(values)} classes: "
            f"choose a number from {len(values)} to {len(labels)}"
        )
    # One row of each class comes first; the others are apportioned over the remaining rows.
    wanted = [1 + more for more in apportion(n - len(values), np.maximum(counts - 1, 1e-12))]
    generator = stream(seed, "subset")
    chosen = [
        generator.permutation(np.flatnonzero(np.asarray(labels) == value))[:count]
        for value, count in zip(values, wanted, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
