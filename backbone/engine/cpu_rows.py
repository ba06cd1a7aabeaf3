"""Token ids of one row at a time through plain frozen layers on a CPU, without a derivative.

This is how the rows of a data set are encoded. A row's activations fit a core's caches, so its time
is that of matrix products and transforms, if little else is done: there are few operations, they
write into buffers that each thread keeps, and none has to know where rows end, as each row is
computed at its own length. So a row's numbers depend on the row alone, to the last bit.
`backbone.engine.cpu_layer` computes the same for batches, vectors and longer rows, and
differentiates.
"""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from backbone.engine.cpu_layer import CPULayer
from backbone.engine.layer import LayerState
from backbone.hyena.convolution import fast_length, short_convolution
from backbone.hyena.mlp import CUBIC, layer_norm

MOST = 1024
"""Most positions of a row; threads share the channels and positions of longer ones."""

VIEWS = 256
"""Most shapes whose views of a thread's buffers are kept."""


class RowLayers:
    """Runs one row at a time through plain frozen layers."""

    def __init__(self, embeddings: Tensor) -> None:
        """Hold all tokens' embeddings (V, D), which must not change afterwards."""
        self.embeddings = embeddings
        self._buffers = _Buffers(embeddings)

    def extend(
        self,
        layers: Sequence[CPULayer],
        ids: Tensor,
        states: Sequence[LayerState] | None,
        room: int,
    ) -> tuple[LayerState, ...]:
        """Return each layer's state after a row.

        Args:
            layers: All layers.
            ids: (L,), more than the short filter looks back.
            states: Each layer's state before the row, of one row; None for none.
            room: How many positions may follow.
        """
        hidden = self._buffers.take("hidden", len(ids), self.embeddings.shape[1])
        torch.index_select(self.embeddings, 0, ids, out=hidden)
        found, last = [], len(layers) - 1
        for i, layer in enumerate(layers):
            before = None if states is None else states[i]
            tokens = ids if i == 0 else None
            if i == last:
                found.append(self._end(layer, hidden, before, room))
            else:
                gated, after = self._mix(layer, hidden, tokens, before, room)
                found.append(after)
                self._leave(layer, hidden, gated, hidden)
        return tuple(found)

    def run(
        self,
        layers: Sequence[CPULayer],
        hidden: Tensor,
        ids: Tensor | None,
        states: Sequence[LayerState] | None,
    ) -> None:
        """Run successive layers on the stream (L, D) of a row, in place.

        Args:
            layers: Some layers.
            hidden: The stream.
            ids: (L,) token ids, if the stream is just their embeddings.
            states: Each layer's state before the row, of one row; None for none.
        """
        for i, layer in enumerate(layers):
            before = None if states is None else states[i]
            gated, _ = self._mix(layer, hidden, ids if i == 0 else None, before, 0)
            self._leave(layer, hidden, gated, hidden)

    def _mix(
        self,
        layer: CPULayer,
        hidden: Tensor,
        ids: Tensor | None,
        state: LayerState | None,
        room: int,
    ) -> tuple[Tensor, LayerState]:
        """Return the gated signal (D, L), in a buffer, and the layer's state after the row."""
        length, width = hidden.shape
        size = fast_length(2 * length + room - 1)
        # As many taps as do not wrap around, whatever the length: few spectra serve all rows.
        longest = (size - room + 1) // 2
        spectrum = self._spectrum(layer, longest + room, size)
        if ids is None:
            x0, x1, v, tail = self._filtered(layer, hidden, state, 0)
            padded = self._buffers.padded(width, length, size)
            torch.mul(x1, v, out=padded[:, :length])
        else:
            x0, signal, tail = self._looked_up(layer, ids, state)
            padded = self._buffers.padded(width, length, size)
            padded[:, :length] = signal
        mixed = torch.fft.irfft(torch.fft.rfft(padded).mul_(spectrum), n=size)
        after = mixed[:, length : length + room].clone()
        mixed = mixed[:, :length]
        if state is not None:
            mixed += state.spill[0, :, :length]
        gated = torch.mul(x0, mixed, out=self._buffers.take("gated", width, length))
        return gated, _state(layer, tail, after, state, length)

    def _end(
        self, layer: CPULayer, hidden: Tensor, state: LayerState | None, room: int
    ) -> LayerState:
        """Return a layer's state after the row, and compute nothing else."""
        length, width = hidden.shape
        x1, v, tail = self._filtered(layer, hidden, state, width)
        size = fast_length(length + room)  # what wraps around is not read
        padded = self._buffers.padded(width, length, size)
        torch.mul(x1, v, out=padded[:, :length])
        spectrum = self._spectrum(layer, size, size)
        mixed = torch.fft.irfft(torch.fft.rfft(padded).mul_(spectrum), n=size)
        after = mixed[:, length : length + room].clone()
        return _state(layer, tail, after, state, length)

    def _filtered(
        self, layer: CPULayer, hidden: Tensor, state: LayerState | None, start: int
    ) -> list[Tensor]:
        """Return the gates (D, L) from a channel on, in a buffer, and the tail (3D, w-1)."""
        block, constants = layer.block, layer.constants
        (length, width), past = hidden.shape, block.mixer.past
        weight, signal = block.mixer.in_proj.weight, layer_norm(hidden, block.norm1)[0]
        earlier = _tail(layer, state)
        count = 3 * width - start
        projected = self._buffers.take("projected", count, past + length)
        projected[:, :past] = earlier[start:]
        torch.mm(weight[start:], signal.t(), out=projected[:, past:])
        result = self._buffers.take("filtered", count, length)
        taps, bias = constants.short_taps, constants.short[1][start:, None]
        torch.mul(projected[:, past:], taps[past][start:], out=result).add_(bias)
        for lag in range(1, past + 1):
            result.addcmul_(
                projected[:, past - lag : past - lag + length], taps[past - lag][start:]
            )
        tail = projected[:, length:]
        if start:
            first = weight[:start] @ signal[length - past :].t()
            tail = torch.cat([first, tail])
        return [*result.split(width), tail]

    def _looked_up(
        self, layer: CPULayer, ids: Tensor, state: LayerState | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x0 and x1 * v (D, L) of token ids, in a buffer, and the tail (3D, w-1)."""
        grams, past, length = layer.constants.grams, layer.block.mixer.past, len(ids)
        gates, index = grams.gates(ids[None])
        both = self._buffers.take("filtered", len(gates), length)
        torch.index_select(gates, 1, index[0], out=both)
        x0, signal = both.chunk(2)
        if state is not None:
            start = short_convolution(
                grams.table[:, ids[:past]][None], *grams.short, _tail(layer, state)[None]
            )
            first, x1, v = start[0].chunk(3)
            x0[:, :past] = first
            torch.mul(x1, v, out=signal[:, :past])
        return x0, signal, grams.table[:, ids[length - past :]]

    def _leave(self, layer: CPULayer, hidden: Tensor, gated: Tensor, out: Tensor) -> Tensor:
        """Project the gated signal (D, L) into the stream (L, D), and run the MLP."""
        block, mlp = layer.block, layer.block.mlp
        project, length = block.mixer.out_proj, len(hidden)
        stream = self._buffers.take("stream", *hidden.shape)
        torch.add(hidden, project.bias, out=stream).addmm_(gated.t(), project.weight.t())
        signal = layer_norm(stream, block.norm2)[0]
        inner = self._buffers.take("inner", length, len(mlp.fc1.weight))
        torch.addmm(mlp.fc1.bias, signal, mlp.fc1.weight.t(), out=inner)
        gate = self._buffers.take("gate", *inner.shape)  # GELU as in `gelu_`
        torch.addcmul(layer.constants.linear, inner, inner, value=CUBIC, out=gate).mul_(inner)
        inner.mul_(gate.sigmoid_())
        return torch.add(stream, mlp.fc2.bias, out=out).addmm_(inner, mlp.fc2.weight.t())

    @staticmethod
    def _spectrum(layer: CPULayer, taps: int, size: int) -> Tensor:
        taps = min(taps, layer.filters.max_seq_len)
        spectrum = layer.filters.spectrum(layer.index, taps, size)
        assert spectrum is not None  # the filter is constant
        return spectrum


def _tail(layer: CPULayer, state: LayerState | None) -> Tensor:
    """Return the projections (3D, w-1) before a row, without their bias."""
    if state is None:
        return layer.constants.before[0]
    return state.tail[0] - layer.constants.bias


def _state(
    layer: CPULayer, tail: Tensor, after: Tensor, state: LayerState | None, length: int
) -> LayerState:
    """Return a layer's state after a row of `length`, as one row."""
    if state is not None:
        after += state.spill[0, :, length : length + after.shape[1]]
    return LayerState((tail + layer.constants.bias)[None], after[None])


class _Buffers(threading.local):
    """Memory that a thread computes in, and keeps."""

    def __init__(self, like: Tensor) -> None:
        """Hold a tensor of the dtype and on the device of the buffers."""
        self._like = like
        self._whole: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._zeros: tuple[int, ...] = ()

    def take(self, name: str, *shape: int) -> Tensor:
        """Return the buffer of that name as a tensor of a shape, with any content."""
        view = self._views.get((name, shape))
        if view is None:
            count = torch.Size(shape).numel()
            if name not in self._whole or self._whole[name].numel() < count:
                self._whole[name] = self._like.new_empty(count)
                self._views.clear()
                self._zeros = ()
            if len(self._views) >= VIEWS:
                self._views.clear()
            view = self._views[name, shape] = self._whole[name][:count].view(shape)
        return view

    def padded(self, width: int, length: int, size: int) -> Tensor:
        """Return a buffer (width, size) that is zero from `length` on."""
        buffer = self.take("padded", width, size)
        if self._zeros != (width, length, size):
            buffer[:, length:] = 0
            self._zeros = width, length, size
        return buffer
