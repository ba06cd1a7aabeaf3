"""Encode a context that many rows share once, exactly.

In a causal convolution the states of a context do not depend on what follows, and the context acts
on what follows in two places only: the short convolution looks back at its last positions, and the
long convolution, being linear, receives from it one addend for each position, its *spill*:

    h conv [p ; q]  at position P + j  =  (h conv q)[j]  +  sum over s < P of h[P + j - s] p[s]

So [context ; segment] costs a pass over the context, once, and a pass over the segment for each
row. Norms, gates and MLPs act on single positions. Values and gradients equal those of the whole
sequence up to rounding. The context can be a prompt that all rows share, or one for each row, when
a learned suffix follows the rows; contexts chain, because spills add up.

Hooks, adapters and compiled forms of all modules act: a block that has any is run by its modules.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from backbone.common.errors import InputError
from backbone.engine.cpu_ending import MOST_VECTORS, Ending, can_end
from backbone.engine.cpu_layer import CPULayer, is_idle
from backbone.engine.cpu_likelihood import LetterLikelihood
from backbone.engine.cpu_rows import MOST_POSITIONS, RowLayers
from backbone.engine.filter_cache import FilterCache
from backbone.engine.layer import BlockLayer, LayerState, ModuleLayer
from backbone.hooks import has_hooks, is_plain, is_trained, unwrapped
from backbone.hyena.model import Block, HyenaDNA
from backbone.hyena.operator import HyenaOperator
from backbone.letters import target_likelihoods
from backbone.protocol import Targets
from backbone.side_by_side import Work, differentiable, run, side_by_side

__all__ = ["LayerState", "PrefixEngine", "PrefixState"]

POSITIONS = 4096
"""Positions of the rows processed at a time on a CPU, which bounds the memory they take. Rows at a
time are what threads share."""

SHARED = 512
"""Positions from which on short rows are cut into two pieces for a step; fewer do not repay it.
Where no gradient is wanted, whole batches are what threads share."""

SEGMENT = 8192
"""Positions whose inner activations are recomputed at a time, with `checkpoint_prefix`."""


@dataclass(frozen=True)
class PrefixState:
    """An encoded context of `length` positions, which `room` further ones may follow."""

    layers: tuple[LayerState, ...]
    length: int
    room: int

    @property
    def count(self) -> int:
        """The number of rows; a single one may be shared by any number of rows."""
        return len(self.layers[0].tail)

    def rows(self, index: Tensor) -> "PrefixState":
        """Return the states of some rows, by their indices."""
        chosen = tuple(  # three times as fast as indexing
            LayerState(s.tail.index_select(0, index), s.spill.index_select(0, index))
            for s in self.layers
        )
        return PrefixState(chosen, self.length, self.room)

    def part(self, rows: slice) -> "PrefixState":
        """Return the states of successive rows."""
        chosen = tuple(LayerState(s.tail[rows], s.spill[rows]) for s in self.layers)
        return PrefixState(chosen, self.length, self.room)

    def split(self, size: int) -> "list[PrefixState]":
        """Return the states of successive groups of `size` rows."""
        tails, spills = (
            zip(*(getattr(s, name).split(size) for s in self.layers), strict=True)
            for name in ("tail", "spill")
        )
        return [
            PrefixState(tuple(map(LayerState, *parts)), self.length, self.room)
            for parts in zip(tails, spills, strict=True)
        ]


class PrefixEngine:
    """Encodes contexts and the segments that follow them.

    Filters of a frozen model are evaluated once for each length and kept, in the frequency domain
    too. On a CPU, rows are encoded a few at a time; how many depends on their length alone, and
    gradients of a shared context add up over them.
    """

    def __init__(self, model: HyenaDNA, checkpoint_prefix: bool = False) -> None:
        """Keep a reference to the model; its frozen weights must not change afterwards.

        Args:
            model: The backbone.
            checkpoint_prefix: Keep only two tensors for each layer of an encoded context, and
                recompute the others in the backward pass: long prompts in little memory.

        Raises:
            InputError: If a block of the model was replaced by another class of module.
        """
        self.model, self.checkpoint_prefix = model, checkpoint_prefix
        self.blocks: list[Block] = list(model.backbone.layers)  # type: ignore[arg-type]
        self.modules = list(model.modules())
        self.filters = FilterCache(self.blocks, model.config.max_seq_len)
        self._endings: dict[int, Ending] = {}
        self._rows = RowLayers(model.get_input_embeddings().weight.detach())
        for i, block in enumerate(self.blocks):
            if (
                type(unwrapped(block)) is not Block
                or type(unwrapped(block.mixer)) is not HyenaOperator
            ):
                raise InputError(
                    f"block {i} is not HyenaDNA's own: the prefix engine cannot run it, but "
                    "model(...) can"
                )
        if has_hooks(model):
            warnings.warn(
                "hooks of the model itself act in model(...) only: the prefix engine runs its "
                "layers, whose hooks act",
                stacklevel=2,
            )

    def offset_state(self, offsets: Tensor, room: int) -> PrefixState:
        """Return an empty context that adds offsets to the long convolutions after it.

        A context reaches later positions as an addend to the long convolution's output, its spill;
        a constant addend is a state offset (State-offset Tuning, Kang et al. 2025, arXiv
        2503.03499), in values and in gradients.

        Args:
            offsets: (n_layer, D), added at every position that follows.
            room: How many positions may follow.
        """
        width = self.model.config.d_model
        layers = [
            LayerState(
                offset.new_zeros(1, 3 * width, block.mixer.past),
                offset[None, :, None].expand(1, width, room),
            )
            for block, offset in zip(self.blocks, offsets, strict=True)
        ]
        return PrefixState(tuple(layers), 0, room)

    def extend(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> PrefixState:
        """Encode a context, or extend one, computing only what later positions read.

        Args:
            state: The context before, shared (b = 1) or one for each row; None for none.
            inputs: (B, L) token ids, or (B, L, D) vectors such as a prompt's.
            room: How many positions may follow.
            lengths: (B,) where rows are padded on the right; the context of a row ends there.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Returns:
            The state after `inputs`.

        Raises:
            InputError: If context and room exceed the model's max_seq_len.
        """
        self.check(state, inputs.shape[1], room)
        if inputs.shape[1] == 0:
            return state if state is not None else self._nothing(room)
        length = inputs.shape[1] + (state.length if state else 0)
        layers = None if additions is not None else self._row_layers(state, inputs)
        if layers is not None:
            found = self._extended_apart(layers, state, inputs, lengths, room)
            return self.restored(_joined(found), length, room)

        def extended(part: Part, more: Tensor | None) -> tuple[Tensor, ...]:
            return _tensors(PrefixState(self._extended(*part, room, more), length, room))

        found = self._by_rows(extended, state, inputs, lengths, additions)
        return self.restored(_joined(found), length, room)

    def encode(
        self, state: PrefixState | None, inputs: Tensor, additions: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states (B, L, D) of inputs after a context.

        Args:
            state: The context, shared or one for each row; None for none.
            inputs: (B, L) token ids, or (B, L, D) vectors.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the state's room.
        """
        self.check(state, inputs.shape[1], 0)
        layers = None if additions is not None else self._row_layers(state, inputs)
        if layers is not None and inputs.shape[1] > self.blocks[0].mixer.past:
            hidden = self._embedded(inputs)[0]
            self._run_apart(layers, hidden, inputs, state)
            return self.model.backbone.ln_f(hidden)

        def encoded(part: Part, more: Tensor | None) -> tuple[Tensor]:
            hidden, _ = self._layers(part[0], part[1], len(self.blocks), more)
            return (self.model.backbone.ln_f(hidden),)

        return _joined(self._by_rows(encoded, state, inputs, None, additions))[0]

    def layer_states(self, ids: Tensor) -> Iterator[Tensor]:
        """Yield states (B, L, D) of every layer; see `LanguageModel.layer_states`.

        Args:
            ids: (B, L) token ids.

        Raises:
            InputError: If they exceed the model's max_seq_len.
        """
        self.check(None, ids.shape[1], 0)
        hidden, tokens = self._embedded(ids)
        yield hidden
        layers = self._row_layers(None, ids) if ids.shape[1] > self.blocks[0].mixer.past else None
        for i in range(len(self.blocks)):
            if layers is not None:
                hidden = hidden.clone()
                self._run_apart(layers[i : i + 1], hidden, tokens if i == 0 else None, None)
            else:
                layer = self.layer(i, hidden)
                gated, _ = layer.mix(hidden, None, None, 0, tokens if i == 0 else None)
                hidden = layer.leave(hidden, gated)
            yield hidden
        yield self.model.backbone.ln_f(hidden)

    def encode_last(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden state (B, D) at each row's last position.

        The last layer is computed there only: a dot product with the reversed filter in place of
        transforms, and one position of gates and MLP.

        Args:
            state: The context, shared or one for each row; None for none.
            inputs: (B, L) token ids, or (B, L, D) vectors.
            lengths: (B,) where rows are padded on the right.
            additions: (n_layer - 1, L, D), added to the input of every layer but the first.

        Raises:
            InputError: If context and inputs exceed the model's max_seq_len or the state's room.
        """
        self.check(state, inputs.shape[1], 0)
        last = len(self.blocks) - 1
        if state is not None and lengths is None and additions is None:
            ending = self._ending(state, inputs)
            if ending is not None:
                parts = state.split(_rows_at_once(inputs))
                return ending.read(inputs[0], [(part.layers[0], part.layers[1]) for part in parts])

        def at_end(part: Part, more: Tensor | None) -> tuple[Tensor]:
            before, some, ends = part
            hidden, _ = self._layers(before, some, last, more)
            hidden = _added(hidden, more, last)
            return (self.layer(last, hidden).last(hidden, _at(before, last), ends),)

        (hidden,) = _joined(self._by_rows(at_end, state, inputs, lengths, additions))
        return self.model.backbone.ln_f(hidden[:, None])[:, 0]

    def log_likelihood(
        self, states: Sequence[PrefixState | None], ids: Tensor, targets: Targets
    ) -> Tensor:
        """Return log-likelihoods (B, C) of the same inputs after each of several contexts.

        What the first layer computes of the ids is computed once for all contexts. Probabilities
        are normalised over the letters of `targets`; each row's counted positions are summed.

        Args:
            states: C contexts, shared or one for each row; None for none.
            ids: (B, L) token ids.
            targets: Which letters follow which positions.

        Raises:
            InputError: If a context and the ids exceed the model's max_seq_len or its room.
        """
        for state in states:
            self.check(state, ids.shape[1], 0)
        size, pieces = _rows_at_once(ids), []
        for start in range(0, len(ids), size):
            part = slice(start, start + size)
            own = [s if s is None or s.count == 1 else s.part(part) for s in states]

            def likely(
                tensors: Sequence[Tensor], own: Any = own, part: slice = part
            ) -> tuple[Tensor]:
                before, rest = [], tensors
                for one in own:
                    before.append(_restored(one, rest))
                    rest = rest[len(_tensors(one)) :]
                return (self._likelihoods(before, ids[part], targets.rows(part)),)

            pieces.append((likely, [x for one in own for x in _tensors(one)]))
        return _joined(self._side_by_side(pieces))[0]

    def reads_apart(self, length: int) -> bool:
        """Return whether no row of a batch (B, L) decides a digit of another's state."""
        return self._layers_of_rows(length) is not None

    def kept_bytes(self, length: int, room: int) -> int:
        """Return the bytes of a row's state, with room for so many positions."""
        config = self.model.config
        return config.n_layer * config.d_model * (6 + room) * 4

    def kept_positions(self, length: int) -> int:
        """Return 0: a state has the same size whatever the context's length."""
        return 0

    def tensors(self, state: PrefixState, positions: int, room: int) -> tuple[Tensor, ...]:
        """Return tail and spill of each layer, rows first; zeros where the state has less room."""
        missing = 0, room - state.room
        return tuple(
            part for layer in state.layers for part in (layer.tail, F.pad(layer.spill, missing))
        )

    def restored(self, tensors: Sequence[Tensor], length: int, room: int) -> PrefixState:
        """Return the state that `tensors` were taken of."""
        layers = tuple(LayerState(*tensors[i : i + 2]) for i in range(0, len(tensors), 2))
        return PrefixState(layers, length, room)

    def _row_layers(self, state: PrefixState | None, inputs: Tensor) -> list[CPULayer] | None:
        """Return all layers, if each row is run alone, and without a derivative."""
        if inputs.is_floating_point() or any(x.requires_grad for x in _tensors(state)):
            return None
        return self._layers_of_rows(inputs.shape[1])

    def _layers_of_rows(self, length: int) -> list[CPULayer] | None:
        """Return all layers, if they are what runs rows of token ids that are so short."""
        words, dropout = self.model.get_input_embeddings(), self.model.backbone.dropout
        if (
            length > MOST_POSITIONS
            or words.weight.requires_grad
            or not is_plain(nn.Embedding, words)
            or not is_idle(dropout)
            or self._hooked()
        ):
            return None
        layers = [self.layer(i, words.weight) for i in range(len(self.blocks))]
        plain = [layer for layer in layers if isinstance(layer, CPULayer)]
        return plain if len(plain) == len(layers) else None

    def _extended_apart(
        self,
        layers: Sequence[CPULayer],
        state: PrefixState | None,
        ids: Tensor,
        lengths: Tensor | None,
        room: int,
    ) -> list[tuple[Tensor, ...]]:
        """Return the tensors of each row's state, computed row by row, which threads share."""
        ends = [ids.shape[1]] * len(ids) if lengths is None else lengths.tolist()

        @torch.no_grad()
        def extended(row: int) -> tuple[Tensor, ...]:
            before, own = _row_of(state, row), ids[row, : max(1, ends[row])]
            if ends[row] > self.blocks[0].mixer.past:
                found = self._rows.extend(layers, own, _layers_of(before), room)
            else:
                end = None if lengths is None else lengths[row : row + 1]
                found = self._extended(before, own[None], end, room, None)
            return tuple(x for layer in found for x in (layer.tail, layer.spill))

        return list(side_by_side(extended, range(len(ids))))

    def _run_apart(
        self,
        layers: Sequence[CPULayer],
        hidden: Tensor,
        ids: Tensor | None,
        state: PrefixState | None,
    ) -> None:
        """Run layers on the stream (B, L, D) in place, row by row, which threads share."""

        @torch.no_grad()
        def run_row(row: int) -> None:
            before, own = _row_of(state, row), None if ids is None else ids[row]
            self._rows.run(layers, hidden[row], own, _layers_of(before))

        run(run_row, range(len(hidden)))

    def _by_rows(
        self,
        compute: Callable[["Part", Tensor | None], tuple[Tensor, ...]],
        state: PrefixState | None,
        inputs: Tensor,
        lengths: Tensor | None,
        additions: Tensor | None,
    ) -> list[tuple[Tensor, ...]]:
        """Return what is computed of a few rows at a time, which threads share."""
        pieces = []
        for part in _parts(state, inputs, lengths):

            def work(tensors: Sequence[Tensor], part: Part = part) -> tuple[Tensor, ...]:
                before, _, ends = part
                some, *rest = tensors[len(_tensors(before)) :]
                return compute((_restored(before, tensors), some, ends), rest[0] if rest else None)

            more = [] if additions is None else [additions]
            pieces.append((work, [*_tensors(part[0]), part[1], *more]))
        return self._side_by_side(pieces)

    def _side_by_side(
        self, pieces: Sequence[tuple[Work, Sequence[Tensor]]]
    ) -> list[tuple[Tensor, ...]]:
        """Compute pieces side by side, unless they must follow each other.

        That is where hooks see them, where dropout draws numbers, and where weights are trained,
        whose gradients do not reach through the pieces' own graphs.
        """
        if len(pieces) > 1 and (
            not self._hooked()
            and all(is_idle(m) for m in self.modules if isinstance(m, nn.Dropout))
            and not (torch.is_grad_enabled() and is_trained(self.model))
        ):
            return differentiable(pieces)
        return [work(tensors) for work, tensors in pieces]

    def _hooked(self) -> bool:
        return any(map(has_hooks, self.modules))

    def _likelihoods(
        self, states: Sequence[PrefixState | None], ids: Tensor, targets: Targets
    ) -> Tensor:
        """Return log-likelihoods (B, C) of a few rows."""
        hidden, tokens = self._embedded(ids)
        first, last = self.layer(0, hidden), len(self.blocks) - 1
        shared = (
            first.tokens(tokens) if isinstance(first, CPULayer) and tokens is not None else None
        )
        found = []
        for state in states:
            stream, gated = hidden, None
            if shared is not None:
                assert isinstance(first, CPULayer)
                gated = first.mix_tokens(shared, _at(state, 0))
            for i in range(last + 1):
                layer = self.layer(i, stream)
                if gated is None:
                    gated, _ = layer.mix(stream, _at(state, i), None, 0)
                if i < last:
                    stream, gated = layer.leave(stream, gated), None
            assert gated is not None
            found.append(self._read_letters(layer, stream, gated, targets))
        return torch.stack(found, dim=1)

    def _read_letters(
        self, layer: ModuleLayer | CPULayer, stream: Tensor, gated: Tensor, targets: Targets
    ) -> Tensor:
        """Return log-likelihoods (B,) from what the last layer's operator gives."""
        norm, head, letters = self.model.backbone.ln_f, self.model.lm_head, targets.letters
        frozen = not (norm.weight.requires_grad or head.weight.requires_grad)
        plain = is_plain(nn.LayerNorm, norm) and is_plain(nn.Linear, head)
        if isinstance(layer, CPULayer) and frozen and plain:
            weight = head.weight[letters]
            return LetterLikelihood.apply(stream, gated, layer.block, norm, weight, targets)
        logits = self.model.logits(norm(layer.leave(stream, gated)))[..., letters]
        return target_likelihoods(logits, targets)

    def _extended(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        lengths: Tensor | None,
        room: int,
        additions: Tensor | None,
    ) -> tuple[LayerState, ...]:
        last, segment = len(self.blocks) - 1, SEGMENT if self.checkpoint_prefix else None
        hidden, states = self._layers(state, inputs, last, additions, lengths, room, segment)
        hidden = _added(hidden, additions, last)
        ends, run = self.layer(last, hidden).ends, _run(segment)
        return (*states, run(ends, hidden, _at(state, last), lengths, room))

    def _layers(
        self,
        state: PrefixState | None,
        inputs: Tensor,
        count: int,
        additions: Tensor | None,
        lengths: Tensor | None = None,
        room: int = 0,
        segment: int | None = None,
    ) -> tuple[Tensor, list[LayerState]]:
        """Run the first `count` layers; return the stream (B, L, D) and each layer's state.

        With `segment`, only each layer's input and gated signal are kept for a backward pass, and
        so many positions of the layer's second half are recomputed at a time.
        """
        if count and not room and lengths is None and self._is_one_segment(state, inputs):
            inputs = inputs[:1]
        hidden, ids = self._embedded(inputs)
        states, run, size = [], _run(segment), segment or max(1, inputs.shape[1])
        for i in range(count):
            hidden = _added(hidden, additions, i)
            layer = self.layer(i, hidden)
            tokens = ids if i == 0 else None
            gated, after = run(layer.mix, hidden, _at(state, i), lengths, room, tokens)
            parts = zip(hidden.split(size, dim=1), gated.split(size, dim=2), strict=True)
            left = [run(layer.leave, *part) for part in parts]
            hidden = left[0] if len(left) == 1 else torch.cat(left, dim=1)
            states.append(after)
        return hidden, states

    def _ending(self, state: PrefixState, inputs: Tensor) -> Ending | None:
        """Return what reads vectors after many contexts in one function, where it can."""
        count = inputs.shape[1]
        if (
            count > MOST_VECTORS
            or len(self.blocks) != 2
            or not self._repeats(state, inputs)
            or not can_end(self.model.backbone.ln_f, *_tensors(state))
        ):
            return None
        first, last = self.layer(0, inputs), self.layer(1, inputs)
        if not isinstance(first, CPULayer) or not isinstance(last, CPULayer):
            return None
        if count not in self._endings:
            with torch.no_grad():
                ending = Ending.of(first, last, self.model.backbone.ln_f, count)
                self._endings[count] = ending
        return self._endings[count]

    def _is_one_segment(self, state: PrefixState | None, inputs: Tensor) -> bool:
        """Return whether the same vectors follow many contexts, and the first layer reads them."""
        return self._repeats(state, inputs) and isinstance(self.layer(0, inputs), CPULayer)

    def _repeats(self, state: PrefixState | None, inputs: Tensor) -> bool:
        """Return whether the same vectors follow many contexts, as far as the strides tell."""
        return (
            state is not None
            and inputs.is_floating_point()
            and 1 < len(inputs) == state.count
            and inputs.stride(0) == 0
            and inputs.shape[1] > self.blocks[0].mixer.past
            and is_idle(self.model.backbone.dropout)
        )

    def layer(self, i: int, hidden: Tensor) -> ModuleLayer | CPULayer:
        """Return what runs layer i on a stream like `hidden`."""
        block = self.blocks[i]
        if CPULayer.supports(block, hidden):
            return CPULayer(block, self.filters, i, self.model.get_input_embeddings().weight)
        whole = has_hooks(block) or has_hooks(block.mixer)
        return (BlockLayer if whole else ModuleLayer)(block, self.filters, i)

    def _embedded(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return vectors (B, L, D), and token ids (B, L) if the vectors are their frozen rows."""
        words, dropout = self.model.get_input_embeddings(), self.model.backbone.dropout
        if inputs.is_floating_point():
            return dropout(inputs), None
        frozen = is_plain(nn.Embedding, words) and not words.weight.requires_grad
        ids = inputs if frozen and is_idle(dropout) else None
        return dropout(self.model.embed(inputs)), ids

    def _nothing(self, room: int) -> PrefixState:
        width, past = self.model.config.d_model, self.blocks[0].mixer.past
        like = self.model.get_input_embeddings().weight.detach()
        empty = LayerState(like.new_zeros(1, 3 * width, past), like.new_zeros(1, width, room))
        return PrefixState((empty,) * len(self.blocks), 0, room)

    def check(self, state: PrefixState | None, length: int, room: int) -> None:
        """Refuse positions that do not fit.

        Raises:
            InputError: If context, positions and room exceed max_seq_len, or the state's room.
        """
        before, most = (state.length if state else 0), self.model.config.max_seq_len
        if before + length + room > most:
            raise InputError(
                f"{before + length + room} tokens exceed this checkpoint's max_seq_len of {most}"
            )
        if state is not None and state.room < length + room:
            raise InputError(f"{length + room} tokens exceed the prefix state's room: {state.room}")


def _rows_at_once(inputs: Tensor) -> int:
    """Return how many rows of (B, L, ...) are processed at a time.

    That depends on shape, device and whether gradients are wanted, and not on threads.
    """
    rows, length = inputs.shape[:2]
    if inputs.device.type != "cpu":
        return max(1, rows)
    shared = rows * length >= SHARED and torch.is_grad_enabled()
    halves = -(-rows // 2) if shared else rows
    return max(1, min(halves, POSITIONS // max(1, length)))


Part = tuple[PrefixState | None, Tensor, Tensor | None]


def _parts(state: PrefixState | None, inputs: Tensor, lengths: Tensor | None) -> Iterator[Part]:
    """Cut a batch into parts of a few rows, whose number depends on shape and device alone."""
    size = _rows_at_once(inputs)
    if size >= len(inputs):
        yield state, inputs, lengths
        return
    parts = inputs.split(size)
    shared = state is None or state.count == 1
    states = [state] * len(parts) if shared else state.split(size)  # type: ignore[union-attr]
    ends = [None] * len(parts) if lengths is None else lengths.split(size)
    yield from zip(states, parts, ends, strict=True)


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Concatenate the rows of tensors that were computed a few rows at a time."""
    if len(parts) == 1:
        return parts[0]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def _row_of(state: PrefixState | None, row: int) -> PrefixState | None:
    """Return the state of one row."""
    if state is None or state.count == 1:
        return state
    return state.part(slice(row, row + 1))


def _layers_of(state: PrefixState | None) -> Sequence[LayerState] | None:
    return None if state is None else state.layers


def _tensors(state: PrefixState | None) -> tuple[Tensor, ...]:
    """Return tail and spill of each layer."""
    layers = () if state is None else state.layers
    return tuple(x for layer in layers for x in (layer.tail, layer.spill))


def _restored(state: PrefixState | None, tensors: Sequence[Tensor]) -> PrefixState | None:
    """Return a state made of other tensors, the first of those given."""
    if state is None:
        return None
    layers = (LayerState(*tensors[2 * i : 2 * i + 2]) for i in range(len(state.layers)))
    return PrefixState(tuple(layers), state.length, state.room)


def _run(segment: int | None) -> Callable[..., Any]:
    """Return what calls a layer's method: with segments, keeping only its arguments."""
    return _call if segment is None else partial(checkpoint, use_reentrant=False)


def _call(method: Callable[..., Any], *arguments: Any) -> Any:
    return method(*arguments)


def _at(state: PrefixState | None, layer: int) -> LayerState | None:
    return None if state is None else state.layers[layer]


def _added(hidden: Tensor, additions: Tensor | None, layer: int) -> Tensor:
    return hidden if additions is None or layer == 0 else hidden + additions[layer - 1]
