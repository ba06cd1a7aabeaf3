"""A model of transformers that reads one token at a time, with the cache of its architecture."""

import torch
from torch import Tensor
from transformers import DynamicCache

from backbone.common.errors import InputError
from backbone.hf.cached import CachedContext
from backbone.hf.contexts import Context, check_room
from backbone.hf.model import TransformersModel


class TransformersOnline:
    """A frozen model after a prompt; see `backbone.protocol.OnlineModel`."""

    @torch.no_grad()
    def __init__(
        self,
        model: TransformersModel,
        prompt: Tensor,
        room: int,
        context: Context | CachedContext | None,
    ) -> None:
        """Read what stands before the prompt, and the prompt.

        Args:
            model: The backbone; its weights must not change in the meantime.
            prompt: (B, P) token ids, which may be empty (P = 0).
            room: How many tokens may follow.
            context: What stands before the prompt, shared by all rows, without padding.

        Raises:
            InputError: If context, prompt and room exceed the model's max_seq_len.
        """
        check_room(model, context, prompt.shape[1], room)
        self.model, self.left, rows = model, room, len(prompt)
        row, additions = model.embed(prompt), None
        if isinstance(context, CachedContext):
            self.cache = context.cache(rows)
            if row.shape[1]:
                model.read_behind(row, None, self.cache)
            return
        self.cache = DynamicCache(config=model.plain.config)
        if context is not None:
            row = torch.cat([context.vectors.expand(rows, -1, -1), row], dim=1)
            if context.additions is not None:
                additions = torch.nn.functional.pad(context.additions, (0, 0, 0, prompt.shape[1]))
        if row.shape[1] + len(model.vocabulary.start):
            model.read(row, additions, self.cache)

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Read the next token of each row (B,); return the logits (B, V) of the one after it.

        Raises:
            InputError: If there is no room left.
        """
        if self.left == 0:
            raise InputError("no room is left for another token; ask for more room at the start")
        self.left -= 1
        hidden = self.model.read_behind(self.model.embed(ids[:, None]), None, self.cache)
        return self.model.logits(hidden)[:, -1]
