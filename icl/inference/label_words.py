"""Label words read by the plain model: the path for weights that move, filters included."""

import torch
from torch import Tensor

from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import PAD, SEP
from icl.inference.batches import Batch


def word_scores(model: HyenaDNA, batch: Batch, words: Tensor) -> Tensor:
    """Scores of the label words behind each row's [SEP], equal up to a number a row to log p.

    Args:
        model: the model; gradients reach all its weights.
        batch: (B, L) rows without their last [SEP], padded on the right.
        words: (C, W) token ids.

    Returns:
        (B, C): the sum over a word's letters of their conditional log-probabilities.
    """
    if words.shape[1] == 1:
        return _logits(model, batch, words[0, :0])[:, 0, words[:, 0]]
    scores = []
    for word in words:
        letters = _logits(model, batch, word[:-1]).log_softmax(-1)
        said = letters.gather(2, word.expand(len(batch.rows), -1)[..., None])
        scores.append(said.sum(dim=(1, 2)))
    return torch.stack(scores, dim=1)


def _logits(model: HyenaDNA, batch: Batch, spoken: Tensor) -> Tensor:
    """Next-token logits (B, S+1, V) at [SEP] and at each of S spoken letters."""
    sep = torch.full((1,), SEP, device=spoken.device)
    ending = torch.cat([sep, spoken]).expand(len(batch.rows), -1)
    at = batch.lengths[:, None] + torch.arange(ending.shape[1], device=spoken.device)
    room = batch.ids.new_full((len(batch.rows), ending.shape[1]), PAD)
    ids = torch.cat([batch.ids, room], dim=1).scatter(1, at, ending)
    hidden = model.encode(model.embed(ids))
    row = torch.arange(len(at), device=at.device)[:, None]
    return model.logits(hidden[row, at]).float()
