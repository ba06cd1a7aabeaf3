"""A context that many rows share, encoded once, exactly.

In a causal convolution the states of a context do not depend on what follows, and what follows
feels the context in two places only: the short convolution looks back at its last positions, and
the long convolution, being linear, receives from it one addend a position, its *spill*:

    h conv [p ; q]  at position P + j  =  (h conv q)[j]  +  sum over s < P of h[P + j - s] p[s]

So [context ; segment] costs a pass over the context, once, and a pass over the segment for each
row. Norms, gates and MLPs act on single positions. Values and gradients equal those of the whole
sequence up to rounding. The context can be a prompt that all rows share, or rows of their own, when
a learned suffix follows them; contexts chain, because spills add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.errors import InputError
from backbone.hyena import long_convolution, short_convolution, transform_length
from backbone.model import Block, HyenaDNA


@dataclass(frozen=True)
class LayerState:
    """What one layer must know of a context; b is 1 if all rows share it.

    Attributes:
        tail: (b, 3D, w-1), projections of the last positions, for the short convolution.
        spill: (b, D, room), what the context adds to the long convolution at the next positions.
    """

    tail: Tensor
    spill: Tensor


@dataclass(frozen=True)
class PrefixState:
    """An encoded context of `length` positions, good for `room` further ones."""

    layers: tuple[LayerState, ...]
    length: int
    room: int

    def rows(self, index: Tensor) -> "PrefixState":
        """Returns the states of some rows, by their indices."""
        chosen = tuple(LayerState(s.tail[index], s.spill[index]) for s in self.layers)
        return PrefixState(chosen, self.length, self.room)


def concatenate(states: Sequence[PrefixState]) -> PrefixState:
    """Joins the rows of states of equal room."""
    layers = tuple(
        LayerState(torch.cat([s.tail for s in layer]), torch.cat([s.spill for s in layer]))
        for layer in zip(*(state.layers for state in states), strict=True)
    )
    return PrefixState(layers, max(state.length for state in states), states[0].room)


class PrefixEngine:
    """Encodes contexts and what follows them, for a frozen model.

    Filters are evaluated once a length and kept, in the frequency domain too.
    """

    def __init__(self, model: HyenaDNA) -> None:
        """Keeps a reference to the model; its weights must not change afterwards."""
        self.model = model
        self.blocks: list[Block] = list(model.backbone.layers)  # type: ignore[arg-type]
        self._taps: list[Tensor] = []
        self._spectra: dict[tuple[int, int, int], Tensor] = {}

    def extend(
        self,
        state: PrefixState | None,
        vectors: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> PrefixState:
        """Encodes a context, or lengthens one, without computing what nobody reads.

        Args:
            state: what stands before, shared (b = 1) or one a row; None for nothing.
            vectors: (B, L, D) embedded tokens or prompt vectors.
            room: how many positions may follow.
            lengths: (B,) where rows are padded on the right; the context of a row ends there.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Returns:
            The state after `vectors`.

        Raises:
            InputError: if context and room exceed the model's max_seq_len.
        """
        self._check(state, vectors.shape[1], room)
        if vectors.shape[1] == 0:
            return state if state is not None else self._nothing(vectors, room)
        hidden, layers = vectors, []
        last = len(self.blocks) - 1
        for i in range(len(self.blocks)):
            hidden = _added(hidden, additions, i)
            projected = self._project(i, state, hidden)
            x0, gated = self._gates(i, projected)
            gated = _without_padding(gated, lengths)
            mixed = self._convolve(i, gated, room)
            before = None if state is None else state.layers[i].spill
            layers.append(_state_after(projected, mixed, before, lengths, gated.shape[-1], room))
            if i < last:
                hidden = self._finish(i, hidden, x0, mixed, before)
        ends = vectors.shape[1] + (state.length if state else 0)
        return PrefixState(tuple(layers), ends, room)

    def encode(
        self, state: PrefixState | None, vectors: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Returns the final hidden states (B, L, D) of vectors (B, L, D) after a context.

        Args:
            state: what stands before, shared or one a row; None for nothing.
            vectors: embedded tokens or prompt vectors.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: if context and vectors exceed the model's max_seq_len or the state's room.
        """
        self._check(state, vectors.shape[1], 0)
        hidden = vectors
        for i in range(len(self.blocks)):
            hidden = self._block(i, state, _added(hidden, additions, i))
        return self.model.backbone.ln_f(hidden)

    def encode_last(
        self,
        state: PrefixState | None,
        vectors: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Returns the final hidden state (B, D) at each row's last position.

        The last layer is computed there only: a dot product with the reversed filter in place of
        transforms, and one position of projections and MLP.

        Args:
            state: what stands before, shared or one a row; None for nothing.
            vectors: (B, L, D) embedded tokens or prompt vectors.
            lengths: (B,) where rows are padded on the right.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: if context and vectors exceed the model's max_seq_len or the state's room.
        """
        length = vectors.shape[1]
        self._check(state, length, 0)
        hidden, last = vectors, len(self.blocks) - 1
        for i in range(last):
            hidden = self._block(i, state, _added(hidden, additions, i))
        hidden = _added(hidden, additions, last)
        if lengths is None:
            lengths = torch.full((len(vectors),), length, device=vectors.device)
        at = lengths - 1
        projected = self._project(last, state, hidden)
        x0, gated = self._gates(last, projected)
        backwards = self._lagged(self.taps(last, length), at)
        # Like the transforms, this sum over lags stays in the filters' precision.
        with torch.autocast(gated.device.type, enabled=False):
            mixed = torch.einsum("bdl,bdl->bd", gated.to(backwards.dtype), backwards)
        mixed = mixed.to(gated.dtype)
        if state is not None:
            mixed = mixed + _pick(state.layers[last].spill.expand(len(at), -1, -1), at)
        block = self.blocks[last]
        row = torch.arange(len(at), device=at.device)
        stream = hidden[row, at] + block.mixer.out_proj(_pick(x0, at) * mixed)
        return self.model.backbone.ln_f(stream + block.mlp(block.norm2(stream)))

    def taps(self, layer: int, length: int) -> Tensor:
        """Returns the filter taps (D, length) of a layer."""
        if not self._taps or self._taps[0].shape[1] < length:
            grown = min(1 << (length - 1).bit_length(), self.model.config.max_seq_len)
            with torch.no_grad():
                self._taps = [block.mixer.filter_fn(grown) for block in self.blocks]
        return self._taps[layer][:, :length]

    def _spectrum(self, layer: int, signal: int, filters: int) -> Tensor:
        key = (layer, signal, filters)
        if key not in self._spectra:
            n = transform_length(signal, filters)
            self._spectra[key] = torch.fft.rfft(self.taps(layer, filters), n=n)
        return self._spectra[key]

    def _nothing(self, like: Tensor, room: int) -> PrefixState:
        width, past = self.model.config.d_model, self.blocks[0].mixer.past
        empty = LayerState(like.new_zeros(1, 3 * width, past), like.new_zeros(1, width, room))
        return PrefixState((empty,) * len(self.blocks), 0, room)

    def _check(self, state: PrefixState | None, length: int, room: int) -> None:
        before, most = (state.length if state else 0), self.model.config.max_seq_len
        if before + length + room > most:
            raise InputError(
                f"{before + length + room} tokens exceed this checkpoint's max_seq_len of {most}"
            )
        if state is not None and state.room < length + room:
            raise InputError(f"{length + room} tokens exceed the prefix state's room: {state.room}")

    def _block(self, i: int, state: PrefixState | None, hidden: Tensor) -> Tensor:
        x0, gated = self._gates(i, self._project(i, state, hidden))
        spill = None if state is None else state.layers[i].spill
        return self._finish(i, hidden, x0, self._convolve(i, gated, 0), spill)

    def _project(self, i: int, state: PrefixState | None, hidden: Tensor) -> Tensor:
        """Returns projections (B, 3D, w-1+L), those of the context's last positions in front."""
        block = self.blocks[i]
        projected = block.mixer.project(block.norm1(hidden))
        past = block.mixer.past
        if state is None:
            return F.pad(projected, (past, 0))
        tail = state.layers[i].tail.to(projected.dtype)
        return torch.cat([tail.expand(len(projected), -1, -1), projected], dim=-1)

    def _gates(self, i: int, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the outer gate x0 and the gated signal x1 * v, (B, D, L) each."""
        short = self.blocks[i].mixer.short_filter
        x0, x1, v = short_convolution(projected, short).chunk(3, dim=1)
        return x0, x1 * v

    def _convolve(self, i: int, gated: Tensor, room: int) -> Tensor:
        """Convolves (B, D, L) to (B, D, L + room)."""
        length = gated.shape[-1]
        taps = self.taps(i, length + room)
        return long_convolution(gated, taps, self._spectrum(i, length, length + room))

    def _finish(
        self, i: int, hidden: Tensor, x0: Tensor, mixed: Tensor, spill: Tensor | None
    ) -> Tensor:
        """Adds the context's spill, gates, and runs the rest of the block; (B, L, D)."""
        block, length = self.blocks[i], hidden.shape[1]
        mixed = mixed[..., :length]
        if spill is not None:
            mixed = mixed + spill[..., :length].to(mixed.dtype)
        hidden = hidden + block.mixer.merge(x0 * mixed)
        return hidden + block.mlp(block.norm2(hidden))

    @staticmethod
    def _lagged(taps: Tensor, at: Tensor) -> Tensor:
        """Returns taps by position (B, D, L): lag at - s at position s, zero after `at`."""
        length = taps.shape[1]
        lag = at[:, None] - torch.arange(length, device=at.device)
        chosen = taps.t()[lag.clamp(min=0)] * (lag >= 0)[..., None].to(taps.dtype)
        return chosen.transpose(1, 2)


def _added(hidden: Tensor, additions: Tensor | None, layer: int) -> Tensor:
    return hidden if additions is None or layer == 0 else hidden + additions[layer - 1]


def _without_padding(gated: Tensor, lengths: Tensor | None) -> Tensor:
    """Sets (B, D, L) to zero from each row's end on, so that padding spills nothing."""
    if lengths is None:
        return gated
    inside = torch.arange(gated.shape[-1], device=gated.device) < lengths[:, None]
    return gated * inside[:, None].to(gated.dtype)


def _pick(values: Tensor, at: Tensor) -> Tensor:
    """Returns (B, D): the position `at` (B,) of each row of (B, D, L)."""
    return values.gather(2, at[:, None, None].expand(-1, values.shape[1], 1)).squeeze(2)


def _window(values: Tensor, starts: Tensor, width: int) -> Tensor:
    """Returns (B, D, width): positions starts .. starts + width - 1 of each row of (B, D, L)."""
    positions = starts[:, None] + torch.arange(width, device=starts.device)
    return values.gather(2, positions[:, None].expand(-1, values.shape[1], -1))


def _state_after(
    projected: Tensor,
    mixed: Tensor,
    before: Tensor | None,
    lengths: Tensor | None,
    length: int,
    room: int,
) -> LayerState:
    """Cuts a layer's state at each row's end: the tail, and the spills of segment and context."""
    past = projected.shape[-1] - length
    if lengths is None:
        tail, spill = projected[..., length : length + past], mixed[..., length : length + room]
        if before is not None:
            spill = spill + before[..., length : length + room]
        return LayerState(tail, spill)
    tail, spill = _window(projected, lengths, past), _window(mixed, lengths, room)
    if before is not None:
        spill = spill + _window(before.expand(len(lengths), -1, -1), lengths, room)
    return LayerState(tail, spill)
