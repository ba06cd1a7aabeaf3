"""One frozen layer after a context on a CPU: the same sums as `backbone.layer`, in less time.

What a CPU spends beside matrix products is mostly memory traffic, so every step works in place
on pieces that fit the cache, and keeps for the backward pass only what a derivative with respect
to the signal needs: frozen weights need none. Where the signal itself needs none (queries in the
first layer, whose embeddings are frozen too), the context's gradient takes no transform: the
context enters the gates at the first w-1 positions only.

Projections here are without their bias: it is folded into the short filter's, which is linear,
and the zeros before a sequence then read as minus the bias.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.filters import Filters
from backbone.layer import LayerState, last_positions, pick, spill_after
from backbone.mixing import Ends, Mix, Short
from backbone.model import Block

PIECE = 1024
"""Positions of the MLP at a time: their inner activations fit a core's cache."""

# gelu(x) in its tanh form is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
LINEAR = 2 * (2 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


class FusedLayer:
    """Runs one frozen block on segments that follow a context; see `ComposedLayer`."""

    def __init__(self, block: Block, filters: Filters, index: int, embeddings: Tensor) -> None:
        """Holds the block, the filters, the layer's number, and all tokens' embeddings (V, D)."""
        self.block, self.filters, self.index = block, filters, index
        self.embeddings = embeddings

    @staticmethod
    def serves(block: Block, hidden: Tensor) -> bool:
        """Whether a block is frozen, of plain modules, and on a CPU in the signal's precision."""
        products = (block.mixer.in_proj, block.mixer.out_proj, block.mlp.fc1, block.mlp.fc2)
        return (
            hidden.device.type == "cpu"
            and hidden.dtype == block.norm1.weight.dtype
            and not torch.is_autocast_enabled("cpu")
            and all(type(product) is nn.Linear for product in products)
            and not any(p.requires_grad for p in block.parameters())
        )

    def mix(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        room: int,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Runs the operator up to its gates; with token ids the projections are looked up."""
        length, norm = hidden.shape[1], self.block.norm1
        weight = self.block.mixer.in_proj.weight
        if ids is None:
            projected = _Enter.apply(hidden, norm, weight)
        else:
            projected = _looked_up(ids, weight @ norm(self.embeddings).t())
        taps = self.filters.taps(self.index, length + room)
        spectrum = self.filters.spectrum(self.index, length, length + room)
        before, tail = None if state is None else state.spill, self._tail(state)
        gated, tail, spill = Mix.apply(
            projected, tail, before, self._short(0), taps, spectrum, lengths, room
        )
        return gated, self._state(tail, spill, before, lengths, length, room)

    def leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        """Projects the gated signal (B, D, L) into the stream (B, L, D), and runs the MLP."""
        return _Leave.apply(hidden, gated, self.block)

    def ends(
        self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None, room: int
    ) -> LayerState:
        """Returns the layer's state behind each row, and computes nothing else."""
        length, before = hidden.shape[1], None if state is None else state.spill
        past = self.block.mixer.past
        tail = self._project(self._last(hidden, lengths, past), self._tail(state), lengths, length)
        spill = self._convolved(hidden, state, lengths, 0, room)
        return self._state(tail, spill, before, lengths, length, room)

    def last(self, hidden: Tensor, state: LayerState | None, lengths: Tensor | None) -> Tensor:
        """Returns the residual stream (B, D) behind the block at each row's last position."""
        mixer, width = self.block.mixer, hidden.shape[2]
        end = self._last(hidden, lengths, mixer.past + 1)
        recent = self._project(end, self._tail(state), lengths, hidden.shape[1])[:, :width]
        weight, bias = self._short(0)
        x0 = (recent * weight[:width]).sum(-1) + bias[:width]
        mixed = self._convolved(hidden, state, lengths, -1, 1)[..., 0]
        if state is not None:
            at = last_positions(hidden, lengths)
            mixed = mixed + pick(state.spill.expand(len(at), -1, -1), at)
        stream = end[:, -1] + mixer.out_proj(x0 * mixed)
        return stream + self.block.mlp(self.block.norm2(stream))

    def _convolved(
        self,
        hidden: Tensor,
        state: LayerState | None,
        lengths: Tensor | None,
        first: int,
        count: int,
    ) -> Tensor:
        """Returns the segment's own convolution (B, D, count), from `first` behind its end on."""
        length, width = hidden.shape[1:]
        projected = _Enter.apply(hidden, self.block.norm1, self.block.mixer.in_proj.weight[width:])
        size = length + first + count
        spectrum = None
        if count > Ends.DIRECT:
            spectrum = self.filters.spectrum(self.index, length, size)
        taps, tail = self.filters.taps(self.index, size), self._tail(state)[:, width:]
        short = self._short(width)
        return Ends.apply(projected, tail, short, taps, spectrum, lengths, first, count)

    def _short(self, start: int) -> Short:
        """Weights (C, w) and bias (C,) of the short filter, the projections' bias folded in."""
        short, bias = self.block.mixer.short_filter, self.block.mixer.in_proj.bias
        weight = short.weight[:, 0]
        assert short.bias is not None and bias is not None
        return weight[start:], (short.bias + bias * weight.sum(1))[start:]

    def _bias(self) -> Tensor:
        bias = self.block.mixer.in_proj.bias
        assert bias is not None
        return bias[:, None]

    def _tail(self, state: LayerState | None) -> Tensor:
        if state is None:
            return -self._bias().expand(1, -1, self.block.mixer.past)
        return state.tail.to(self._bias().dtype) - self._bias()

    def _state(
        self,
        tail: Tensor,
        spill: Tensor,
        before: Tensor | None,
        lengths: Tensor | None,
        length: int,
        room: int,
    ) -> LayerState:
        if before is not None:
            spill = spill + spill_after(before, lengths, length, room)
        return LayerState(tail + self._bias(), spill)

    @staticmethod
    def _last(hidden: Tensor, lengths: Tensor | None, count: int) -> Tensor:
        """Returns the last positions (B, count, D) of each row; what precedes it is undefined."""
        if lengths is None and hidden.shape[1] >= count:
            return hidden[:, hidden.shape[1] - count :]
        at = last_positions(hidden, lengths)[:, None] - torch.arange(count).flip(0)
        index = at.clamp(min=0)[..., None].expand(-1, -1, hidden.shape[2])
        return hidden.gather(1, index)

    def _project(self, end: Tensor, tail: Tensor, lengths: Tensor | None, length: int) -> Tensor:
        """Projects last positions (B, n, D) to (B, 3D, n), the tail's where a row is shorter."""
        count = end.shape[1]
        weight = self.block.mixer.in_proj.weight
        projected = (self.block.norm1(end) @ weight.t()).transpose(1, 2)
        if lengths is None:
            missing = max(0, count - length)
            if not missing:
                return projected
            lengths = torch.full((len(end),), length)
        at = lengths[:, None] - torch.arange(count, 0, -1)
        index = (at + tail.shape[2]).clamp(max=tail.shape[2] - 1).clamp(min=0)
        earlier = tail.expand(len(end), -1, -1).gather(
            2, index[:, None].expand(-1, tail.shape[1], -1)
        )
        return torch.where(at[:, None] < 0, earlier, projected)


def _looked_up(ids: Tensor, table: Tensor) -> Tensor:
    """Returns columns (B, C, L) of a table (C, V) by ids (B, L)."""
    found = table.new_empty(len(ids), len(table), ids.shape[1])
    for row, target in zip(ids, found, strict=True):
        torch.index_select(table, 1, row, out=target)
    return found


class _Enter(torch.autograd.Function):
    """Norm and projection: (B, L, D) to (B, C, L), channels first, without a copy."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, norm: nn.LayerNorm, weight: Tensor) -> Tensor:
        normed, mean, scale = _normed(hidden, norm)
        ctx.save_for_backward(hidden, mean, scale)
        ctx.norm, ctx.weight = norm, weight
        return torch.bmm(weight.expand(len(hidden), -1, -1), normed.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, mean, scale = ctx.saved_tensors
        back = torch.bmm(gradient.transpose(1, 2), ctx.weight.expand(len(hidden), -1, -1))
        return _norm_backward(back, hidden, mean, scale, ctx.norm), None, None


class _Leave(torch.autograd.Function):
    """What follows the gates: hidden + W gated, then the MLP; (B, L, D), piece by piece."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gated: Tensor, block: Block) -> Tensor:
        out, mlp = block.mixer.out_proj, block.mlp
        weight = out.weight.t().expand(len(hidden), -1, -1)
        stream = torch.baddbmm(hidden, gated.transpose(1, 2), weight).add_(out.bias)
        result = torch.empty_like(stream)
        wanted, kept = any(ctx.needs_input_grad), [stream]
        for piece, target in zip(_pieces(stream), _pieces(result), strict=True):
            normed, mean, scale = _normed(piece, block.norm2)
            inner = torch.addmm(mlp.fc1.bias, normed, mlp.fc1.weight.t())
            slope = _gelu_(inner, wanted)
            torch.addmm(piece, inner, mlp.fc2.weight.t(), out=target)
            target.add_(mlp.fc2.bias)
            if slope is not None:
                kept += [mean, scale, slope]
        ctx.save_for_backward(*kept)
        ctx.block = block
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        stream, *kept = ctx.saved_tensors
        block, mlp = ctx.block, ctx.block.mlp
        gradient, back = gradient.contiguous(), torch.empty_like(stream)
        pieces = zip(_pieces(stream), _pieces(gradient), _pieces(back), strict=True)
        for i, (piece, outer, target) in enumerate(pieces):
            mean, scale, slope = kept[3 * i : 3 * i + 3]
            inner = (outer @ mlp.fc2.weight).mul_(slope) @ mlp.fc1.weight
            inner = _norm_backward(inner, piece, mean, scale, block.norm2)
            torch.add(inner, outer, out=target)
        weight = block.mixer.out_proj.weight.t().expand(len(back), -1, -1)
        return back, torch.bmm(weight, back.transpose(1, 2)), None


def _pieces(hidden: Tensor) -> tuple[Tensor, ...]:
    return hidden.view(-1, hidden.shape[-1]).split(PIECE)


def _normed(hidden: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _norm_backward(
    gradient: Tensor, hidden: Tensor, mean: Tensor, scale: Tensor, norm: nn.LayerNorm
) -> Tensor:
    shape, mask = norm.normalized_shape, [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(
        gradient, hidden, shape, mean, scale, norm.weight, norm.bias, mask
    )[0]


def _gelu_(x: Tensor, slope: bool) -> Tensor | None:
    """Replaces x by gelu(x); returns the derivative if it is wanted.

    With a = x (LINEAR + CUBIC x^2) and s = sigmoid(a), gelu is x s and its derivative
    s + s (1 - s) (3 a - 2 LINEAR x): one exponential serves both.
    """
    a = (x * x).mul_(CUBIC).add_(LINEAR).mul_(x)
    if not slope:
        x.mul_(a.sigmoid_())
        return None
    s = a.sigmoid()
    a.mul_(3).add_(x, alpha=-2 * LINEAR).mul_(s)
    a.addcmul_(a, s, value=-1).add_(s)
    x.mul_(s)
    return a
