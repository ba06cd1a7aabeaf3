from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from prompts.leakage import MIN_OVERLAP, _possible_overlaps, are_related, overlaps

SEEDS = st.integers(0, 2**32 - 1)


def dna(seed: int, length: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def both_ways(a: str, b: str) -> set[bool]:
    """What the rule says of two sequences in either order, on all strands."""
    strands = [(x, y) for x in (a, reverse_complement(a)) for y in (b, reverse_complement(b))]
    return {overlaps(x, y) for x, y in strands} | {overlaps(y, x) for x, y in strands}


@settings(deadline=None)
@given(SEEDS, st.data())
def test_intervals_of_a_genome_overlap_if_they_share_enough_bases(seed, data):
    genome = dna(seed, 400)
    start, other = (data.draw(st.integers(0, 300)) for _ in "ab")
    end, other_end = (data.draw(st.integers(s + MIN_OVERLAP, 400)) for s in (start, other))
    shared = min(end, other_end) - max(start, other)
    found = both_ways(genome[start:end], genome[other:other_end])
    assert found == {shared >= MIN_OVERLAP}


@settings(deadline=None)
@given(st.text("ACGTN", max_size=80))
def test_a_sequence_overlaps_itself_and_its_other_strand(sequence):
    assert both_ways(sequence, sequence) == {True}


@settings(deadline=None)
# Much shorter pieces are microsatellites by chance (one of 8 in some 200), which do not count.
@given(SEEDS, st.integers(24, MIN_OVERLAP), st.integers(0, 20))
def test_a_row_shorter_than_the_least_overlap_counts_where_it_lies_within(seed, length, start):
    whole = dna(seed, 90)
    assert both_ways(whole, whole[start : start + length]) == {True}
    assert both_ways("TTAC" + "GATTCACA" + "GG", "GATTCACA") == {True}


@settings(deadline=None)
@given(SEEDS, st.data())
def test_no_pair_that_overlaps_is_left_out_of_the_search(seed, data):
    """Pieces of one genome, short ones and satellites among them, on either strand."""
    genome = dna(seed, 150) + "CA" * 40 + dna(seed + 1, 150)
    pieces = st.tuples(st.integers(0, 350), st.integers(1, 90), st.booleans())

    def drawn() -> list[str]:
        found = data.draw(st.lists(pieces, min_size=1, max_size=6))
        rows = [(genome[start : start + length], turned) for start, length, turned in found]
        return [reverse_complement(row) if turned else row for row, turned in rows]

    rows, others = [*drawn(), ""], drawn()
    searched = set(_possible_overlaps(rows, others))
    pairs = product(enumerate(rows), enumerate(others))
    assert {(i, j) for (i, row), (j, other) in pairs if overlaps(row, other)} <= searched


def test_a_repeat_inside_two_unrelated_rows_is_no_overlap():
    repeat = dna(0, 120)
    a, b = (dna(seed, 50) + repeat + dna(seed + 1, 50) for seed in (1, 3))
    assert both_ways(a, b) == {False}


@pytest.mark.parametrize("unit", ["A", "N", "CA", "GATA", "TTAGGG"])
def test_a_microsatellite_at_the_ends_of_unrelated_rows_is_no_overlap(unit):
    satellite = (unit * 60)[:60]
    assert both_ways(dna(0, 100) + satellite, satellite + dna(1, 100)) == {False}
    assert both_ways(satellite, satellite) == {True}


def test_what_follows_a_microsatellite_still_counts():
    stretch = dna(0, 10) + "A" * 50
    assert both_ways(dna(1, 60) + stretch, stretch + dna(2, 60)) == {True}


def test_an_empty_sequence_overlaps_only_itself():
    assert not overlaps("", "ACGT") and not overlaps("ACGT", "") and overlaps("", "")


def substituted(sequence: str, letters: int) -> str:
    """A copy in which so many letters are others."""
    turned = sequence.translate(str.maketrans("ACGT", "CGTA"))
    places = set(np.random.default_rng(0).choice(len(sequence), letters, replace=False).tolist())
    return "".join(turned[i] if i in places else c for i, c in enumerate(sequence))


@pytest.mark.parametrize("strand", [str, reverse_complement])
def test_what_the_audit_calls_a_relative_is_related(strand):
    query = dna(1, 200)
    copy, piece, stranger = substituted(query, 16), query[60:] + dna(2, 60), dna(3, 200)
    assert not overlaps(copy, query)
    rows = [strand(row) for row in (query, copy, piece, stranger, copy)]
    assert are_related(rows, [dna(4, 200), query]) == [True, True, True, False, True]
    assert are_related(rows, []) == [False] * 5
    assert are_related([], [query]) == []


def test_relatives_of_each_other_are_not_relatives_of_a_query():
    row = dna(1, 200)
    assert are_related([row, substituted(row, 16)], [dna(2, 200)]) == [False, False]
