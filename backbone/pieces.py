"""Work that treats every position alike, a piece of positions at a time.

A piece's inner activations stay in the caches and in memory that the process already holds; those
of a long sequence at once would be fetched from the system, page by page, at every step. Where
gradients are wanted, a piece keeps its inputs alone and is computed again in the backward pass.
Source: Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

WHOLE = 1 << 13
"""Up to so many positions are worked on at once, with all activations kept."""

PIECE = {"cpu": 1 << 11}
"""Positions of a piece, by device type."""

PIECE_ELSEWHERE = 1 << 16
"""Positions of a piece on accelerators, which want large kernels."""


def in_pieces(work: Callable[..., Tensor], *inputs: Tensor, dim: int = 0) -> Tensor:
    """Returns work(*inputs), computed for a piece of positions at a time.

    Args:
        work: maps inputs (P, ...) to a tensor that has P positions along `dim`, each of them from
            the same position of the inputs alone.
        inputs: (N, ...) each.
        dim: where the result has its positions.
    """
    if len(inputs[0]) <= WHOLE:
        return work(*inputs)
    size = PIECE.get(inputs[0].device.type, PIECE_ELSEWHERE)
    pieces = zip(*(some.split(size) for some in inputs), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(work, *piece, use_reentrant=False) for piece in pieces], dim)
    return torch.cat([work(*piece) for piece in pieces], dim)
