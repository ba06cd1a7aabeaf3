"""A causal language model of transformers, in front of which stand our tokens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backbone.common.errors import InputError
from backbone.hf.families import FAMILIES, context_length
from backbone.hf.vocabulary import Vocabulary
from backbone.protocol import LanguageModel
from backbone.tokens import NUCLEOTIDES, PAD, SEP, TOKENS

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True)
class Sizes:
    """See `backbone.protocol.Shape`."""

    max_seq_len: int
    d_model: int
    n_layer: int
    num_attention_heads: int
    vocab_size: int = len(TOKENS)


class TransformersModel(LanguageModel):
    """A model of transformers as a backbone.

    Rows are padded on the right, where a causal model sees nothing of it, so no mask is needed.

    Attributes:
        model: The model, or the `PeftModel` around it.
        vocabulary: What stands for our tokens.
        name: Of the backbone, for messages.
    """

    def __init__(
        self, model: PreTrainedModel, vocabulary: Vocabulary, longest_text: int, name: str
    ) -> None:
        """Keep the model.

        Args:
            model: One of `FAMILIES`.
            vocabulary: Of its tokenizer.
            longest_text: `model_max_length` of its tokenizer.
            name: Of the backbone, for messages.
        """
        super().__init__()
        self.model: nn.Module = model
        self.vocabulary, self.name = vocabulary, name
        self.family = FAMILIES[model.config.model_type]
        self.adapter_targets, self.absent = self.family.targets, vocabulary.absent
        self.config = Sizes(
            max_seq_len=context_length(model.config, longest_text) - len(vocabulary.start),
            d_model=model.config.hidden_size,
            n_layer=model.config.num_hidden_layers,
            num_attention_heads=getattr(model.config, "num_attention_heads", 0),
        )
        base = vocabulary.own[NUCLEOTIDES[0]]
        assert base is not None
        known = [base if own is None else own for own in vocabulary.own]
        embedding: Any = model.get_input_embeddings()
        rest = sorted({*range(embedding.num_embeddings)} - {*vocabulary.own})
        gone = [i in self.absent and i != PAD for i in range(len(TOKENS))]  # padding is never read
        self._own: Tensor
        self._order: Tensor
        self._gone: Tensor
        tables = {"_own": known, "_gone": gone, "_order": [*known, *rest]}
        for name, values in tables.items():
            table = torch.tensor(values, device=embedding.weight.device)
            self.register_buffer(name, table, persistent=False)

    @property
    def plain(self) -> PreTrainedModel:
        """The model itself, an adapter's modules in place."""
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    @property
    def peft_model(self) -> nn.Module:
        """The model, or the `PeftModel` around it."""
        return self.model

    def with_adapter(self, config: "PeftConfig") -> nn.Module:
        """Put an adapter into the model; return the backbone, which keeps the `PeftModel`."""
        from peft import get_peft_model

        self.model = get_peft_model(self.plain, config)
        return self

    def without_adapter(self) -> "TransformersModel":
        """Multiply the adapter into the weights, if there is one."""
        model: Any = self.model
        if hasattr(model, "merge_and_unload"):
            self.model = model.merge_and_unload()
        return self

    def start(self) -> Tensor:
        """Return the vectors (S, D) of the tokens that the tokenizer sets before every row."""
        ids = torch.tensor(self.vocabulary.start, dtype=torch.long, device=self.device)
        return self.plain.get_input_embeddings()(ids)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed token ids (...) as vectors (..., D).

        Raises:
            InputError: If the tokenizer has no such token.
        """
        if self._gone[input_ids].any():
            first = int(input_ids[self._gone[input_ids]][0])
            raise InputError(f"backbone={self.name} has no token for {_named(first)}")
        return self.plain.get_input_embeddings()(self._own[input_ids])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the final hidden states (B, L, D) of vectors (B, L, D).

        Raises:
            InputError: If L exceeds `max_seq_len`.
        """
        length, most = vectors.shape[1], self.config.max_seq_len
        if length > most:
            raise InputError(f"{length} tokens exceed this checkpoint's max_seq_len of {most}")
        return self.read(vectors)

    def layer_states(self, vectors: Tensor) -> Iterator[Tensor]:
        """Yield states (B, L, D): the first block's input, each block's output, `encode`'s."""
        found: list[Tensor] = []
        first = len(self.vocabulary.start)

        def keep(_: nn.Module, hidden: Tensor) -> Tensor:
            found.append(hidden[:, first:])
            return hidden

        norm = getattr(self.plain.base_model, self.family.norm)
        with _before([*self.blocks, norm], keep):
            final = self.encode(vectors)
        yield from (*found, final)

    def read(self, vectors: Tensor, additions: Tensor | None = None, cache: Any = None) -> Tensor:
        """Return the final hidden states (B, L, D) of vectors, after what starts every row.

        Args:
            vectors: (B, L, D), embedded tokens or what stands in their place.
            additions: (n_layer - 1, B or 1, L, D), added to the input of every block but the first.
            cache: An empty cache of the architecture, to be filled; None for none.
        """
        start = self.start()
        row = torch.cat([start.expand(len(vectors), -1, -1).to(vectors), vectors], dim=1)
        with self._added(additions, len(start)):
            return self._run(row, cache)[:, len(start) :]

    def read_behind(
        self,
        vectors: Tensor,
        additions: Tensor | None,
        cache: Any,
        known: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden states (B, L, D) of vectors after what a cache holds.

        Args:
            vectors: (B, L, D).
            additions: As for `read`.
            cache: Of the architecture; it is extended.
            known: (B, P + L), 0 at positions of the cache that are gaps; None without any.
            places: (B, L) positions of the vectors; None where there are no gaps.
        """
        with self._added(additions, 0):
            return self._run(vectors, cache, attention_mask=known, position_ids=places)

    def _run(self, row: Tensor, cache: Any, **more: Tensor | None) -> Tensor:
        given = {name: value for name, value in more.items() if value is not None}
        if cache is not None:
            given[self.family.cache] = cache
        base = self.plain.base_model
        return base(inputs_embeds=row, use_cache=cache is not None, **given)[0]

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks in order."""
        return list(getattr(self.plain.base_model, self.family.layers))

    def _added(self, additions: Tensor | None, first: int) -> AbstractContextManager[None]:
        """Add to the inputs of the blocks but the first, from a position on, while it is open."""
        later = [] if additions is None else self.blocks[1:]
        place = {block: i for i, block in enumerate(later)}

        def add(block: nn.Module, hidden: Tensor) -> Tensor:
            assert additions is not None
            own = hidden[:, first:] + additions[place[block]]
            return torch.cat([hidden[:, :first], own], dim=1)

        return _before(later, add)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits (..., V): our tokens, -inf where absent, then all others."""
        found = self._head(hidden)[..., self._order]
        gone = torch.zeros(len(self._order), dtype=torch.bool, device=found.device)
        gone[list(self.absent)] = True
        return found.masked_fill(gone, float("-inf"))

    def letter_logits(self, hidden: Tensor, letters: Tensor) -> Tensor:
        """Return next-token logits (..., K) of a few token ids (K,)."""
        return self._head(hidden)[..., self._own[letters]]

    def _head(self, hidden: Tensor) -> Tensor:
        head: Any = self.plain.get_output_embeddings()
        return head(hidden)

    def undecayed(self) -> set[str]:
        """Return the names of embeddings, and of the decay rates of recurrent models."""
        embedding = self.plain.get_input_embeddings().weight
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter is embedding or name.endswith("A_log") or ".wpe." in name
        }


@contextmanager
def _before(
    modules: list[nn.Module], change: Callable[[nn.Module, Tensor], Tensor]
) -> Iterator[None]:
    """Change the hidden states that modules are called with, while the context is open."""

    def hook(
        own: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(own, args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(own, kwargs["hidden_states"])}

    handles = [
        module.register_forward_pre_hook(partial(hook, module), with_kwargs=True)
        for module in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _named(absent: int) -> str:
    if absent == SEP:
        return "[SEP]: its tokenizer has neither a separator nor an end of text"
    return TOKENS[absent]
