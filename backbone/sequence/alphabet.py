"""Alphabets of sequences: which letters are tokens, and what becomes of all others."""

from dataclasses import dataclass, field

from backbone.common.errors import InputError


@dataclass(frozen=True)
class Alphabet:
    """The letters that a model reads, one token each.

    Attributes:
        name: how options call it.
        kind: what a letter stands for, in errors.
        letters: in the order of their token ids; the last one stands for every unknown letter.
        ambiguous: other letters of the standard code, read as the unknown one.
        aliases: letters that are read as another one.
        complement: the letters' partners on the other strand, in the order of `letters`; empty
            where there is no other strand.
    """

    name: str
    kind: str
    letters: str
    ambiguous: str
    aliases: dict[str, str] = field(default_factory=dict, hash=False)
    complement: str = ""

    @property
    def unknown(self) -> str:
        """The letter that stands for every unknown one; it is never a target."""
        return self.letters[-1]

    def clean(self, sequence: str) -> str:
        """Returns the sequence over `letters`, in upper case.

        Raises:
            InputError: for a character that is no letter of the code, with its 1-based position.
        """
        upper = sequence.upper()
        known = self.letters + self.ambiguous + "".join(self.aliases)
        if strange := upper.translate(str.maketrans("", "", known)):
            position = upper.index(strange[0])
            raise InputError(
                f"position {position + 1}: {sequence[position]!r} is no {self.kind}; "
                f"use {', '.join(self.letters)} or another IUPAC code"
            )
        read_as: dict[str, str | int | None] = {}
        read_as.update(dict.fromkeys(self.ambiguous, self.unknown))
        read_as.update(self.aliases)
        return upper.translate(str.maketrans(read_as))


DNA = Alphabet("dna", "nucleotide letter", "ACGTN", "RYSWKMBDHV", {"U": "T"}, "TGCAN")
RNA = Alphabet("rna", "nucleotide letter", "ACGUN", "RYSWKMBDHV", {"T": "U"}, "UGCAN")
PROTEIN = Alphabet("protein", "amino acid letter", "ACDEFGHIKLMNPQRSTVWYX", "BJOUZ*")
"""Twenty amino acids; rare ones, ambiguous ones and stops are read as X."""

ALPHABETS = {alphabet.name: alphabet for alphabet in (DNA, RNA, PROTEIN)}
