"""What follows from a frozen layer's weights alone, computed once for all passes over it."""

import threading
from collections import OrderedDict
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.hyena.convolution import short_convolution
from backbone.hyena.model import Block

Short = tuple[Tensor, Tensor]
"""Weights (C, w) and bias (C,) of the short filter."""

MOST_GRAMS = 1 << 13
"""Most w-grams whose gates are all computed once: those of any DNA alphabet and w = 3."""

KEPT_SETS = 64
"""Of more w-grams, most sets whose gates are kept, the most recently used ones."""


class LayerConstants:
    """Constants of one plain frozen block on a CPU; its weights must not change afterwards.

    Projections leave out their bias: it is folded into that of the short filter, which is linear.
    """

    def __init__(self, block: Block, embeddings: Tensor) -> None:
        """Hold the block, and all tokens' embeddings (V, D)."""
        self.block, self.embeddings = block, embeddings

    @cached_property
    def bias(self) -> Tensor:
        """The bias of the projections, (3D, 1)."""
        bias = self.block.mixer.in_proj.bias
        assert bias is not None
        return bias.detach()[:, None]

    @cached_property
    def before(self) -> Tensor:
        """The projections (1, 3D, w-1) before a sequence, without their bias: minus the bias."""
        return -self.bias.expand(1, -1, self.block.mixer.past)

    @cached_property
    def short(self) -> Short:
        """Weights (3D, w) and bias (3D,) of the short filter, the projections' bias in it."""
        short = self.block.mixer.short_filter
        assert short.bias is not None
        weight = short.weight.detach()[:, 0]
        return weight, short.bias.detach() + self.bias[:, 0] * weight.sum(1)

    @cached_property
    def short_rows(self) -> Tensor:
        """The weights of the short filter, (w, 3D), for signals with positions first."""
        return self.short[0].t().contiguous()

    @cached_property
    def outer_gate(self) -> Tensor:
        """Projection and short filter of x0 as one matrix (w D, D): w normed positions to x0."""
        width = self.embeddings.shape[1]
        weight = self.block.mixer.in_proj.weight.detach()[:width].t()
        return torch.cat([weight * row[:width] for row in self.short_rows])

    @cached_property
    def grams(self) -> "Grams":
        """The gates of all w-grams, where the layer is the first one and reads token ids."""
        with torch.no_grad():
            table = self.block.mixer.in_proj.weight @ self.block.norm1(self.embeddings).t()
        return Grams(torch.cat([table, -self.bias], dim=1), self.short)


class Grams:
    """Outer and inner gates by w neighbouring tokens.

    The short filter sees w tokens, so the gates take one value for each w-gram. Where there are too
    many to compute them all, those that occur are: rows of one data set have nearly always the
    same ones.

    Attributes:
        table: (3D, V + 1), the projections of all tokens, without a bias, and in the last column
            those before a sequence.
        short: Weights and bias of the short filter, the projections' bias in it.
    """

    def __init__(self, table: Tensor, short: Short) -> None:
        """Hold the tokens' projections and the short filter."""
        self.table, self.short = table, short
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # for pieces side by side
        count = table.shape[1] ** short[0].shape[1]
        self._all: Tensor | None = None
        if count <= MOST_GRAMS:
            self._all = self._of(torch.arange(count, device=table.device))

    def gates(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return x0 and x1 * v (2D, U) of w-grams, all of (B, L) among them, and which is where.

        Behind a context they are valid from position w-1 on, where they depend on the row's own
        tokens only.
        """
        tokens, past = self.table.shape[1], self.short[0].shape[1] - 1
        length, whole = ids.shape[1], F.pad(ids, (past, 0), value=tokens - 1)
        grams = ids
        for lag in range(1, past + 1):
            earlier = whole[:, past - lag : past - lag + length]
            grams = torch.add(grams, earlier, alpha=tokens**lag)
        if self._all is not None:
            return self._all, grams
        found, index = torch.unique(grams, return_inverse=True)
        key = found.numpy().tobytes()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._of(found)
                while len(self._kept) > KEPT_SETS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key], index

    def _of(self, found: Tensor) -> Tensor:
        """Return x0 and x1 * v (2D, U) of the w-grams numbered `found` (U,)."""
        (weight, bias), tokens = self.short, self.table.shape[1]
        past = weight.shape[1] - 1
        powers = tokens ** torch.arange(past, -1, -1, device=found.device)
        signal = self.table[:, found[:, None] // powers % tokens].transpose(0, 1)  # (U, 3D, w)
        filtered = short_convolution(signal[..., past:], weight, bias, signal[..., :past])[..., 0]
        x0, x1, v = filtered.t().contiguous().chunk(3)
        return torch.cat([x0, x1 * v])
