"""Methods that read the given strand, or average over both strands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from backbone.common.options import option
from backbone.sequence.dna import DNA
from icl.inference.batches import both_strands
from icl.method import Method, MethodConfig

if TYPE_CHECKING:
    from torch import Tensor

COMPLEMENTS = [DNA.letters.index(letter) for letter in DNA.complement]
"""The complement of each letter, by its place in ACGTN."""


@dataclass
class StrandConfig(MethodConfig):
    """Which strands are read."""

    strands: str = option(
        "both",
        "average the scores of both strands, or read only the forward strand",
        choices=("both", "forward"),
    )


StrandConfigT = TypeVar("StrandConfigT", bound=StrandConfig)


class StrandMethod(Method[StrandConfigT]):
    """A method whose scores are averaged over the strands that `strands` names."""

    @property
    def averages_strands(self) -> bool:
        """Whether the scores of both strands are averaged."""
        return self.config.strands == "both"

    def read_forward_alone(self) -> None:
        """Set `strands` to forward."""
        self.config = replace(self.config, strands="forward")

    def views(self, sequences: Sequence[str]) -> list[str]:
        """Return N sequences as they are read: with both strands, N reverse complements follow."""
        return both_strands(sequences) if self.averages_strands else list(sequences)


def over_strands(read: "Callable[[Tensor], Tensor]", letters: "Tensor", strands: str) -> "Tensor":
    """Return what is read off a relaxed sequence, averaged over its strands.

    Args:
        read: Maps letters to values.
        letters: (L, 5), the shares of A, C, G, T and N.
        strands: "both", or "forward".
    """
    if strands == "forward":
        return read(letters)
    opposite = letters.flip(0)[:, COMPLEMENTS]
    return (read(letters) + read(opposite)) / 2
