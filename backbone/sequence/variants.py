"""Variants of a genome: their normal form, their kind, and the windows around them.

Coordinates are 0-based, as in BED; VCF files count from 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backbone.sequence.edits import Edit

Kind = Literal["snv", "mnv", "insertion", "deletion", "indel"]
KINDS: tuple[Kind, ...] = ("snv", "mnv", "insertion", "deletion", "indel")
"""One base for another; several for as many; bases added, lost, or both."""

TRANSITIONS = frozenset({("A", "G"), ("G", "A"), ("C", "T"), ("T", "C")})

REACH = 64
"""Bases of the genome that are read at a time while an indel moves to the left."""


@dataclass(frozen=True)
class Variant:
    """One alternative allele.

    Attributes:
        record: Name of the genome's record.
        start: Where `ref` begins, counted from 0.
        ref: The genome's bases, in upper case.
        alt: What stands there instead, in upper case.
    """

    record: str
    start: int
    ref: str
    alt: str

    def __str__(self) -> str:
        """Return the variant as people write it, counted from 1: `chr1:123 A>G`."""
        return f"{self.record}:{self.start + 1} {self.ref}>{self.alt}"

    @property
    def end(self) -> int:
        """The base after the last one of `ref`."""
        return self.start + len(self.ref)

    def trimmed(self) -> "Variant":
        """Return the variant without bases that both alleles begin or end with.

        One allele may be empty then, which VCF does not allow.
        """
        ref, alt, start = self.ref, self.alt, self.start
        while ref and alt and ref[0] == alt[0]:
            ref, alt, start = ref[1:], alt[1:], start + 1
        while ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        return Variant(self.record, start, ref, alt)

    @property
    def kind(self) -> Kind:
        """What happens to the bases."""
        own = self.trimmed()
        if not own.ref:
            return "insertion"
        if not own.alt:
            return "deletion"
        if len(own.ref) != len(own.alt):
            return "indel"
        return "snv" if len(own.ref) == 1 else "mnv"

    @property
    def is_transition(self) -> bool:
        """Whether it replaces a purine by a purine, or a pyrimidine by a pyrimidine."""
        own = self.trimmed()
        return (own.ref, own.alt) in TRANSITIONS


def left_normalised(variant: Variant, bases: Callable[[int, int], str]) -> Variant:
    """Return the variant as far left as it can stand, with the fewest bases that VCF allows.

    Source: Tan, Abecasis and Kang 2015, "Unified representation of genetic variants"
    (doi 10.1093/bioinformatics/btv112), algorithm 1; `bcftools norm` does the same. At the start of
    a record, where nothing stands before the variant, the base after it remains.

    Args:
        variant: Alleles that differ.
        bases: Returns the genome's bases start .. end - 1 of the variant's record, in upper case.
    """
    ref, alt, start = variant.ref, variant.alt, variant.start
    known, known_from = "", start
    while True:
        if ref[-1:] == alt[-1:] and (start > 0 or min(len(ref), len(alt)) > 1):
            ref, alt = ref[:-1], alt[:-1]
        elif ref and alt:
            break
        if not ref or not alt:
            if start == known_from:
                known_from = max(0, start - REACH)
                known = bases(known_from, start)
            start -= 1
            ref, alt = known[start - known_from] + ref, known[start - known_from] + alt
    while min(len(ref), len(alt)) > 1 and ref[0] == alt[0]:
        ref, alt, start = ref[1:], alt[1:], start + 1
    return Variant(variant.record, start, ref, alt)


@dataclass(frozen=True)
class Window:
    """Where a variant is read: bases start .. end - 1 of its record."""

    record: str
    start: int
    end: int


def window_around(variant: Variant, width: int, record_length: int) -> Window | None:
    """Return the window with a variant in its middle; None if its bases do not fit.

    Half of the width lies before the first base that the variant changes. The window is shorter
    where the record ends.
    """
    own = variant.trimmed()
    start = own.start - width // 2
    if own.end > start + width:
        return None
    return Window(variant.record, max(0, start), min(record_length, start + width))


def edit_in(window: Window, variant: Variant, row: int) -> Edit:
    """Return a variant as an edit of its window's sequence, the row-th of several."""
    own = variant.trimmed()
    return Edit(row, own.start - window.start, own.end - window.start, own.alt)
