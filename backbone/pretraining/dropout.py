"""Dropout that does not depend on how a batch is divided among processes or in parts."""

import numpy as np
import torch
from torch import Tensor, nn

from backbone.hyena.model import HyenaDNA


class RowDropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, row), wherever the row is computed.

    Torch's own draws one mask for a whole batch from the process's random state: two processes with
    half a batch each would drop other values than one with all of it.
    """

    def __init__(self, p: float, place: int, calls: int = 1) -> None:
        """Starts without rows.

        Args:
            p: share of the values that are set to 0.
            place: which of the model's dropouts it is.
            calls: how often a forward pass goes through it, with another mask each time.
        """
        super().__init__()
        self.p, self.place, self.calls = p, place, calls
        self._called = 0
        self._seeds: np.ndarray = np.empty((calls, 0), dtype=np.uint32)

    def set_rows(self, seed: int, step: int, first: int, rows: int) -> None:
        """Says which rows of a step come next: `rows` of them, from `first` on."""
        self._called = 0
        self._seeds = np.stack(
            [
                np.random.SeedSequence((seed, step, self.place, call)).generate_state(first + rows)
                for call in range(self.calls)
            ]
        )[:, first:]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, L, D) to (B, L, D), B being the rows that were announced."""
        if not self.training:
            return x
        # Counted around, so that a block computed again in the backward pass drops the same.
        seeds = self._seeds[self._called % self.calls]
        self._called += 1
        mask = torch.empty_like(x, requires_grad=False)
        generator = torch.Generator(x.device)
        for row, seed in zip(mask, seeds, strict=True):
            row.bernoulli_(1 - self.p, generator=generator.manual_seed(int(seed)))
        return x * mask.div_(1 - self.p)


def divide_by_rows(model: HyenaDNA) -> list[RowDropout]:
    """Puts a RowDropout in the place of each of the model's dropouts that drops, and returns them.

    A block goes through its dropout twice, before each addition to the residual stream.
    """
    dropouts = []
    if model.config.embed_dropout > 0:
        dropouts.append(RowDropout(model.config.embed_dropout, place=0))
        model.backbone.dropout = dropouts[0]  # type: ignore[assignment]
    if model.config.resid_dropout > 0:
        for i, block in enumerate(model.backbone.layers):
            dropouts.append(RowDropout(model.config.resid_dropout, place=i + 1, calls=2))
            block.dropout = dropouts[-1]
    return dropouts
