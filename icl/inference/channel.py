"""The channel readout: how likely does what stands for a class make the query?

Direct prompting asks P(label word | demonstrations, query) at one position. The channel readout (Min
et al. 2022, ACL, "Noisy channel language model prompting", arXiv 2108.04106) turns the question
round: what stands for a class, a learned prompt or its demonstrations, is put in front of the
query, and the class's score is the likelihood of the query behind it,

    s_c = sum over positions t of log P(x_t | class context c, x_1 ... x_{t-1}),

with P normalised over A, C, G and T. By Bayes' rule s_c + log P(c) is the log-posterior up to a
constant that all classes share.

Which bases count: every A, C, G and T but the first. The first base would be predicted at the
last position of the context, which differs between kinds of contexts (a vector, a separator, a
base) in ways that say nothing about the query. N is never a target.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from backbone.engine.prefix import LayerState, PrefixEngine, PrefixState
from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import encode_dna

NORMALISATIONS = ("sqrt", "base", "sum")
"""By what the summed log-likelihood is divided: the square root of the counted bases, them, or 1."""


class ChannelReader:
    """Reads the likelihood of queries behind the context of each class."""

    def __init__(self, model: HyenaDNA, engine: PrefixEngine | None = None) -> None:
        """Keep the frozen model.

        Args:
            model: The backbone.
            engine: An engine over the same model, to share its cached filters.
        """
        self.model, self.engine = model, engine or PrefixEngine(model)
        self.letters = torch.from_numpy(encode_dna("ACGT")).long().to(model.device)

    def context(
        self,
        parts: Sequence[Tensor],
        room: int,
        *,
        state_offsets: Tensor | None = None,
        additions: Tensor | None = None,
    ) -> PrefixState | None:
        """Encode what stands for one class.

        Args:
            parts: In their order, token ids (S,) or vectors (P, D); empty ones are skipped.
            room: Positions that may follow.
            state_offsets: (n_layer, D), added to the output of every layer's long convolution, at
                every position of the context and of what follows (State-offset Tuning, Kang et al.
                2025, arXiv 2503.03499).
            additions: (n_layer - 1, P, D), added to the inputs of the layers above the first at the
                positions of the first part (deep prompts).

        Returns:
            The state behind the context, shared by all rows; None for an empty context.

        Raises:
            InputError: If the context and the room exceed the model's max_seq_len.
        """
        parts = [part for part in parts if len(part)]
        room_behind = room + sum(map(len, parts))
        state = None if state_offsets is None else self._offset_state(state_offsets, room_behind)
        for i, part in enumerate(parts):
            room_behind -= len(part)
            state = self.engine.extend(
                state, part[None], room_behind, additions=additions if i == 0 else None
            )
        return state

    def log_likelihood(
        self, contexts: Sequence[PrefixState | None], ids: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return the summed log-likelihood (B, C) of queries behind each class's context.

        Args:
            contexts: One for each of the C classes, with room for L positions.
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).
        """
        counted, index = self.targets(ids, lengths)
        scores = []
        for context in contexts:
            hidden = self.engine.encode(context, ids)[:, :-1]
            logits = hidden @ self.model.lm_head.weight[self.letters].t()
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            at_targets = logits.log_softmax(-1).gather(2, index[..., None])[..., 0]
            scores.append((at_targets * counted).sum(dim=1))
        return torch.stack(scores, dim=1)

    def targets(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return which bases count, and which letter each is.

        Args:
            ids: (B, L) token ids, padded on the right.
            lengths: (B,).

        Returns:
            (B, L - 1) booleans for the positions behind the first, and their letters' indices in
            A, C, G, T (0 where the position does not count).
        """
        matches = ids[:, 1:, None] == self.letters
        inside = torch.arange(1, ids.shape[1], device=ids.device) < lengths[:, None]
        return matches.any(dim=-1) & inside, matches.int().argmax(dim=-1)

    def _offset_state(self, offsets: Tensor, room: int) -> PrefixState:
        """Return an empty context that adds the offsets to every long convolution behind it.

        A context reaches later positions as an addend to the long convolution's output, its spill;
        a constant addend is a state offset, in values and in gradients.
        """
        blocks, width = self.model.backbone.layers, self.model.config.d_model
        layers = [
            LayerState(
                offset.new_zeros(1, 3 * width, block.mixer.past),  # type: ignore[union-attr,arg-type]
                offset[None, :, None].expand(1, width, room),
            )
            for block, offset in zip(blocks, offsets, strict=True)
        ]
        return PrefixState(tuple(layers), 0, room)


def normalise(log_likelihood: Tensor, bases: Tensor, normalisation: str) -> Tensor:
    """Divide summed log-likelihoods (B, C) by what the number of counted bases (B,) gives.

    With `sum` the scores of long rows are far more certain than those of short ones; `base` makes
    all rows alike, and `sqrt` lies between: the deviation of a sum of n independent terms grows
    with the square root of n.
    """
    bases = bases.clamp(min=1).to(log_likelihood.dtype)[:, None]
    return log_likelihood / {"sum": torch.ones_like(bases), "base": bases}.get(
        normalisation, bases.sqrt()
    )
