"""Which rows give a query away: itself, its other strand, pieces of the same stretch of genome."""

from backbone.sequence.dna import reverse_complement

MIN_OVERLAP = 32
"""Bases that two intervals must share to overlap; fewer also recur by chance and in repeats."""

LONGEST_UNIT = 6
"""Letters of the longest unit of a microsatellite."""


def overlaps(a: str, b: str) -> bool:
    """Whether two sequences may be the same stretch of a genome, read on either strand.

    True if they are equal or each other's reverse complement; if one lies within the other; or if
    the end of one is the beginning of the other, over at least `MIN_OVERLAP` bases (over the whole
    of the shorter one, where it is shorter than that). Any two intervals of a genome that overlap
    by so much are found. Copies of a repeat inside two unrelated rows are not: what they share ends
    where neither row ends. Nor do microsatellites count, such as a poly-A at the end of one row and
    the beginning of the other: they say nothing about the place.
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
    """Whether `a`, or as much of its end as `b` can hold before its own beginning, lies in `b`."""
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
    """Whether a sequence is one unit of a few letters, over and over."""
    units = range(1, min(LONGEST_UNIT, len(sequence) // 2) + 1)
    return any(sequence[unit:] == sequence[:-unit] for unit in units)
