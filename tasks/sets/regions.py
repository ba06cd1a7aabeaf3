"""Which regions of a genome are for training, for validation and for test: none is in two.

A region is held out whole. Where a genome has records enough, whole records are held out, as
chromosomes are in the literature; a genome of one record is cut into stretches, with a gap of a
window between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.fasta import Record, fasta_stem
from tasks.division import apportion

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Shares of a genome's bases, as far as whole records allow."""


@dataclass(frozen=True)
class Stretch:
    """A part of a record: 0-based start, end not included."""

    record: Record
    start: int
    end: int


Regions = dict[str, list[Stretch]]
"""Stretches by split: train, val and test."""


def names_record(pattern: str, record: Record) -> bool:
    """Whether a pattern with * and ? is the record's name, or its file's with or without suffix."""
    names = (record.name, record.path.name, fasta_stem(record.path))
    return any(fnmatchcase(name, pattern) for name in names)


def hold_out(
    records: Sequence[Record],
    length: int,
    random: np.random.Generator,
    val: Iterable[str] = (),
    test: Iterable[str] = (),
) -> Regions:
    """Divide the records of one genome.

    What is named is held out; the rest, or all, is divided by `divide_records`.

    Args:
        records: Records of the genome.
        length: Bases of a window; shorter records are left out.
        random: Moves the division.
        val: Patterns of `names_record` for validation.
        test: The same for test.

    Raises:
        InputError: If a record is named for both, or a split is left without a region.
    """
    named: dict[str, list[Record]] = {
        part: [r for r in records if any(names_record(p, r) for p in patterns)]
        for part, patterns in (("val", val), ("test", test))
    }
    for record in named["val"]:
        if record in named["test"]:
            raise InputError(f"record {record.name} is named for validation and for test")
    taken = {*named["val"], *named["test"]}
    rest = [record for record in records if record not in taken]
    open_parts = {part: share for part, share in SHARES.items() if not named.get(part)}
    regions = divide_records(rest, length, open_parts, random)
    for part, some in named.items():
        regions.setdefault(part, []).extend(Stretch(r, 0, r.length) for r in some)
        regions[part] = [s for s in regions[part] if s.record.length >= length]
    for part in SHARES:
        if not regions[part]:
            longest = max((record.length for record in records), default=0)
            raise InputError(
                f"no region is left for {part} with windows of {length} bases (the longest record "
                f"has {longest}); give more records, or shorter windows"
            )
    return regions


def divide_records(
    records: Sequence[Record],
    length: int,
    shares: Mapping[str, float],
    random: np.random.Generator,
) -> Regions:
    """Divide records by whole records if that can be, else by stretches of each record.

    Whole records are held out where there is one for each split and none has more than half of
    all bases. The order in which records are taken does not depend on `length`.

    Args:
        records: Records of one genome.
        length: Bases of a window; shorter records are left out.
        shares: Wanted shares of the bases by split, train first.
        random: Moves the division.

    Returns:
        Stretches by split; a split may be left empty.
    """
    order = [records[i] for i in random.permutation(len(records))]
    long = [record for record in order if record.length >= length]
    bases = sum(record.length for record in long)
    if len(shares) == 1:
        return {part: [Stretch(r, 0, r.length) for r in long] for part in shares}
    if len(long) >= len(shares) and 2 * max(r.length for r in long) <= bases:
        return _whole_records(long, shares)
    # The order of the parts in a record is drawn for every record, whatever its length.
    orders = [random.permutation(len(shares)) for _ in order]
    regions: Regions = {part: [] for part in shares}
    for record, parts in zip(order, orders, strict=True):
        for part, stretch in _cut(record, length, shares, parts):
            regions[part].append(stretch)
    return regions


def _whole_records(records: list[Record], shares: Mapping[str, float]) -> Regions:
    """Test takes records until it has its share, then validation; train has the rest."""
    total, left = sum(record.length for record in records), list(records)
    share_of = dict(zip(shares, apportion(total, list(shares.values())), strict=True))
    regions: Regions = {}
    parts = list(shares)
    while len(parts) > 1:
        part = parts.pop()
        wanted, given = share_of[part], 0
        regions[part] = []
        # One record is left for each of the other splits.
        while given < wanted and len(left) > len(parts):
            # One that is far larger than the share waits, unless there is no other.
            fitting = [record for record in left if record.length <= 2 * wanted]
            chosen = fitting[0] if fitting else min(left, key=lambda record: record.length)
            if given and not fitting:
                break
            left.remove(chosen)
            regions[part].append(Stretch(chosen, 0, chosen.length))
            given += chosen.length
    regions[parts[0]] = [Stretch(record, 0, record.length) for record in left]
    return regions


def _cut(
    record: Record, length: int, shares: Mapping[str, float], order: np.ndarray
) -> list[tuple[str, Stretch]]:
    """The stretches of one record, `length` bases apart; all is train's if it is too short."""
    parts = [list(shares)[i] for i in order]
    sizes = apportion(record.length, [shares[part] for part in parts])
    ends = np.cumsum(sizes).tolist()
    starts = [0, *(end + (length + 1) // 2 for end in ends[:-1])]
    # The middle of a gap does not depend on the window's length.
    ends = [*(end - length // 2 for end in ends[:-1]), record.length]
    if all(end - start >= length for start, end in zip(starts, ends, strict=True)):
        found = zip(parts, starts, ends, strict=True)
        return [(part, Stretch(record, start, end)) for part, start, end in found]
    return [(next(iter(shares)), Stretch(record, 0, record.length))] * (record.length >= length)
