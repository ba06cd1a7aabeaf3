"""A frozen backbone in context: [before ; shown ; sequence ; SEP ; after] -> class scores."""

import torch
from torch import Tensor

from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import SEP
from icl.inference.batches import Batch
from prompts.soft_prompt import SoftPrompt
from prompts.verbalizer import Verbalizer


class Prompted:
    """Scores classes by their label words, after a query or over its positions."""

    def __init__(self, model: HyenaDNA, verbalizer: Verbalizer) -> None:
        """Holds the frozen model and the label words."""
        self.model, self.verbalizer = model, verbalizer
        self.engine = PrefixEngine(model)
        self.words = verbalizer.ids.to(model.device)

    def room_after(self, prompt: SoftPrompt) -> int:
        """Positions that follow the sequence: [SEP], the suffix, and all but the answer's last."""
        return 1 + len(prompt.after) + self.verbalizer.length - 1

    def prefix(self, prompt: SoftPrompt, shown: Tensor, room: int) -> PrefixState | None:
        """Encodes what all rows share: the vectors in front, then demonstrations.

        Args:
            prompt: whose vectors stand in front.
            shown: (S,) token ids of the demonstrations.
            room: how many positions may follow.

        Returns:
            One state for all rows; None if they share nothing.
        """
        state = None
        if len(prompt.before):
            state = self.engine.extend(
                None,
                prompt.before[None],
                len(shown) + room,
                additions=prompt.additions_before(),
            )
        if len(shown):
            state = self.engine.extend(state, shown[None], room)
        return state

    def contexts(self, prompt: SoftPrompt, batch: Batch, prefix: PrefixState | None) -> PrefixState:
        """Encodes the sequences of a batch; they do not depend on what comes after them."""
        room = self.room_after(prompt)
        return self.engine.extend(prefix, batch.ids, room, lengths=batch.lengths)

    def answer(self, prompt: SoftPrompt, contexts: PrefixState) -> tuple[Tensor, Tensor]:
        """Scores the label words behind [SEP] and the suffix.

        Returns:
            Class scores (B, C), the offset included, and next-token logits (B, V) at the answer.
        """
        rows = len(contexts.layers[0].tail)
        sep = self.model.embed(torch.full((1,), SEP, device=prompt.after.device))
        segment = torch.cat([sep, prompt.after]).expand(rows, -1, -1)
        additions = prompt.additions_after()
        hidden = self.engine.encode_last(contexts, segment, additions=additions)
        logits = _at_least_single(self.model.logits(hidden))
        if self.verbalizer.length == 1:
            return logits[:, self.words[:, 0]] + prompt.offset, logits
        ended = self.engine.extend(
            contexts, segment, self.verbalizer.length - 1, additions=additions
        )
        likely = self._words_after(ended, logits.log_softmax(-1))
        return likely + prompt.offset, logits

    def _words_after(self, ended: PrefixState, first: Tensor) -> Tensor:
        """Log-probabilities of whole words (B, C): the product of their letters' conditionals."""
        scores = []
        for word in self.words:
            vectors = self.model.embed(word[:-1]).expand(len(first), -1, -1)
            logits = self.model.logits(self.engine.encode(ended, vectors))
            later = _at_least_single(logits).log_softmax(-1)
            letters = later.gather(2, word[1:].expand(len(first), -1)[..., None])
            scores.append(first[:, word[0]] + letters.sum(dim=(1, 2)))
        return torch.stack(scores, dim=1)

    def over_query(
        self, prompt: SoftPrompt, batch: Batch, prefix: PrefixState | None
    ) -> tuple[Tensor, Tensor]:
        """Scores the label words on the mean over the query's positions.

        Returns:
            Class scores (B, C), the offset included, and the mean next-token logits (B, V).
        """
        hidden = self.engine.encode(prefix, batch.ids)
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        logits = _at_least_single(self.model.logits(mean))
        return logits[:, self.words[:, 0]] + prompt.offset, logits


def _at_least_single(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; others as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
