"""The long filters of a model, evaluated once for a length and kept, with their transforms."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from backbone.hyena.model import Block

KEPT_BYTES = 512 << 20
"""Most that transforms may take; the one unused for longest is dropped first."""

LEAST_TAPS = 1 << 14
"""Taps that are computed at least, if there are as many: their last digits depend on how many are
computed at once, which must not depend on what a process was asked for before."""


class Filters:
    """Taps and spectra by layer and length; those of filters that are trained are never kept."""

    def __init__(self, blocks: Sequence[Block], max_seq_len: int) -> None:
        """Keeps references to the blocks; frozen filters must not change afterwards."""
        self.blocks, self.max_seq_len = blocks, max_seq_len
        self._taps: dict[int, Tensor] = {}
        self._spectra: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()

    def taps(self, layer: int, length: int) -> Tensor:
        """Returns the filter taps (D, length) of a layer."""
        filters = self.blocks[layer].mixer.filter_fn
        if self._trained(layer):
            return filters(length)
        if layer not in self._taps or self._taps[layer].shape[1] < length:
            grown = min(max(1 << (length - 1).bit_length(), LEAST_TAPS), self.max_seq_len)
            with torch.no_grad():
                self._taps[layer] = filters(grown)
        return self._taps[layer][:, :length]

    def spectrum(self, layer: int, filters: int, n: int) -> Tensor | None:
        """Returns the transform of size n of a layer's first `filters` taps.

        None for filters that are trained: whoever convolves with them must differentiate it.
        """
        if self._trained(layer):
            return None
        key = (layer, filters, n)
        if key not in self._spectra:
            self._spectra[key] = torch.fft.rfft(self.taps(layer, filters), n=n)
            while self.kept_bytes > KEPT_BYTES and len(self._spectra) > 1:
                self._spectra.popitem(last=False)
        self._spectra.move_to_end(key)
        return self._spectra[key]

    @property
    def kept_bytes(self) -> int:
        """What the kept transforms take."""
        return sum(kept.nbytes for kept in self._spectra.values())

    def _trained(self, layer: int) -> bool:
        return any(p.requires_grad for p in self.blocks[layer].mixer.filter_fn.parameters())
