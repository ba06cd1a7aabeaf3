"""Sequences as text: alphabets of DNA, RNA and proteins, cleaning, reverse complements."""

import string
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from backbone.common.errors import InputError


@dataclass(frozen=True)
class Alphabet:
    """The letters that a model reads, one token each.

    Attributes:
        name: Its name in options.
        kind: What a letter is called in messages, with its article.
        letters: In the order of their token ids; the last one stands for any unknown letter.
        ambiguous: Other letters of the IUPAC code, read as the unknown letter.
        aliases: Letters that are read as another letter.
        complement: The complement of each letter, in the order of `letters`; empty for
            single-stranded alphabets.
    """

    name: str
    kind: str
    letters: str
    ambiguous: str
    aliases: dict[str, str] = field(default_factory=dict, hash=False)
    complement: str = ""

    @property
    def unknown(self) -> str:
        """The letter that stands for any unknown letter; it is never a pretraining target."""
        return self.letters[-1]

    @cached_property
    def codes(self) -> np.ndarray:
        """The code of every byte, (256,) uint8: its position in `letters`, or their number."""
        table = np.full(256, len(self.letters), dtype=np.uint8)
        table[list(self.letters.encode())] = range(len(self.letters))
        return table

    @cached_property
    def complements(self) -> np.ndarray:
        """The complement of every byte, (256,) uint8; case is kept.

        Raises:
            InputError: If the alphabet has no complementary strand.
        """
        if not self.complement:
            raise InputError(f"alphabet={self.name} has no complementary strand")
        table = np.arange(256, dtype=np.uint8)
        for case in (str.upper, str.lower):
            table[list(case(self.letters).encode())] = list(case(self.complement).encode())
        return table

    @cached_property
    def _clean(self) -> dict[int, str]:
        # A table of ASCII letters, because `str.upper` makes two letters of one: "ß" is "SS".
        read_as = dict.fromkeys(self.ambiguous, self.unknown) | self.aliases
        read_as |= dict(zip(self.letters, self.letters, strict=True))
        return {ord(way(a)): b for a, b in read_as.items() for way in (str.upper, str.lower)}

    @cached_property
    def _drop_known(self) -> dict[int, None]:
        return dict.fromkeys(self._clean)

    def clean(self, sequence: str) -> str:
        """Return a sequence over `letters`: in upper case, aliases and ambiguous letters replaced.

        Raises:
            InputError: If a character is not a letter of the code; names its 1-based position.
        """
        if strange := sequence.translate(self._drop_known):
            raise InputError(
                f"position {sequence.index(strange[0]) + 1}: {strange[0]!r} is not {self.kind}; "
                f"use {', '.join((*self.letters, *self.aliases))} or another IUPAC code"
            )
        return sequence.translate(self._clean)


DNA = Alphabet("dna", "a nucleotide letter", "ACGTN", "RYSWKMBDHV", {"U": "T"}, "TGCAN")
RNA = Alphabet("rna", "a nucleotide letter", "ACGUN", "RYSWKMBDHV", {"T": "U"}, "UGCAN")
PROTEIN = Alphabet("protein", "an amino acid letter", "ACDEFGHIKLMNPQRSTVWYX", "BJOUZ*")
"""Twenty amino acids; rare ones, ambiguous ones and stops are read as X."""

ALPHABETS = {alphabet.name: alphabet for alphabet in (DNA, RNA, PROTEIN)}

ALPHABET = DNA.letters
"""The letters of cleaned DNA."""

_COMPLEMENT = DNA.complements.tobytes().decode("latin-1")
_NOT_AMBIGUOUS = dict.fromkeys(
    ord(letter) for letter in string.ascii_letters if letter.upper() not in DNA.ambiguous
)


def normalise(sequence: str, row: int = 0) -> tuple[str, int]:
    """Clean one DNA sequence: upper case, U becomes T, other IUPAC letters become N.

    Args:
        sequence: DNA or RNA as text.
        row: The number of its row, for the message.

    Returns:
        The sequence over ACGTN and the number of IUPAC letters that became N.

    Raises:
        InputError: If there is any other character; names its row and its 1-based position.
    """
    try:
        return DNA.clean(sequence), len(sequence.translate(_NOT_AMBIGUOUS))
    except InputError as error:
        raise InputError(f"row {row}, {error}") from error


def reverse_complement(sequence: str) -> str:
    """Return the opposite strand, read in its own direction; N stays N, case is kept."""
    return sequence.translate(_COMPLEMENT)[::-1]


def gc_content(sequence: str) -> float:
    """Return the share of G and C among the letters A, C, G and T; 0.5 if there is none."""
    gc = sequence.count("G") + sequence.count("C")
    known = gc + sequence.count("A") + sequence.count("T")
    return gc / known if known else 0.5
