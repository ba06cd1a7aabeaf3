"""The interface of a backbone, which prompts, methods and experiments use.

A backbone is a causal language model that reads DNA one nucleotide at a time. Every model takes the
token ids of `backbone.tokens`; it maps them to rows of its own embedding, and puts before each row
whatever always started a row in its pretraining (`LanguageModel.start`).

A `ContextEngine` encodes what many rows share only once, as a context, and continues it with the
rows, with exact values and gradients. A `BranchEngine` does the same for edited sequences.
`backbone.models` chooses the engines for a model.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from peft import PeftConfig


class Shape(Protocol):
    """The sizes of a model; D is `d_model`."""

    @property
    def max_seq_len(self) -> int:
        """Most tokens of a row, besides those of `LanguageModel.start`."""

    @property
    def d_model(self) -> int:
        """Numbers of a hidden state."""

    @property
    def n_layer(self) -> int:
        """Blocks."""

    @property
    def vocab_size(self) -> int:
        """Token ids that `embed` may be given; those of `backbone.tokens` come first."""

    @property
    def num_attention_heads(self) -> int:
        """Heads of a block; 0 without attention."""


@dataclass(frozen=True)
class AdapterTargets:
    """The modules of a block that adapters change, by the last parts of their names.

    Attributes:
        lora: Linear maps.
        ia3: Maps whose outputs or inputs are rescaled.
        feedforward: Those of `ia3` whose inputs are.
    """

    lora: tuple[str, ...]
    ia3: tuple[str, ...]
    feedforward: tuple[str, ...] = ()


class LanguageModel(nn.Module, ABC):
    """A causal language model over nucleotides: `logits(encode(embed(ids)))`.

    Attributes:
        config: The sizes.
        adapter_targets: What LoRA and IA3 change.
        absent: Ids of `backbone.tokens` for which the model has no token.
        inner_offsets: Whether `ContextEngine` supports offsets of a hidden state.
    """

    config: Shape
    adapter_targets: AdapterTargets
    absent: frozenset[int] = frozenset()
    inner_offsets: bool = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    @abstractmethod
    def peft_model(self) -> nn.Module:
        """The model as transformers and PEFT know it, into which PEFT puts adapters."""

    @abstractmethod
    def with_adapter(self, config: "PeftConfig") -> nn.Module:
        """Put an adapter of PEFT into the model; return the module that is tuned."""

    @abstractmethod
    def without_adapter(self) -> "LanguageModel":
        """Multiply an adapter that is inside the model into its weights; return the model."""

    @abstractmethod
    def start(self) -> Tensor:
        """Return the vectors (S, D) that stand before every row, such as a first token's."""

    @abstractmethod
    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed token ids (...) as vectors (..., D).

        Raises:
            InputError: If the model has no such token.
        """

    @abstractmethod
    def encode(self, vectors: Tensor) -> Tensor:
        """Return the final hidden states (B, L, D) of vectors (B, L, D), embedded tokens or others.

        Raises:
            InputError: If L exceeds `max_seq_len`.
        """

    @abstractmethod
    def layer_states(self, vectors: Tensor) -> Iterator[Tensor]:
        """Yield states (B, L, D): the first block's input, each block's output, `encode`'s result.

        Raises:
            InputError: If L exceeds `max_seq_len`.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits (..., V) over the whole vocabulary, `backbone.tokens` first."""

    @abstractmethod
    def letter_logits(self, hidden: Tensor, letters: Tensor) -> Tensor:
        """Return next-token logits (..., K) of a few token ids (K,)."""

    @abstractmethod
    def undecayed(self) -> set[str]:
        """Return the names of parameters that weight decay spares, besides norms and biases."""


@dataclass(frozen=True)
class Targets:
    """Which letters follow which positions.

    Attributes:
        letters: (K,) token ids, over which probabilities are normalised.
        index: (B, L), the letter that follows each position, as its index among `letters`.
        counted: (B, L), whether that letter counts.
    """

    letters: Tensor
    index: Tensor
    counted: Tensor

    def rows(self, part: slice) -> "Targets":
        """Return the targets of some rows."""
        return Targets(self.letters, self.index[part], self.counted[part])


class ContextState(Protocol):
    """An encoded context of `length` positions, which `room` further ones may follow."""

    @property
    def length(self) -> int:
        """Positions, padding included."""

    @property
    def room(self) -> int:
        """Positions that may follow."""

    @property
    def count(self) -> int:
        """The number of rows; a single one may be shared by any number of rows."""

    def rows(self, index: Tensor) -> "ContextState":
        """Return the states of some rows, by their indices."""


class ContextEngine(Protocol):
    """Encodes contexts and what follows them, as if they were read together.

    A context is shared by all rows (b = 1) or has one for each; None is no context. Inputs are
    (B, L) token ids, or (B, L, D) vectors such as a prompt's. `additions`, (n_layer - 1, L, D), are
    added to the input of every layer but the first.
    """

    @property
    def model(self) -> LanguageModel:
        """The backbone."""

    def extend(
        self,
        state: Any,
        inputs: Tensor,
        room: int,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> ContextState:
        """Return the context after `inputs`; (B,) `lengths` where rows are padded on the right."""

    def encode(self, state: Any, inputs: Tensor, additions: Tensor | None = None) -> Tensor:
        """Return the final hidden states (B, L, D) of inputs after a context."""

    def encode_last(
        self,
        state: Any,
        inputs: Tensor,
        lengths: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden state (B, D) at each row's last position."""

    def log_likelihood(self, states: Sequence[Any], ids: Tensor, targets: Targets) -> Tensor:
        """Return summed log-likelihoods (B, C) of the same ids (B, L) after each of C contexts."""

    def layer_states(self, ids: Tensor) -> Iterator[Tensor]:
        """Yield states (B, L, D) of every layer without a context, as the model's own."""

    def offset_state(self, offsets: Tensor, room: int) -> ContextState:
        """Return an empty context that adds (n_layer, D) to what is after it: `inner_offsets`."""

    def reads_apart(self, length: int) -> bool:
        """Return whether no row of a batch (B, L) decides a digit of another's state."""

    def kept_bytes(self, length: int, room: int) -> int | None:
        """Return the bytes of a row's state to keep; None where a kept state saves nothing."""

    def kept_positions(self, length: int) -> int:
        """Return to how many positions a kept state is padded; 0 if its size needs no padding."""

    def tensors(self, state: Any, positions: int, room: int) -> tuple[Tensor, ...]:
        """Return what a state is made of, rows first, padded to so many positions and room."""

    def restored(self, tensors: Sequence[Tensor], length: int, room: int) -> ContextState:
        """Return the state that `tensors` were taken of."""


@dataclass(frozen=True)
class Branches:
    """N sequences that continue base sequences, each from a position of its own.

    Attributes:
        rows: (N,) the base sequence of each.
        starts: (N,) the first position that may differ from it.
        ids: (N, M) token ids from there on; a branch has starts + M positions.
    """

    rows: Tensor
    starts: Tensor
    ids: Tensor

    def split(self, size: int) -> "list[Branches]":
        """Return successive groups of `size` branches."""
        columns = (values.split(size) for values in (self.rows, self.starts, self.ids))
        return [Branches(*part) for part in zip(*columns, strict=True)]


class BaseState(Protocol):
    """Encoded base sequences of one length, from which branches can start."""

    @property
    def hidden(self) -> Tensor:
        """(B, L - first, D), the final hidden states from position `first` on."""

    @property
    def first(self) -> int:
        """The first position of `hidden`."""


class BranchEngine(Protocol):
    """Encodes base sequences, and sequences that branch off them; keeps no gradients.

    Vectors that may stand in sequences besides tokens have the ids `vector_ids` (E,).
    """

    vector_ids: Tensor

    @property
    def model(self) -> LanguageModel:
        """The backbone."""

    def base(self, state: Any, ids: Tensor, room: int, first: int = 0) -> BaseState:
        """Encode base sequences (B, L) after a context, with room for longer branches."""

    def encode(self, base: Any, branches: Branches) -> Tensor:
        """Return the final hidden states (N, M, D) of branches."""

    def encode_last(self, base: Any, branches: Branches) -> Tensor:
        """Return the final hidden state (N, D) at the last position of branches."""

    def encode_ends(self, base: Any, parts: Sequence[Branches]) -> list[Tensor]:
        """Return `encode_last` of several groups of branches, which may share more."""

    def extend(self, base: Any, branches: Branches, room: int) -> ContextState:
        """Return the states after branches, as contexts that `room` positions may follow."""


class OnlineModel(Protocol):
    """A frozen model after a prompt, which reads one token at a time."""

    def step(self, ids: Tensor) -> Tensor:
        """Read the next token of each row (B,); return the logits (B, V) of the one after it."""
