"""Copying: a stretch of DNA is repeated, directly or as its reverse complement; what comes next?

Genomes are full of direct and inverted repeats, so a genomic model can learn to copy (in language
models induction heads do this: Olsson et al. 2022, arXiv 2209.11895). The context holds nothing but
nucleotides: no template is needed to ask a genomic model this question.
"""

from dataclasses import dataclass

import numpy as np

from backbone.sequence.dna import reverse_complement
from tasks.probes.probe import Passage, add_probe

NUCLEOTIDES = ("A", "C", "G", "T")


@dataclass(frozen=True)
class Copying:
    """Whole copies of a random unit, then a part of it up to a random place; all else is random.

    Attributes:
        strand: "+" for copies of the unit itself, "-" for its reverse complement.
        unit: Length of the unit, in bases.
        lead: Length of the part that the query repeats, in bases.
        apart: Random bases before, between and after the copies.
    """

    strand: str = "+"
    unit: int = 32
    lead: int = 12
    apart: int = 16

    def draw(self, shots: int, random: np.random.Generator) -> Passage:
        """Draw one passage.

        Args:
            shots: Whole copies; with 0 nothing tells how the query continues.
            random: Generator of the draw.
        """
        unit = _random_dna(self.unit, random)
        place = int(random.integers(self.lead, self.unit))
        before, letter, after = unit[:place], unit[place], unit[place + 1 :]
        if self.strand == "-":
            before, after = reverse_complement(after), reverse_complement(before)
        pieces = [""]
        for _ in range(shots):
            pieces[-1] += _random_dna(self.apart, random) + before
            pieces.append(after)
        pieces[-1] += _random_dna(self.apart, random)
        query = unit[place - self.lead : place]
        return Passage(tuple(pieces), letter, self.strand, query, letter)


def _random_dna(length: int, random: np.random.Generator) -> str:
    return "".join(random.choice(NUCLEOTIDES, size=length))


add_probe("copy", NUCLEOTIDES, Copying("+"), "the next nucleotide of a repeat")
add_probe(
    "copy_reverse_complement", NUCLEOTIDES, Copying("-"),
    "the next nucleotide of an inverted repeat",
)  # fmt: skip
