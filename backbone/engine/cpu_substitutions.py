"""Substitutions in sequences before a frozen model of two layers on a CPU, read at their ends.

That is what in-silico mutagenesis under a prompt asks for. A branch shares all before its first
changed position (see `backbone.engine.branches`). Of what follows,

- the first layer's gated signal differs from the base sequence's by a few products: of the changed
  positions of x1 * v, each with the filter from there on and with x0. That takes no projection and
  no transform;
- the last layer is read at the last position alone, where its long convolution is one sum of
  differences over positions, weighted by the reversed filter. That takes no transform either.

What is left, norms, the MLP and projections, sees each position by itself. So branches of all
starts and lengths lie below each other in one matrix (P, D), a cacheful at a time. In front of each
branch are w-1 more rows, which receive the projections of the base positions before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.engine.branch_states import BaseStates, changed_positions, window
from backbone.engine.cpu_layer import CHUNK, CPULayer
from backbone.hyena.mlp import gelu_, layer_norm
from backbone.protocol import Branches
from backbone.side_by_side import side_by_side

AT_ONCE = 3072
"""Rows of the matrix at a time; more would fall out of the caches between two steps."""


@dataclass(frozen=True)
class Substitutions:
    """N substitutions in base sequences, by what they change where they begin.

    Attributes:
        rows: (N,) base sequences.
        starts: (N,) first changed positions.
        counts: (N,) positions of the first layer's gates that change, from the start on.
        inputs: (N, m, D), by how much the first layer's input changes; m is the largest count.
        outer: (N, m, D), the first layer's x0.
        delta: (N, m, D), by how much its x1 * v changes.
    """

    rows: Sequence[int]
    starts: Sequence[int]
    counts: Sequence[int]
    inputs: Tensor
    outer: Tensor
    delta: Tensor

    @classmethod
    def of(
        cls, base: BaseStates, branches: Sequence[Branches], layer: CPULayer, words: Tensor
    ) -> "Substitutions":
        """Return branches that are substitutions, one after the other.

        Args:
            base: The base sequences.
            branches: Each of which replaces some positions and goes on to the end.
            layer: The first layer.
            words: (V, D), its input for every token.
        """
        past, mixer, kept = layer.block.mixer.past, layer.block.mixer, base.layers[0]
        changed = torch.cat([changed_positions(base, some) for some in branches])
        counts = changed + past
        most = int(counts.max())
        rows, starts = (
            torch.cat([getattr(b, name) for b in branches]) for name in ("rows", "starts")
        )
        ids = [
            F.pad(some.ids[:, :most], (0, max(0, most - some.ids.shape[1]))) for some in branches
        ]
        start = Branches(rows, starts, torch.cat(ids))
        positions = torch.arange(most, device=base.ids.device)
        differs = (positions < counts[:, None])[:, None]
        own = mixer.project(layer.block.norm1(words[start.ids]))
        outer, signal = mixer.gates(torch.cat([window(kept.projected, start, 0, past), own], dim=2))
        delta = (signal - window(kept.signal, start, 0, most)) * differs
        assert kept.outer is not None
        outer = torch.where(differs, outer, window(kept.outer, start, 0, most))
        theirs = base.ids[rows[:, None], (starts[:, None] + positions).clamp(max=base.length - 1)]
        inputs = (words[start.ids] - words[theirs]) * (positions < changed[:, None])[..., None]
        first = inputs, *(some.transpose(1, 2).contiguous() for some in (outer, delta))
        return cls(rows.tolist(), starts.tolist(), counts.tolist(), *first)


@dataclass(frozen=True)
class BaseRow:
    """What the substitutions of a base sequence of length L share, positions first.

    Attributes:
        stream: (L, D), the residual stream of the first layer before its MLP.
        outer: (L, D), the first layer's x0.
        mixed: (L, D), its long convolution.
        gated: (L, D), their product.
        projected: (w-1+L, 2D), the last layer's projections to x1 and v, w-1 earlier ones in front.
        signal: (L, D), its x1 * v.
        total: (D,), its long convolution at the last position.
    """

    stream: Tensor
    outer: Tensor
    mixed: Tensor
    gated: Tensor
    projected: Tensor
    signal: Tensor
    total: Tensor

    @classmethod
    def of(cls, base: BaseStates, row: int, layer: CPULayer, words: Tensor) -> "BaseRow":
        """Return what is kept of a base sequence, given the first layer and its inputs (V, D)."""
        (first, last), length = base.layers, base.length
        assert first.outer is not None
        outer, mixed, signal = (
            some[row, :, :length].t().contiguous()
            for some in (first.outer, first.mixed, last.signal)
        )
        gated, width = outer * mixed, words.shape[1]
        stream = words[base.ids[row]] + layer.block.mixer.out_proj(gated)
        inner = last.projected[row, width:].t().contiguous()
        return cls(stream, outer, mixed, gated, inner, signal, last.mixed[row, :, length - 1])


@dataclass(frozen=True)
class _Group:
    """Substitutions of one base sequence with one start, and where they lie in the matrix."""

    row: int
    start: int
    numbers: list[int]
    place: slice
    past: int

    def front(self, matrix: Tensor) -> Tensor:
        """Return the rows in front of the substitutions, (n, w-1, C)."""
        return self._view(matrix)[:, : self.past]

    def own(self, matrix: Tensor) -> Tensor:
        """Return the rows of the substitutions, (n, L - start, C)."""
        return self._view(matrix)[:, self.past :]

    def ends(self, matrix: Tensor) -> Tensor:
        """Return the last rows, as many as the short filter reads, (n, w, C)."""
        return self._view(matrix)[:, -self.past - 1 :]

    def _view(self, matrix: Tensor) -> Tensor:
        return matrix[self.place].view(len(self.numbers), -1, matrix.shape[1])


class SubstitutionsAtEnd:
    """The two layers of a model, for substitutions read at the last position."""

    def __init__(self, first: CPULayer, last: CPULayer, words: Tensor) -> None:
        """Hold the layers, and the first one's input (V, D) for every token."""
        self.first, self.last, self.words = first, last, words
        self.past = last.block.mixer.past

    def supports(self, base: BaseStates, branches: Branches, most: int) -> bool:
        """Return whether all of some branches are substitutions with so few changed gates.

        Changed gates, and all that the short filter reads at the end, lie in the branches.
        """
        counts = changed_positions(base, branches) + self.past
        reach = max(int(counts.max()), self.past + 1)
        return int(counts.min()) >= self.past and reach <= min(most, branches.ids.shape[1])

    def states(self, base: BaseStates, branches: Sequence[Branches]) -> Tensor:
        """Return the residual stream (N, D) after the last layer at the last positions.

        Args:
            base: The base sequences.
            branches: Substitutions; N of them together.
        """
        changes = Substitutions.of(base, branches, self.first, self.words)
        rows = {row: BaseRow.of(base, row, self.first, self.words) for row in set(changes.rows)}
        sweep = _Sweep(self.first, self.last, base.length, rows, changes)
        block = self.last.block
        numbers, hidden, x0, mixed = sweep.ends()
        stream = hidden + block.mixer.out_proj(x0 * mixed)
        stream = stream + block.mlp(block.norm2(stream))
        return torch.empty_like(stream).index_copy_(0, numbers, stream)


class _Sweep:
    """Substitutions, a matrix at a time."""

    def __init__(
        self,
        first: CPULayer,
        last: CPULayer,
        length: int,
        rows: Mapping[int, BaseRow],
        changes: Substitutions,
    ) -> None:
        self.first, self.last = first.block, last.block
        self.past, self.length = self.last.mixer.past, length
        self.rows, self.changes = rows, changes
        self.taps = first.filters.taps(first.index, length).t().contiguous()
        self.backwards = last.filters.taps(last.index, length).flip(1).t().contiguous()

    def ends(self) -> tuple[Tensor, ...]:
        """Return numbers (N,), and (N, D) each of the last layer at the last positions.

        These are its input, its x0 and its long convolution.
        """
        matrices = list(self._matrices())
        numbers = [number for groups in matrices for group in groups for number in group.numbers]
        found = list(side_by_side(self._read, matrices))
        order = torch.tensor(numbers, device=found[0][0].device)
        return order, *map(torch.cat, zip(*found, strict=True))

    def _matrices(self) -> Iterator[list[_Group]]:
        """Yield the groups that share a matrix."""
        places = list(zip(self.changes.rows, self.changes.starts, strict=True))
        order = sorted(range(len(places)), key=places.__getitem__)
        groups: list[_Group] = []
        for (row, start), together in groupby(order, key=places.__getitem__):
            numbers, height = list(together), self.past + self.length - start
            most = max(1, AT_ONCE // height)
            for i in range(0, len(numbers), most):
                some, first = numbers[i : i + most], groups[-1].place.stop if groups else 0
                if groups and first + len(some) * height > AT_ONCE:
                    yield groups
                    groups, first = [], 0
                place = slice(first, first + len(some) * height)
                groups.append(_Group(row, start, some, place, self.past))
        if groups:
            yield groups

    def _read(self, groups: list[_Group]) -> tuple[Tensor, Tensor, Tensor]:
        """Return input, x0 and convolution (n, D) of the last layer at the last positions."""
        gated, stream = self.taps.new_zeros(2, groups[-1].place.stop, self.taps.shape[1])
        for group in groups:
            self._mix(group, group.own(gated), group.own(stream))
        hidden = self._leave(stream, gated)
        normed, width = layer_norm(hidden, self.last.norm1)[0], hidden.shape[1]
        inner = self._project(normed, slice(width, None))
        for group in groups:
            before = self.rows[group.row].projected[group.start : group.start + self.past]
            group.front(inner).copy_(before)
        x1, v = self._filtered(inner, slice(width, None)).chunk(2, dim=1)
        signal = x1 * v
        mixed = [self._sum(group, group.own(signal)) for group in groups]
        recent = torch.cat([group.ends(normed) for group in groups]).flatten(0, 1)
        x0 = self._filtered(self._project(recent, slice(width)), slice(width))
        last = [group.ends(hidden)[:, -1] for group in groups]
        return torch.cat(last), x0[self.past :: self.past + 1], torch.cat(mixed)

    def _mix(self, group: _Group, gated: Tensor, stream: Tensor) -> None:
        """Write what the first layer's gated signal changes by, and the stream without it."""
        base, changes, start = self.rows[group.row], self.changes, group.start
        count, length = max(changes.counts[n] for n in group.numbers), gated.shape[1]
        inputs, outer, delta = (
            some[group.numbers, :count] for some in (changes.inputs, changes.outer, changes.delta)
        )
        torch.mul(delta[:, :1], self.taps[:length], out=gated)
        for lag in range(1, count):
            gated[:, lag:].addcmul_(delta[:, lag : lag + 1], self.taps[: length - lag])
        begin = slice(start, start + count)
        first = outer * (base.mixed[begin] + gated[:, :count]) - base.gated[begin]
        gated.mul_(base.outer[start:])
        gated[:, :count] = first
        stream.copy_(base.stream[start:])
        stream[:, :count] += inputs

    def _leave(self, stream: Tensor, gated: Tensor) -> Tensor:
        """Project the gated signal into the stream, and run the MLP; both are overwritten."""
        mlp = self.first.mlp
        for chunk, target in zip(stream.split(CHUNK), gated.split(CHUNK), strict=True):
            chunk.addmm_(target, self.first.mixer.out_proj.weight.t())
            inner = torch.addmm(
                mlp.fc1.bias, layer_norm(chunk, self.first.norm2)[0], mlp.fc1.weight.t()
            )
            gelu_(inner, False)
            torch.addmm(chunk, inner, mlp.fc2.weight.t(), out=target)
            target.add_(mlp.fc2.bias)
        return gated

    def _project(self, normed: Tensor, channels: slice) -> Tensor:
        """Return some of the last layer's projections (P, C)."""
        project = self.last.mixer.in_proj
        assert project.bias is not None
        return torch.addmm(project.bias[channels], normed, project.weight[channels].t())

    def _filtered(self, projected: Tensor, channels: slice) -> Tensor:
        """Run the last layer's short filter down some projections (P, C)."""
        short = self.last.mixer.short_filter
        assert short.bias is not None
        taps = short.weight[channels, 0].t()
        result = torch.addcmul(short.bias[channels], projected, taps[-1])
        for lag in range(1, self.past + 1):
            result[lag:].addcmul_(projected[:-lag], taps[-1 - lag])
        return result

    def _sum(self, group: _Group, signal: Tensor) -> Tensor:
        """Return the last layer's long convolution (n, D) at the last position."""
        base = self.rows[group.row]
        differs = (signal - base.signal[group.start :]).mul_(self.backwards[group.start :])
        return base.total + differs.sum(dim=1)
