"""The likelihood of queries after the context of each class, read off a frozen backbone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.models import context_engine
from backbone.protocol import ContextEngine, ContextState, LanguageModel, Targets
from backbone.tokens import encode_dna


class ChannelScorer:
    """The likelihood of queries after the context of each class."""

    def __init__(self, model: LanguageModel, engine: ContextEngine | None = None) -> None:
        """Keep the frozen model.

        Args:
            model: The backbone.
            engine: An engine over the same model, to share its cached filters.
        """
        self.model, self.engine = model, engine or context_engine(model)
        self.letters = torch.from_numpy(encode_dna("ACGT")).long().to(model.device)

    def context(
        self,
        parts: Sequence[Tensor],
        room: int,
        *,
        state_offsets: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> ContextState | None:
        """Encode the prompt of one class.

        Args:
            parts: In their order, token ids (S,) or vectors (P, D); empty ones are skipped.
            room: Positions that may follow.
            state_offsets: (n_layer, D), of `ContextEngine.offset_state`.
            additions: (n_layer - 1, P, D), added to the inputs of the layers above the first at the
                positions of the first part (deep prompts).

        Returns:
            The state after the context, shared by all rows; None for an empty context.

        Raises:
            InputError: If the context and the room exceed the model's max_seq_len.
        """
        parts = [part for part in parts if len(part)]
        room_behind = room + sum(map(len, parts))
        state = (
            None if state_offsets is None else self.engine.offset_state(state_offsets, room_behind)
        )
        for i, part in enumerate(parts):
            room_behind -= len(part)
            state = self.engine.extend(
                state, part[None], room_behind, additions=additions if i == 0 else None
            )
        return state

    def log_likelihood(
        self, contexts: Sequence[ContextState | None], ids: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return the summed log-likelihood (B, C) of queries after each class's context.

        Args:
            contexts: One for each of the C classes, with room for L positions.
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).
        """
        return self.engine.log_likelihood(contexts, ids, self.targets(ids, lengths))

    def targets(self, ids: Tensor, lengths: Tensor) -> Targets:
        """Return which bases count, and which letter each is, at the position before each.

        Args:
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).

        Returns:
            The letters A, C, G and T; index 0 where a position does not count.
        """
        matches = F.pad(ids[:, 1:], (0, 1), value=-1)[..., None] == self.letters
        inside = torch.arange(1, ids.shape[1] + 1, device=ids.device) < lengths[:, None]
        return Targets(self.letters, matches.int().argmax(-1), matches.any(-1) & inside)
