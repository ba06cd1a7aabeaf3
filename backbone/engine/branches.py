"""Sequences that differ from a base sequence from some position on, exactly and cheaply.

A variant, or a base mutated in silico, leaves all states before it as they are. The base sequence
is encoded once, and of every layer the signal p = x1 * v and its long convolution are kept. As the
convolution is linear, that of a branch, which replaces the base sequence from position s on, needs
what differs alone:

    (h conv p')[t]  =  (h conv p)[t]  +  sum over s <= u <= t of h[t - u] (p'[u] - p[u])

In the first layer, whose inputs are tokens, a substitution of n bases changes p at n + w - 1
positions: the sum has so few terms, and needs neither projections nor transforms. Values equal
those of the whole sequences up to rounding. Nothing here keeps gradients.

A prompt's vectors after the sequences are part of them: each has an id of its own, after those of
the vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.common.errors import InputError
from backbone.engine.branch_states import FEW, BaseLayer, BaseStates, changed_positions, window
from backbone.engine.cpu_layer import CPULayer
from backbone.engine.cpu_mixer import transformed
from backbone.engine.cpu_substitutions import SubstitutionsAtEnd
from backbone.engine.layer import LayerState, ModuleLayer
from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hooks import has_hooks
from backbone.hyena.convolution import long_convolution, transform_length
from backbone.hyena.kernels import uses_cpu_kernels
from backbone.hyena.model import HyenaDNA
from backbone.protocol import Branches

POSITIONS = 8000
"""Positions of branches processed at a time on a CPU, which bounds the memory they take."""


class BranchEngine:
    """Encodes base sequences, and the sequences that branch off them.

    `encode`, `encode_last` and `extend` do for branches what those of `PrefixEngine` do for
    segments.

    Attributes:
        vector_ids: (E,) the ids that stand for the vectors.
    """

    @torch.no_grad()
    def __init__(
        self,
        engine: PrefixEngine,
        vectors: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> None:
        """Use a model by its prefix engine, whose filters are shared.

        Args:
            engine: The engine.
            vectors: (E, D), inputs that sequences may hold besides tokens; None for none.
            additions: (n_layer - 1, E, D), added to the input of every layer but the first where a
                vector stands.

        Raises:
            InputError: If hooks would have to see whole sequences; see `supports`.
        """
        if not self.supports(engine.model):
            raise InputError(
                "the model has hooks, which must see whole sequences: encode these as they are"
            )
        self.engine, self.model = engine, engine.model
        tokens = engine.model.get_input_embeddings().num_embeddings
        self.words = engine.model.embed(torch.arange(tokens, device=engine.model.device))
        count = 0 if vectors is None else len(vectors)
        self.vector_ids = torch.arange(tokens, tokens + count, device=engine.model.device)
        if vectors is not None:
            self.words = torch.cat([self.words, vectors.to(self.words)])
        self.additions: Tensor | None = None
        if additions is not None:
            self.additions = F.pad(additions, (0, 0, tokens, 0))
        self.layers = [_Layer(engine, i, self.words) for i in range(len(engine.blocks))]

    @staticmethod
    def supports(model: HyenaDNA) -> bool:
        """Return whether no module of the model has hooks."""
        return not any(map(has_hooks, model.modules()))

    @torch.no_grad()
    def base(self, state: PrefixState | None, ids: Tensor, room: int, first: int = 0) -> BaseStates:
        """Encode base sequences.

        Args:
            state: The context before them, shared or one for each; None for none.
            ids: (B, L) token ids.
            room: How many positions more than L branches may have, with what follows them.
            first: The first position whose final hidden state is wanted.

        Returns:
            Their states, which take about 20 D L bytes per layer and row in single precision.

        Raises:
            InputError: If context, sequence and room exceed the model's max_seq_len.
        """
        self.engine.check(state, ids.shape[1], room)
        hidden, layers = self.words[ids], []
        for i, layer in enumerate(self.layers):
            hidden = self._added(hidden, ids, i)
            start = first if i == len(self.layers) - 1 else 0
            context = None if state is None else state.layers[i]
            hidden, kept = layer.base(hidden, ids, context, room, start)
            layers.append(kept)
        hidden = self.model.backbone.ln_f(hidden)
        before = 0 if state is None else state.length
        return BaseStates(tuple(layers), ids, hidden, first, before, room)

    @torch.no_grad()
    def encode(self, base: BaseStates, branches: Branches) -> Tensor:
        """Return the final hidden states (N, M, D) of branches.

        Raises:
            InputError: If they need more than the base states' room.
        """
        self._check(base, branches, 0)
        found = []
        for part in self._parts(branches):
            hidden = self.words[part.ids]
            for i, (layer, kept) in enumerate(zip(self.layers, base.layers, strict=True)):
                hidden = self._added(hidden, part.ids, i)
                hidden, _ = layer.branch(hidden, base, kept, part, 0)
            found.append(self.model.backbone.ln_f(hidden))
        return torch.cat(found)

    @torch.no_grad()
    def encode_last(self, base: BaseStates, branches: Branches) -> Tensor:
        """Return the final hidden state (N, D) at the last position of branches.

        Raises:
            InputError: If they need more than the base states' room.
        """
        self._check(base, branches, 0)
        found = []
        for part in self._parts(branches):
            hidden = self.words[part.ids]
            for i, (layer, kept) in enumerate(zip(self.layers[:-1], base.layers, strict=False)):
                hidden = self._added(hidden, part.ids, i)
                hidden, _ = layer.branch(hidden, base, kept, part, 0)
            hidden = self._added(hidden, part.ids, len(self.layers) - 1)
            hidden = self.layers[-1].last(hidden, base.layers[-1], part)
            found.append(self.model.backbone.ln_f(hidden)[:, 0])
        return torch.cat(found)

    @torch.no_grad()
    def encode_ends(self, base: BaseStates, parts: Sequence[Branches]) -> list[Tensor]:
        """Return `encode_last` of several groups of branches; substitutions go together on a CPU.

        Raises:
            InputError: If they need more than the base states' room.
        """
        two = self._two_layers()
        if two is None:
            return [self.encode_last(base, part) for part in parts]
        of = [i for i, part in enumerate(parts) if two.supports(base, part, FEW)]
        found = {i: self.encode_last(base, p) for i, p in enumerate(parts) if i not in set(of)}
        if of:
            states = self.model.backbone.ln_f(two.states(base, [parts[i] for i in of]))
            found |= zip(of, states.split([len(parts[i].rows) for i in of]), strict=True)
        return [found[i] for i in range(len(parts))]

    @torch.no_grad()
    def extend(self, base: BaseStates, branches: Branches, room: int) -> PrefixState:
        """Return the states after branches, as contexts that `room` positions may follow.

        Raises:
            InputError: If they need more than the base states' room.
        """
        self._check(base, branches, room)
        found: list[list[LayerState]] = []
        for part in self._parts(branches):
            hidden, states = self.words[part.ids], []
            for i, (layer, kept) in enumerate(zip(self.layers[:-1], base.layers, strict=False)):
                hidden = self._added(hidden, part.ids, i)
                hidden, after = layer.branch(hidden, base, kept, part, room)
                states.append(after)
            hidden = self._added(hidden, part.ids, len(self.layers) - 1)
            states.append(self.layers[-1].ends(hidden, base, base.layers[-1], part, room))
            found.append(states)
        layers = tuple(
            LayerState(torch.cat([s.tail for s in layer]), torch.cat([s.spill for s in layer]))
            for layer in zip(*found, strict=True)
        )
        length = base.before + int(branches.starts.max()) + branches.ids.shape[1]
        return PrefixState(layers, length, room)

    def _two_layers(self) -> SubstitutionsAtEnd | None:
        """Return what reads substitutions at their ends, for plain models of two layers."""
        layers = [self.engine.layer(i, self.words) for i in range(len(self.layers))]
        if self.additions is not None or len(layers) != 2:
            return None
        first, last = layers
        if isinstance(first, CPULayer) and isinstance(last, CPULayer):
            return SubstitutionsAtEnd(first, last, self.words)
        return None

    def _added(self, hidden: Tensor, ids: Tensor, index: int) -> Tensor:
        if self.additions is None or index == 0:
            return hidden
        return hidden + self.additions[index - 1][ids]

    def _parts(self, branches: Branches) -> list[Branches]:
        rows, length = branches.ids.shape
        on_cpu = branches.ids.device.type == "cpu"
        return branches.split(max(1, POSITIONS // max(1, length)) if on_cpu else rows)

    def _check(self, base: BaseStates, branches: Branches, room: int) -> None:
        needed = int(branches.starts.max()) + branches.ids.shape[1] + room - base.length
        if needed > base.room:
            raise InputError(
                f"a branch needs {needed} positions more than its base sequence; the base states "
                f"have room for {base.room}"
            )


class _Layer:
    """One block on base sequences and branches."""

    def __init__(self, engine: PrefixEngine, index: int, words: Tensor) -> None:
        self.engine, self.index, self.block = engine, index, engine.blocks[index]
        self.past, self.words = self.block.mixer.past, words
        self.table: Tensor | None = None
        if index == 0:
            self.table = self.block.mixer.project(self.block.norm1(words[None]))

    def base(
        self, hidden: Tensor, ids: Tensor, state: LayerState | None, room: int, first: int
    ) -> tuple[Tensor, BaseLayer]:
        """Run the block over base sequences (B, L, D); return positions from `first` on."""
        length = ids.shape[1]
        own = self._project(hidden, ids)
        if state is None:
            projected = F.pad(own, (self.past, 0))
        else:
            projected = torch.cat([state.tail.to(own.dtype).expand(len(own), -1, -1), own], dim=2)
        x0, signal = self.block.mixer.gates(projected)
        mixed = self._convolved(signal, length + room)
        if state is not None:
            mixed += state.spill[..., : length + room]
        outer = x0 if self.index == 0 else None
        kept = BaseLayer(projected, signal, mixed, outer)
        gated = x0[..., first:] * mixed[..., first:length]
        return self._leave(hidden[:, first:], gated), kept

    def branch(
        self,
        hidden: Tensor,
        base: BaseStates,
        kept: BaseLayer,
        branches: Branches,
        room: int,
    ) -> tuple[Tensor, LayerState]:
        """Run the block over branches (N, M, D); return the stream, and the state at their ends."""
        if self.index == 0:
            gated, after = self._first(base, kept, branches, room)
        else:
            gated, after = self._dense(hidden, base, kept, branches, room)
        return self._leave(hidden, gated), after

    def last(self, hidden: Tensor, kept: BaseLayer, branches: Branches) -> Tensor:
        """Run the block over branches (N, M, D); return the stream (N, 1, D) at their ends."""
        length = hidden.shape[1]
        context = self._contexts(kept, branches, length, length - 1, 1)
        # Only the last position of the spill is read.
        state = LayerState(context.tail, context.spill.expand(-1, -1, length))
        return self.engine.layer(self.index, hidden).last(hidden, state, None)[:, None]

    def ends(
        self, hidden: Tensor, base: BaseStates, kept: BaseLayer, branches: Branches, room: int
    ) -> LayerState:
        """Return the layer's state at the ends of branches (N, M, D), and compute nothing else."""
        length = hidden.shape[1]
        width = max(length, base.length - int(branches.starts.min()))
        context = self._contexts(kept, branches, width, length, room)
        nothing = context.spill.new_zeros(1, context.spill.shape[1], length + room)
        state = LayerState(context.tail, nothing)
        own = self.engine.layer(self.index, hidden).ends(hidden, state, None, room)
        return LayerState(own.tail, own.spill + context.spill)

    def _contexts(
        self, kept: BaseLayer, branches: Branches, width: int, first: int, count: int
    ) -> LayerState:
        """Return what stands before branches, as contexts of their own.

        Their spill (N, D, count) is that at positions first .. first + count - 1 of the branches:
        that of the base sequence without the part of `width` positions which the branch replaces.
        """
        tail = window(kept.projected, branches, 0, self.past)
        places = torch.stack([branches.rows, branches.starts], dim=1)
        some, index = places.unique(dim=0, return_inverse=True)
        alike = Branches(some[:, 0], some[:, 1], branches.ids[:0])
        replaced = window(kept.signal, alike, 0, width)
        filters, stop = self.engine.filters, first + count
        if count == 1:
            backwards = filters.taps(self.index, stop).flip(1)
            read = min(width, stop)
            own = torch.einsum("ndm,dm->nd", replaced[..., :read], backwards[:, :read])[..., None]
        else:
            own = self._convolved(replaced, stop)[..., first:]
        spill = window(kept.mixed, alike, first, count) - own
        return LayerState(tail, spill[index])

    def _first(
        self, base: BaseStates, kept: BaseLayer, branches: Branches, room: int
    ) -> tuple[Tensor, LayerState]:
        """Mix the first layer: substitutions of few bases by few terms, all others whole."""
        changed = changed_positions(base, branches)
        few = (changed >= 0) & (changed + self.past <= FEW)
        if few.all():
            return self._sparse(kept, branches, changed, room)
        hidden = self.words[branches.ids]
        if not few.any():
            return self._dense(hidden, base, kept, branches, room)
        index = torch.arange(len(few), device=few.device)
        order = torch.cat([index[few], index[~few]]).argsort()
        rows, starts, ids = branches.rows, branches.starts, branches.ids
        some, others = (Branches(rows[at], starts[at], ids[at]) for at in (few, ~few))
        one = self._sparse(kept, some, changed[few], room)
        two = self._dense(hidden[~few], base, kept, others, room)
        tail, spill = (
            torch.cat([getattr(one[1], name), getattr(two[1], name)])[order]
            for name in ("tail", "spill")
        )
        return torch.cat([one[0], two[0]])[order], LayerState(tail, spill)

    def _sparse(
        self, kept: BaseLayer, branches: Branches, changed: Tensor, room: int
    ) -> tuple[Tensor, LayerState]:
        """Mix substitutions of the first `changed` (N,) positions, whose tokens are the input."""
        length = branches.ids.shape[1]
        count = min(int(changed.max()) + self.past, length)
        start = Branches(branches.rows, branches.starts, branches.ids[:, :count])
        own, tail = self._project(None, start.ids), window(kept.projected, start, 0, self.past)
        first, signal = self.block.mixer.gates(torch.cat([tail, own], dim=2))
        positions = torch.arange(count, device=changed.device)
        differs = (positions < changed[:, None] + self.past)[:, None]
        delta = (signal - window(kept.signal, start, 0, count)) * differs
        mixed = window(kept.mixed, branches, 0, length + room)
        taps = self.engine.filters.taps(self.index, length + room)
        for i in range(count):
            mixed[..., i:].addcmul_(delta[..., i, None], taps[:, : length + room - i])
        assert kept.outer is not None
        x0 = window(kept.outer, branches, 0, length)
        x0[..., :count] = torch.where(differs, first, x0[..., :count])
        ends = window(kept.projected, branches, length, self.past)
        for i, position in enumerate(range(length - self.past, length)):
            if 0 <= position < count:
                ends[..., i] = own[..., position]
        return x0.mul_(mixed[..., :length]), LayerState(ends, mixed[..., length:])

    def _dense(
        self, hidden: Tensor, base: BaseStates, kept: BaseLayer, branches: Branches, room: int
    ) -> tuple[Tensor, LayerState]:
        """Mix branches of which every position may differ."""
        length = hidden.shape[1]
        x0, signal, projected = self._gates(hidden, kept, branches)
        # What follows a branch that is shorter than its base must not see the base's end.
        rest = base.length - int(branches.starts.min())
        width = max(length, rest) if room else length
        delta = F.pad(signal, (0, width - length)) - window(kept.signal, branches, 0, width)
        mixed = window(kept.mixed, branches, 0, length + room)
        mixed += self._convolved(delta, max(width, length + room))[..., : length + room]
        state = LayerState(projected[..., -self.past :], mixed[..., length:])
        return x0 * mixed[..., :length], state

    def _gates(
        self, hidden: Tensor, kept: BaseLayer, branches: Branches
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x0 and x1 * v (N, D, M), and projections with those before them in front."""
        own = self._project(hidden, branches.ids)
        tail = window(kept.projected, branches, 0, self.past)
        projected = torch.cat([tail, own], dim=2)
        return *self.block.mixer.gates(projected), projected

    def _project(self, hidden: Tensor | None, ids: Tensor) -> Tensor:
        """Return projections (B, 3D, L); those of the first layer follow from the tokens."""
        if self.table is None:
            assert hidden is not None
            return self.block.mixer.project(self.block.norm1(hidden))
        # A product with indicators is exact, and faster than a look-up along the channels.
        shape = len(ids), len(self.words), ids.shape[1]
        return self.table @ self.table.new_zeros(shape).scatter_(1, ids[:, None], 1)

    def _convolved(self, signal: Tensor, length: int) -> Tensor:
        """Convolve (B, D, L) with the layer's filter; return `length` positions."""
        filters, own = self.engine.filters, signal.shape[2]
        size = transform_length(own, length)
        spectrum = filters.spectrum(self.index, length, size)
        if spectrum is None or not uses_cpu_kernels(signal):
            return long_convolution(signal, filters.taps(self.index, length), spectrum)
        padded = signal.new_empty(*signal.shape[:2], size)
        padded[..., :own] = signal
        padded[..., own:] = 0
        return transformed(padded, spectrum, 0, length)

    def _leave(self, hidden: Tensor, gated: Tensor) -> Tensor:
        layer: ModuleLayer | CPULayer = self.engine.layer(self.index, hidden)
        return layer.leave(hidden, gated)
