"""Methods that read the given strand, or average over both strands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from backbone.common.options import option
from icl.inference.batches import both_strands
from icl.method import Method, MethodConfig


@dataclass
class StrandConfig(MethodConfig):
    """Which strands are read."""

    strands: str = option(
        "both",
        "average the scores of both strands, or read the forward strand alone",
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
