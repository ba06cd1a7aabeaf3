"""What is kept of encoded base sequences, and what branches read of it; see `branches`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.protocol import Branches

FEW = 8
"""Up to this many changed positions of a first layer's signal are added one by one; more of them
take a transform."""


@dataclass(frozen=True)
class BaseLayer:
    """What branches need of one layer of B base sequences of length L.

    Attributes:
        projected: (B, 3D, w-1+L), those of the context's last positions in front.
        signal: (B, D, L), x1 * v.
        mixed: (B, D, L+room), the long convolution, the context's part in it.
        outer: (B, D, L), x0; kept of the first layer alone.
    """

    projected: Tensor
    signal: Tensor
    mixed: Tensor
    outer: Tensor | None


@dataclass(frozen=True)
class BaseStates:
    """Encoded base sequences of one length, from which branches can start.

    Attributes:
        layers: One for each layer of the model.
        ids: (B, L) their token ids.
        hidden: (B, L - first, D), the final hidden states from position `first` on.
        first: The first position of `hidden`.
        before: Positions of the context in front of the sequences.
        room: How many positions more than the base sequences branches may have, and what follows
            them.
    """

    layers: tuple[BaseLayer, ...]
    ids: Tensor
    hidden: Tensor
    first: int
    before: int
    room: int

    @property
    def length(self) -> int:
        """L, the length of the base sequences."""
        return self.ids.shape[1]


def window(values: Tensor, branches: Branches, shift: int, width: int) -> Tensor:
    """Return a copy (N, C, width) of (B, C, L): positions starts + shift + 0 .. width - 1."""
    starts = branches.starts + shift
    missing = int(starts.max()) + width - values.shape[2]
    if missing > 0:
        values = F.pad(values, (0, missing))
    if (starts == starts[0]).all():
        start = int(starts[0])
        return values[:, :, start : start + width].index_select(0, branches.rows)
    return values.unfold(2, width, 1)[branches.rows, :, starts]


def changed_positions(base: BaseStates, branches: Branches) -> Tensor:
    """Return how many first positions (N,) substitutions change; -1 for all other branches."""
    length = branches.ids.shape[1]
    index = branches.starts[:, None] + torch.arange(length, device=branches.ids.device)
    theirs = base.ids[branches.rows[:, None], index.clamp(max=base.length - 1)]
    differs = theirs != branches.ids
    counts = length - differs.flip(1).int().argmax(dim=1)
    counts = torch.where(differs.any(dim=1), counts, torch.zeros_like(counts))
    return torch.where(branches.starts + length == base.length, counts, -1)
