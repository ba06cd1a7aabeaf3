import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.sequence.variants import (
    Variant,
    Window,
    edit_in,
    left_normalised,
    window_around,
)

#         0123456789012345678901234567890
GENOME = "GGGCACACACTTTTTGACCGTACGATCTCA"


def normalised(start: int, ref: str, alt: str, genome: str = GENOME) -> tuple[int, str, str]:
    found = left_normalised(Variant("r", start, ref, alt), lambda a, b: genome[a:b])
    return found.start, found.ref, found.alt


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((15, "G", "A"), (15, "G", "A")),
        ((15, "GAC", "GAT"), (17, "C", "T")),
        ((14, "TGA", "TCA"), (15, "G", "C")),
        # One T of TTTTT is lost, wherever the caller put it.
        ((13, "TT", "T"), (9, "CT", "C")),
        ((14, "TG", "G"), (9, "CT", "C")),
        # A repeat of two bases: CA is lost from CACACA.
        ((5, "CAC", "C"), (2, "GCA", "G")),
        ((4, "ACA", "A"), (2, "GCA", "G")),
        # An insertion of CA behind it.
        ((9, "C", "CAC"), (2, "G", "GCA")),
        # At the start of the record the base behind stays.
        ((1, "GG", "G"), (0, "GG", "G")),
        ((0, "GGG", "GG"), (0, "GG", "G")),
        ((2, "G", "GG"), (0, "G", "GG")),
        # A complex one only loses what both alleles share.
        ((17, "CCGT", "CAGGT"), (18, "C", "AG")),
    ],
)
def test_normal_forms_by_hand(given, expected):
    assert normalised(*given) == expected


letters = st.text("AC", min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    genome=st.text("AC", min_size=1, max_size=12),
    alt=letters,
    data=st.data(),
)
def test_the_normal_form_is_the_same_change_and_the_leftmost_of_its_kind(genome, alt, data):
    start = data.draw(st.integers(0, len(genome) - 1))
    end = data.draw(st.integers(start + 1, len(genome)))
    ref = genome[start:end]
    if ref == alt:
        return
    at, own_ref, own_alt = normalised(start, ref, alt, genome)
    changed = genome[:start] + alt + genome[end:]
    assert genome[at : at + len(own_ref)] == own_ref
    assert genome[:at] + own_alt + genome[at + len(own_ref) :] == changed
    assert own_ref and own_alt
    # No other pair of alleles with as few bases gives the changed sequence further left.
    size = len(own_ref), len(own_alt)
    for left in range(at):
        other = genome[left : left + size[0]]
        rest = changed[left : left + size[1]]
        same = genome[:left] + rest + genome[left + size[0] :] == changed
        assert not (same and len(other) == size[0] and len(rest) == size[1] and other != rest)


@pytest.mark.parametrize(
    ("ref", "alt", "kind"),
    [
        ("A", "G", "snv"),
        ("CAT", "CGT", "snv"),
        ("AC", "GT", "mnv"),
        ("A", "AT", "insertion"),
        ("AT", "T", "deletion"),
        ("ACG", "TT", "indel"),
    ],
)
def test_kinds(ref, alt, kind):
    assert Variant("r", 3, ref, alt).kind == kind


def test_transitions():
    assert Variant("r", 3, "A", "G").is_transition and Variant("r", 3, "CT", "CC").is_transition
    assert not Variant("r", 3, "A", "C").is_transition
    assert not Variant("r", 3, "A", "AG").is_transition


def test_windows_hold_the_variant_in_their_middle_and_end_with_the_record():
    assert window_around(Variant("r", 15, "G", "A"), 10, 30) == Window("r", 10, 20)
    assert window_around(Variant("r", 2, "G", "A"), 10, 30) == Window("r", 0, 7)
    assert window_around(Variant("r", 28, "C", "A"), 10, 30) == Window("r", 23, 30)
    # The anchor of an indel is none of its bases.
    assert window_around(Variant("r", 9, "CT", "C"), 4, 30) == Window("r", 8, 12)
    assert window_around(Variant("r", 9, "CTT", "C"), 4, 30) == Window("r", 8, 12)
    assert window_around(Variant("r", 9, "CTTT", "C"), 4, 30) is None


def test_the_edit_of_a_window_gives_the_alternative_sequence():
    variant = Variant("r", 9, "CT", "C")
    window = window_around(variant, 8, 30)
    assert window is not None
    sequence = GENOME[window.start : window.end]
    assert edit_in(window, variant, 0).of(sequence) == sequence[:4] + sequence[5:]
