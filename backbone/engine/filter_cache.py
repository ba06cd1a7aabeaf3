"""The long filters of a model, evaluated once and cached together with their transforms.

What else follows from the weights of frozen layers is kept with them.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from backbone.engine.layer_constants import LayerConstants
from backbone.hooks import is_plain, is_trained
from backbone.hyena.model import Block
from backbone.hyena.operator import HyenaFilter

KEPT_BYTES = 512 << 20
"""Most memory that transforms may take; the least recently used one is dropped first."""

LEAST_TAPS = 1 << 14
"""Fewest taps to compute at once, if there are as many. Their last digits depend on how many are
computed at once, which must not depend on what a process was asked for before."""


class FilterCache:
    """Taps and spectra by layer and length; only those of constant filters are kept."""

    def __init__(self, blocks: Sequence[Block], max_seq_len: int) -> None:
        """Keep references to the blocks; frozen filters must not change afterwards."""
        self.blocks, self.max_seq_len = blocks, max_seq_len
        self._taps: dict[int, Tensor] = {}
        self._spectra: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()
        self._constants: dict[int, LayerConstants] = {}
        self._lock = threading.RLock()  # for pieces side by side

    def constants(self, layer: int, embeddings: Tensor) -> LayerConstants:
        """Return what follows from the weights of a plain frozen layer.

        Args:
            layer: Its number.
            embeddings: (V, D), of all tokens; the same at each call.
        """
        with self._lock:
            if layer not in self._constants:
                self._constants[layer] = LayerConstants(self.blocks[layer], embeddings)
            return self._constants[layer]

    def taps(self, layer: int, length: int) -> Tensor:
        """Return the filter taps (D, length) of a layer."""
        filters = self.blocks[layer].mixer.filter_fn
        if not is_constant(filters):
            return filters(length)
        with self._lock:
            if layer not in self._taps or self._taps[layer].shape[1] < length:
                grown = min(max(1 << (length - 1).bit_length(), LEAST_TAPS), self.max_seq_len)
                with torch.no_grad():
                    self._taps[layer] = filters(grown)
            return self._taps[layer][:, :length]

    def spectrum(self, layer: int, filters: int, n: int) -> Tensor | None:
        """Return the transform of size n of a layer's first `filters` taps.

        None if the filter is not constant: the caller then transforms the taps it has.
        """
        if not is_constant(self.blocks[layer].mixer.filter_fn):
            return None
        return self.constant_spectrum(layer, filters, n)

    def constant_spectrum(self, layer: int, filters: int, n: int) -> Tensor:
        """Return what `spectrum` does of a filter that is known to be constant."""
        key = (layer, filters, n)
        with self._lock:
            if key not in self._spectra:
                self._spectra[key] = torch.fft.rfft(self.taps(layer, filters), n=n)
                while self.kept_bytes > KEPT_BYTES and len(self._spectra) > 1:
                    self._spectra.popitem(last=False)
            self._spectra.move_to_end(key)
            return self._spectra[key]

    @property
    def kept_bytes(self) -> int:
        """Bytes of the kept transforms."""
        return sum(kept.nbytes for kept in self._spectra.values())


def is_constant(filters: HyenaFilter) -> bool:
    """Return whether a filter is frozen and plain, so that its taps never change."""
    return is_plain(HyenaFilter, filters) and filters.has_plain_layers() and not is_trained(filters)
