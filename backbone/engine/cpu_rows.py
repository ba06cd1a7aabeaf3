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
from dataclasses import dataclass

import torch
from torch import Tensor

from backbone.engine.cpu_layer import CPULayer
from backbone.engine.layer import LayerState
from backbone.hyena.convolution import fast_length, short_convolution
from backbone.hyena.mlp import CUBIC, LINEAR, layer_norm

MOST_POSITIONS = 1024
"""Most positions of a row; threads share the channels and positions of longer ones."""

VIEWS = 64
"""Most lengths for which a thread keeps views of its buffers."""


class RowLayers:
    """Runs one row at a time through plain frozen layers."""

    def __init__(self, embeddings: Tensor) -> None:
        """Hold all tokens' embeddings (V, D), which must not change afterwards."""
        self.embeddings = embeddings
        self._buffers = _Buffers(embeddings)
        self._weights: dict[int, _Weights] = {}

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
        hidden = self._views(layers[0], len(ids)).hidden
        torch.index_select(self.embeddings, 0, ids, out=hidden)
        found, last = [], len(layers) - 1
        for i, layer in enumerate(layers):
            before = None if states is None else states[i]
            if i == last:
                found.append(self._end(layer, hidden, before, room))
            else:
                found.append(self._mix(layer, hidden, ids if i == 0 else None, before, room))
                self._leave(layer, hidden)
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
            self._mix(layer, hidden, ids if i == 0 else None, before, 0)
            self._leave(layer, hidden)

    def _mix(
        self,
        layer: CPULayer,
        hidden: Tensor,
        ids: Tensor | None,
        state: LayerState | None,
        room: int,
    ) -> LayerState:
        """Write the gated signal (D, L) into its buffer; return the layer's state after the row."""
        length = len(hidden)
        views = self._views(layer, length)
        size = fast_length(2 * length + room - 1)
        padded, signal = views.padded(size)
        if ids is None:
            tail = self._project(layer, hidden, state, views.whole, 0)
            x0, x1, v = views.whole.gates
            torch.mul(x1, v, out=signal)
        else:
            tail = self._look_up(layer, ids, state, views)
            x0, inner = views.looked_up
            signal.copy_(inner)
        # As many taps as do not wrap around, whatever the length: few spectra serve all rows.
        longest = (size - room + 1) // 2
        mixed, after = _convolved(layer, padded, longest + room, length, room)
        if state is not None:
            mixed += state.spill[0, :, :length]
        torch.mul(x0, mixed, out=views.gated)
        return _state(layer, tail, after, state, length)

    def _end(
        self, layer: CPULayer, hidden: Tensor, state: LayerState | None, room: int
    ) -> LayerState:
        """Return a layer's state after the row, and compute nothing else."""
        length, width = hidden.shape
        views = self._views(layer, length)
        size = fast_length(length + room)  # what wraps around is not read
        padded, signal = views.padded(size)
        tail = self._project(layer, hidden, state, views.inner, width)
        torch.mul(*views.inner.gates, out=signal)
        _, after = _convolved(layer, padded, size, length, room)
        return _state(layer, tail, after, state, length)

    def _project(
        self,
        layer: CPULayer,
        hidden: Tensor,
        state: LayerState | None,
        views: "_Projected",
        start: int,
    ) -> Tensor:
        """Write the gates, from a channel on, into their buffer; return the tail (3D, w-1)."""
        weights, signal = self._of(layer), layer_norm(hidden, layer.block.norm1)[0]
        weight, taps, bias = weights.projections[start > 0]
        views.before.copy_(_tail(layer, state)[start:])
        torch.mm(weight, signal.t(), out=views.own)
        torch.mul(views.own, taps[0], out=views.result).add_(bias)
        for earlier, tap in zip(views.earlier, taps[1:], strict=True):
            views.result.addcmul_(earlier, tap)
        if not start:
            return views.last
        first = weights.first @ signal[len(signal) - views.last.shape[1] :].t()
        return torch.cat([first, views.last])

    def _look_up(
        self, layer: CPULayer, ids: Tensor, state: LayerState | None, views: "_Views"
    ) -> Tensor:
        """Write x0 and x1 * v (D, L) of token ids into their buffer; return the tail (3D, w-1)."""
        grams, past = layer.constants.grams, layer.block.mixer.past
        gates, index = grams.gates(ids[None])
        torch.index_select(gates, 1, index[0], out=views.both)
        if state is not None:
            x0, signal = views.looked_up
            tail = _tail(layer, state)[None]
            start = short_convolution(grams.table[:, ids[:past]][None], *grams.short, tail)
            first, x1, v = start[0].chunk(3)
            x0[:, :past] = first
            torch.mul(x1, v, out=signal[:, :past])
        return grams.table.index_select(1, ids[len(ids) - past :])

    def _leave(self, layer: CPULayer, hidden: Tensor) -> None:
        """Project the gated signal into the stream (L, D), and run the MLP, in place."""
        block, mlp = layer.block, layer.block.mlp
        weights, views = self._of(layer), self._views(layer, len(hidden))
        stream, inner, gate = views.stream, views.mlp, views.mlp_gate
        torch.add(hidden, block.mixer.out_proj.bias, out=stream)
        stream.addmm_(views.gated_rows, weights.out)
        signal = layer_norm(stream, block.norm2)[0]
        torch.addmm(mlp.fc1.bias, signal, weights.fc1, out=inner)
        # GELU as in `gelu_`.
        torch.addcmul(weights.linear, inner, inner, value=CUBIC, out=gate).mul_(inner)
        inner.mul_(gate.sigmoid_())
        torch.add(stream, mlp.fc2.bias, out=hidden).addmm_(inner, weights.fc2)

    def _of(self, layer: CPULayer) -> "_Weights":
        found = self._weights.get(layer.index)
        if found is None:
            found = self._weights[layer.index] = _Weights.of(layer)
        return found

    def _views(self, layer: CPULayer, length: int) -> "_Views":
        found = self._buffers.views.get(length)
        if found is None:
            found = self._buffers.views_of(layer, length)
        return found


def _convolved(
    layer: CPULayer, padded: Tensor, taps: int, length: int, room: int
) -> tuple[Tensor, Tensor]:
    """Convolve (D, n) with the long filter's first taps; return L positions, and those after."""
    size = padded.shape[1]
    taps = min(taps, layer.filters.max_seq_len)
    spectrum = layer.filters.constant_spectrum(layer.index, taps, size)
    mixed = torch.fft.irfft(torch.fft.rfft(padded).mul_(spectrum), n=size)
    return mixed[:, :length], mixed[:, length : length + room].clone()


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


@dataclass(frozen=True)
class _Weights:
    """A layer's weights as products and sums take them.

    Attributes:
        projections: Weights, taps by lag and bias of the projections to all gates, and to those
            from x1 on.
        first: (D, D), projects to x0.
        out: (D, D) of the projection into the stream.
        fc1: (D, K) of the MLP.
        fc2: (K, D) of the MLP.
        linear: The linear coefficient inside GELU, see `backbone.hyena.mlp`.
    """

    projections: tuple[tuple[Tensor, list[Tensor], Tensor], ...]
    first: Tensor
    out: Tensor
    fc1: Tensor
    fc2: Tensor
    linear: Tensor

    @staticmethod
    def of(layer: CPULayer) -> "_Weights":
        block, (short, bias) = layer.block, layer.constants.short
        weight, width = block.mixer.in_proj.weight, len(block.norm1.weight)
        taps = [tap.contiguous()[:, None] for tap in short.flip(1).unbind(1)]
        projections = tuple(
            (weight[start:], [tap[start:] for tap in taps], bias[start:, None])
            for start in (0, width)
        )
        out, fc1, fc2 = block.mixer.out_proj.weight, block.mlp.fc1.weight, block.mlp.fc2.weight
        linear = weight.new_tensor(LINEAR)
        return _Weights(projections, weight[:width], out.t(), fc1.t(), fc2.t(), linear)


class _Projected:
    """Buffers of projections (C, w-1+L), the w-1 before a row first, and of their gates.

    Attributes:
        before: (C, w-1).
        own: (C, L).
        earlier: w-1 tensors (C, L), the projections 1, ..., w-1 positions earlier.
        last: (C, w-1), those of the last positions.
        result: (C, L), what the short filter makes of them.
        gates: The result by gate, (D, L) each.
    """

    def __init__(self, projected: Tensor, result: Tensor, width: int) -> None:
        """Cut the buffers."""
        length = result.shape[1]
        past = projected.shape[1] - length
        self.before, self.own = projected[:, :past], projected[:, past:]
        self.earlier = [projected[:, i : i + length] for i in reversed(range(past))]
        self.last, self.result = projected[:, length:], result
        self.gates = result.split(width)


class _Views:
    """A thread's buffers in the shapes of one length."""

    def __init__(self, buffers: "_Buffers", layer: CPULayer, length: int) -> None:
        """Cut the buffers for a length and layers like the one given."""
        self._buffers, self._length = buffers, length
        inner, self._width = layer.block.mlp.fc1.weight.shape
        width, columns = self._width, layer.block.mixer.past + length
        take = buffers.take
        self.hidden, self.stream = take("hidden", length, width), take("stream", length, width)
        self.mlp, self.mlp_gate = take("mlp", length, inner), take("gate", length, inner)
        self.gated = take("gated", width, length)
        self.gated_rows = self.gated.t()
        self.whole, self.inner = (
            _Projected(
                take("projected", count * width, columns),
                take("filtered", count * width, length),
                width,
            )
            for count in (3, 2)
        )
        self.both = take("filtered", 2 * width, length)
        self.looked_up = self.both.chunk(2)
        self._padded: dict[int, tuple[Tensor, Tensor]] = {}

    def padded(self, size: int) -> tuple[Tensor, Tensor]:
        """Return a buffer (D, size) that is zero from L on, and its part (D, L)."""
        found = self._padded.get(size)
        if found is None:
            whole = self._buffers.take(f"padded to {size}", self._width, size)
            found = self._padded[size] = whole, whole[:, : self._length]
        if self._buffers.filled.get(size) != self._length:
            found[0][:, self._length :] = 0
            self._buffers.filled[size] = self._length
        return found


class _Buffers(threading.local):
    """Memory that a thread computes in, and keeps.

    Attributes:
        views: The buffers in the shapes of several lengths.
        filled: For each size of a transform, up to where its buffer holds a signal.
    """

    def __init__(self, like: Tensor) -> None:
        """Hold a tensor of the dtype and on the device of the buffers."""
        self._like = like
        self._whole: dict[str, Tensor] = {}
        self.views: dict[int, _Views] = {}
        self.filled: dict[int, int] = {}

    def views_of(self, layer: CPULayer, length: int) -> _Views:
        """Return the buffers in the shapes of a length, and keep them so."""
        if len(self.views) >= VIEWS:
            self.views.clear()
        found = _Views(self, layer, length)
        self.views[length] = found
        return found

    def take(self, name: str, *shape: int) -> Tensor:
        """Return the buffer of that name as a tensor of a shape, with any content."""
        count = torch.Size(shape).numel()
        if name not in self._whole or self._whole[name].numel() < count:
            self._whole[name] = self._like.new_empty(count)
            self.views.clear()  # they have the one before
        return self._whole[name][:count].view(shape)
