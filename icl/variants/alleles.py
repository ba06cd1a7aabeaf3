"""Alleles that are scored, alleles that are left out, and the tables they come from.

Nothing is guessed: what cannot be scored as it is given is left out under its own name and reason,
so that alleles in are alleles scored and alleles left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.common.errors import InputError
from backbone.sequence.dna import normalise
from backbone.sequence.edits import Edit
from backbone.sequence.fasta import Genome
from backbone.sequence.variants import Variant, edit_in, window_around
from tasks.sources.tables import read_columns

BASES = frozenset("ACGT")


@dataclass(frozen=True)
class Allele:
    """An alternative allele with the sequence that it changes.

    Attributes:
        variant: In its normal form; of a table of sequences its record is the row's number.
        sequence: The window of the genome around it, or the row's reference sequence.
        change: The allele as an edit of that sequence, of row 0.
        name: Its identifier; empty for none.
        given: What the file says, where the normal form is another one; else empty.
        label: Its label as text; None for none.
        source: The record of the VCF file, and which of its alternative alleles it is.
    """

    variant: Variant
    sequence: str
    change: Edit
    name: str = ""
    given: str = ""
    label: str | None = None
    source: tuple[Any, int] | None = None


@dataclass(frozen=True)
class LeftOut:
    """An allele that is not scored: where it stands, what it is, and why."""

    where: str
    name: str
    ref: str
    alt: str
    reason: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.where} {self.ref}>{self.alt}: {self.reason}"


def allele_in_window(
    genome: Genome, variant: Variant, width: int, most: int, **described: Any
) -> Allele | str:
    """Return a variant in its window, or why it has none.

    Args:
        genome: The genome.
        variant: In its normal form.
        width: Bases of the window.
        most: Bases that can be read at a time.
        described: Other attributes of the allele.
    """
    record = genome.record(variant.record)
    window = window_around(variant, width, record.length)
    if window is None:
        return f"REF has {len(variant.ref)} bases, which do not fit window={width}"
    change = edit_in(window, variant, 0)
    longest = window.end - window.start + change.growth
    if longest > most:
        return f"with ALT the window has {longest} bases, and {most} can be read at a time"
    if longest == 0:
        return "nothing is left of the window"
    text = genome.stretch(record, window.start, window.end).tobytes().decode("ascii")
    return Allele(variant, text, change, **described)


def read_pairs(path: Path, label: str | None, most: int) -> Iterator[Allele | LeftOut]:
    """Yield the rows of a table with the columns ref and alt, two whole sequences each.

    Args:
        path: A table such as .csv or .tsv.
        label: Column of the labels; None for none.
        most: Bases that can be read at a time.

    Raises:
        InputError: If the file is no table, or lacks a column.
    """
    table = read_columns(path, ["ref", "alt", *([] if label is None else [label])])
    labels = table.columns[label] if label is not None else [""] * len(table.places)
    rows = zip(table.columns["ref"], table.columns["alt"], labels, table.places, strict=True)
    for number, (ref, alt, mark, place) in enumerate(rows, start=1):
        try:
            one, other = (normalise(str(text))[0] for text in (ref, alt))
        except InputError as error:
            yield LeftOut(place, "", _short(ref), _short(alt), str(error).partition(", ")[2])
            continue
        reason = _why_not(one, other, most)
        if reason is not None:
            yield LeftOut(place, "", _short(one), _short(other), reason)
            continue
        own = Variant(str(number), 0, one, other).trimmed()
        change = Edit(0, own.start, own.end, own.alt)
        text = str(mark).strip()
        yield Allele(own, one, change, name=place, label=text or None)


def _why_not(ref: str, alt: str, most: int) -> str | None:
    if not ref or not alt:
        return f"{'ref' if not ref else 'alt'} is empty"
    if ref == alt:
        return "alt equals ref"
    if max(len(ref), len(alt)) > most:
        return f"{max(len(ref), len(alt))} bases exceed the {most} that can be read at a time"
    return None


def _short(text: object) -> str:
    whole = str(text)
    return whole if len(whole) <= 20 else f"{whole[:17]}..."
