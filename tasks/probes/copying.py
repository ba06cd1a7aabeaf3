"""Copying: a stretch of DNA comes again, or its reverse complement does; how does it go on?

Repeats and inverted repeats are what genomes are full of, so copying can be learned from them
(in language models it is what induction heads do: Olsson et al. 2022, arXiv 2209.11895). Nothing
but nucleotides stands in the context: a model of genomes needs no template to be asked this.
"""

from dataclasses import dataclass

import numpy as np

from backbone.sequence.dna import reverse_complement
from tasks.probes.probe import PROBES, Passage, Probe

NUCLEOTIDES = ("A", "C", "G", "T")


@dataclass(frozen=True)
class Copying:
    """A random unit, shown whole and then begun again at a random place; all else is random.

    Attributes:
        strand: "+" to show the unit as it is, "-" to show its reverse complement.
        unit: Bases of the unit.
        lead: Bases of the unit that are begun again.
        apart: Random bases before, between and after the copies.
    """

    strand: str = "+"
    unit: int = 32
    lead: int = 12
    apart: int = 16

    def draw(self, shots: int, random: np.random.Generator) -> Passage:
        """Draw one passage.

        Args:
            shots: Whole copies that are shown; with 0 nothing says how the query goes on.
            random: Where the draws come from.
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


PROBES.add(
    "copy",
    Probe("copy", NUCLEOTIDES, Copying("+"), "the next letter of a stretch that was shown"),
)
PROBES.add(
    "copy_reverse_complement",
    Probe(
        "copy_reverse_complement",
        NUCLEOTIDES,
        Copying("-"),
        "the next letter of a stretch whose reverse complement was shown",
    ),
)
