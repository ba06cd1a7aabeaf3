"""Sequences that differ from another one at a single place: variants, mutations in silico."""

from collections.abc import Sequence
from dataclasses import dataclass

from backbone.sequence.dna import reverse_complement

NUCLEOTIDES = "ACGT"


@dataclass(frozen=True)
class Edit:
    """A replacement in one of several sequences.

    Attributes:
        row: Which sequence, counted from 0.
        start: The first base that is replaced, counted from 0.
        end: The base after the last one; `start` for an insertion before it.
        letters: The letters after the edit; empty for a deletion.
    """

    row: int
    start: int
    end: int
    letters: str

    def of(self, sequence: str) -> str:
        """Return the edited sequence."""
        return sequence[: self.start] + self.letters + sequence[self.end :]

    @property
    def growth(self) -> int:
        """Bases that the sequence gains; negative where it loses some."""
        return len(self.letters) - (self.end - self.start)

    def on_reverse_complement(self, row: int, length: int) -> "Edit":
        """Return the same edit of the opposite strand.

        Args:
            row: The number of the reverse complement among the sequences.
            length: Bases of the sequence before the edit.
        """
        return Edit(row, length - self.end, length - self.start, reverse_complement(self.letters))


def substitutions(sequences: Sequence[str]) -> list[Edit]:
    """Return every base of each sequence replaced by each other one of A, C, G and T.

    Edits are in the order of the sequences, their positions and the letters; an N is replaced by
    all four.
    """
    return [
        Edit(row, position, position + 1, letter)
        for row, sequence in enumerate(sequences)
        for position, base in enumerate(sequence)
        for letter in NUCLEOTIDES
        if letter != base
    ]


def edits_of_both_strands(lengths: list[int], edits: list[Edit]) -> list[Edit]:
    """Return E edits of N sequences, then their E counterparts on rows N + row.

    Args:
        lengths: (N,) of the sequences; sequence N + i is the reverse complement of sequence i.
        edits: Edits of the first N sequences.
    """
    count = len(lengths)
    mirrored = [e.on_reverse_complement(count + e.row, lengths[e.row]) for e in edits]
    return [*edits, *mirrored]
