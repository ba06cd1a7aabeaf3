"""Rows that leak a query: the same stretch of genome, or a relative as the audit defines it."""

from collections.abc import Iterator, Sequence

from backbone.sequence.dna import reverse_complement
from tasks.audit.near_duplicates import near_duplicates
from tasks.division import canonical_strand

MIN_OVERLAP = 32
"""Bases that two intervals must share to overlap; fewer also recur by chance and in repeats."""

LONGEST_UNIT = 6
"""Longest repeated unit, in letters, of a microsatellite."""


def are_related(rows: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Return for each row whether it overlaps, or is a near-duplicate of, one of `others`.

    Overlaps are those of `overlaps`; near-duplicates are those of the audit
    (`tasks.audit.near_duplicates`): copies with substitutions, pieces of one place.
    """
    strands = [canonical_strand(row) for row in rows]
    other_strands = [canonical_strand(other) for other in others]
    distinct = list(dict.fromkeys([*strands, *other_strands]))
    number = {strand: i for i, strand in enumerate(distinct)}
    is_other = [False] * len(distinct)
    for strand in other_strands:
        is_other[number[strand]] = True
    related = list(is_other)
    for one, two in near_duplicates(distinct).tolist():
        related[one] |= is_other[two]
        related[two] |= is_other[one]
    found = [related[number[strand]] for strand in strands]
    for row, other in _possible_overlaps(rows, others):
        found[row] = found[row] or overlaps(rows[row], others[other])
    return found


def _possible_overlaps(rows: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield places of a row and another that may overlap; no other pairs do.

    Two sequences of `MIN_OVERLAP` bases or more overlap only where the last `MIN_OVERLAP` letters
    of one, on either strand, lie in the other. So each is searched for these ends in all of the
    others at once, which takes far less than to compare the pairs.
    """
    strands = [(row, reverse_complement(row)) for row in rows]
    all_rows = "|".join(strand for pair in strands for strand in pair)
    all_others = "|".join(others)
    row_ends = [
        len(row) < MIN_OVERLAP or any(strand[-MIN_OVERLAP:] in all_others for strand in pair)
        for row, pair in zip(rows, strands, strict=True)
    ]
    other_ends = [len(other) < MIN_OVERLAP or other[-MIN_OVERLAP:] in all_rows for other in others]
    for row, row_is_possible in enumerate(row_ends):
        for other, other_is_possible in enumerate(other_ends):
            if row_is_possible or other_is_possible:
                yield row, other


def overlaps(a: str, b: str) -> bool:
    """Return whether two sequences may be the same stretch of a genome, read on either strand.

    True if they are equal or each other's reverse complement; if one is contained in the other; or
    if the end of one is the beginning of the other, over at least `MIN_OVERLAP` bases (over the
    whole of the shorter one, if it is shorter than that). Any two intervals of a genome that
    overlap by that much are found. Copies of a repeat inside two unrelated rows are not: what they
    share ends where neither row ends. Microsatellites, such as a poly-A at the end of one row and
    the beginning of the other, do not count: they occur everywhere.
    """
    if not a or not b:
        return a == b
    opposite = reverse_complement(a)
    return b in (a, opposite) or any(
        _ends_in(first, second)
        for strand in (a, opposite)
        for first, second in ((strand, b), (b, strand))
    )


def _ends_in(a: str, b: str) -> bool:
    """Return whether `a` lies in `b`, or an end of `a` is the beginning of `b`."""
    seed = a[-min(MIN_OVERLAP, len(a), len(b)) :]
    start = b.find(seed)
    while start >= 0:
        end = start + len(seed)
        shared = a[-min(end, len(a)) :]
        if b[end - len(shared) : end] == shared and not _is_microsatellite(shared):
            return True
        start = b.find(seed, start + 1)
    return False


def _is_microsatellite(sequence: str) -> bool:
    """Return whether a sequence is a repeated unit of a few letters."""
    units = range(1, min(LONGEST_UNIT, len(sequence) // 2) + 1)
    return any(sequence[unit:] == sequence[:-unit] for unit in units)
