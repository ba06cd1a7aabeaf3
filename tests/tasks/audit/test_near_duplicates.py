"""Near-duplicates: what is planted is found, what is unrelated is not, on either strand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from tasks.audit.near_duplicates import near_duplicates

RANDOM = np.random.default_rng(7)


def dna(length):
    return "".join(RANDOM.choice(list("ACGT"), size=length))


def substituted(sequence, share, random=RANDOM):
    """A copy in which that share of the letters is another one."""
    letters = list(sequence)
    for place in random.choice(len(letters), size=round(share * len(letters)), replace=False):
        letters[place] = random.choice([c for c in "ACGT" if c != letters[place]])
    return "".join(letters)


def pairs(*sequences):
    return [tuple(pair) for pair in near_duplicates(sequences).tolist()]


def plain(a, b):
    """Whether two sequences are relatives, by every shift on both strands."""
    for other in (b, reverse_complement(b)):
        for shift in range(1 - len(other), len(a)):
            begin, end = max(shift, 0), min(len(a), shift + len(other))
            shared, shorter = end - begin, min(len(a), len(other))
            differ = sum(
                x != y or x == "N"
                for x, y in zip(a[begin:end], other[begin - shift : end - shift], strict=True)
            )
            is_copy = shared >= 0.95 * shorter and differ <= shared / 6
            is_overlap = shared >= 0.5 * shorter and differ <= shared / 50
            if shared >= 30 and (is_copy or is_overlap):
                return True
    return False


@pytest.mark.parametrize("length", [70, 101, 200, 500])
def test_copies_with_ten_percent_substitutions_are_found_among_unrelated_rows(length):
    rows = [dna(length) for _ in range(1500)]
    planted = [substituted(row, 0.1) for row in rows[:200]]
    planted = [reverse_complement(p) if i % 2 else p for i, p in enumerate(planted)]
    found = {tuple(pair) for pair in near_duplicates([*rows, *planted]).tolist()}
    true = {(i, 1500 + i) for i in range(200)}
    assert len(found & true) >= 0.95 * 200
    assert found <= true


def test_a_copy_may_differ_in_one_letter_of_six_and_no_more():
    row = dna(300)
    letters = list(row)
    for place in range(3, 300, 6):  # 50 of 300
        letters[place] = "A" if row[place] != "A" else "C"
    # Runs of five equal letters hold no seed, so an equal stretch is left where seeds can lie.
    near = row[:40] + "".join(letters[40:])
    far = substituted(row, 0.3)
    assert pairs(row, near) == [(0, 1)]
    assert pairs(row, far) == []


@pytest.mark.parametrize("turn", [str, reverse_complement])
def test_pieces_of_one_place_overlap_in_half_of_the_shorter_one(turn):
    place = dna(900)
    assert pairs(place[:500], turn(place[250:750])) == [(0, 1)]
    assert pairs(place[:500], turn(place[260:760])) == []
    assert pairs(place[:500], turn(place[400:600])) == [(0, 1)]  # half of 200
    assert pairs(place[:500], turn(place[100:140])) == [(0, 1)]  # inside


def test_copies_of_a_repeat_inside_unrelated_rows_are_no_relatives():
    repeat = dna(300)
    rows = [dna(100) + substituted(repeat, 0.05) + dna(100) for _ in range(40)]
    assert pairs(*rows) == []


def test_microsatellites_say_nothing():
    rows = [dna(60) + "CA" * 40, "CA" * 40 + dna(60), dna(60) + "A" * 80, "A" * 80 + dna(60)]
    assert pairs(*rows) == []


def test_an_n_is_like_no_letter_and_short_rows_have_no_relatives():
    row = dna(100)
    assert pairs(row, row[:50] + "N" * 10 + row[60:]) == [(0, 1)]
    assert pairs(row, row[:50] + "N" * 40 + row[90:]) == []
    assert pairs("ACGTTGCAATCGGATC", "ACGTTGCAATCGGATG") == []
    assert pairs("N" * 60, "N" * 70, "A") == []
    assert pairs() == [] == pairs(row)


def test_every_row_of_a_large_family_is_found():
    """A word of more rows than are compared with each other still links each to some."""
    ancestor = dna(150)
    family = [substituted(ancestor, 0.03) for _ in range(200)]
    found = near_duplicates([*family, *(dna(150) for _ in range(200))])
    assert set(found.ravel()) == set(range(200))


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(40, 90), st.booleans()),
    min_size=2,
    max_size=8,
)
PLACES = [dna(150) for _ in range(4)]


@settings(deadline=None, max_examples=40)
@given(ROWS, st.randoms(use_true_random=False))
def test_agrees_with_every_shift_whatever_the_order_and_the_strands(drawn, random):
    cut = {PLACES[i][start : start + length] for i, start, length, _ in drawn}
    rows = sorted(cut - {reverse_complement(row) for row in cut})
    found = {frozenset((rows[a], rows[b])) for a, b in near_duplicates(rows)}
    slow = {frozenset((a, b)) for i, a in enumerate(rows) for b in rows[i + 1 :] if plain(a, b)}
    assert found == slow
    turned = [reverse_complement(row) if random.random() < 0.5 else row for row in rows]
    order = random.sample(range(len(rows)), len(rows))
    again = {
        frozenset((rows[order[a]], rows[order[b]]))
        for a, b in near_duplicates([turned[i] for i in order])
    }
    assert again == found
