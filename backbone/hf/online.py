"""A model of transformers that reads one token at a time, with the cache of its architecture."""

from typing import Any

import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hf.contexts import Context, TransformersContexts
from backbone.hf.model import TransformersModel


class TransformersOnline:
    """A frozen model after a prompt; see `backbone.protocol.OnlineModel`."""

    @torch.no_grad()
    def __init__(
        self, model: TransformersModel, prompt: Tensor, room: int, context: Context | None
    ) -> None:
        """Read what stands before the prompt, and the prompt, in one pass.

        Args:
            model: The backbone; its weights must not change in the meantime.
            prompt: (B, P) token ids, which may be empty (P = 0).
            room: How many tokens may follow.
            context: What stands before the prompt, shared by all rows, without padding.

        Raises:
            InputError: If context, prompt and room exceed the model's max_seq_len.
        """
        self.model, self.left = model, room
        before = TransformersContexts(model).extend(context, prompt, room)
        start = model.start().expand(len(prompt), -1, -1)
        row = torch.cat([start, before.vectors.expand(len(prompt), -1, -1)], dim=1)
        self._cache: Any = None
        if row.shape[1]:
            with model.added(before.additions):
                self._read(row)

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Read the next token of each row (B,); return the logits (B, V) of the one after it.

        Raises:
            InputError: If there is no room left.
        """
        if self.left == 0:
            raise InputError("no room is left for another token; ask for more room at the start")
        self.left -= 1
        return self.model.logits(self._read(self.model.embed(ids[:, None])))[:, -1]

    def _read(self, vectors: Tensor) -> Tensor:
        """Read vectors (B, L, D) behind the cache; return final hidden states (B, L, D)."""
        recurrent = "mamba" in self.model.plain.config.model_type
        name = "cache_params" if recurrent else "past_key_values"
        output = self.model.plain.base_model(
            inputs_embeds=vectors, use_cache=True, **{name: self._cache}
        )
        self._cache = getattr(output, name)
        return output[0]
