"""Label words scored by the plain model, for weights that are tuned, filters included."""

import torch
from torch import Tensor

from backbone.protocol import LanguageModel
from backbone.tokens import PAD, SEP
from icl.inference.batches import Batch


def word_scores(model: LanguageModel, batch: Batch, words: Tensor) -> Tensor:
    """Return scores of the label words after each row's [SEP]: log p, up to a constant per row.

    Args:
        model: The model; gradients reach all its weights.
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
        chosen = letters.gather(2, word.expand(len(batch.rows), -1)[..., None])
        scores.append(chosen.sum(dim=(1, 2)))
    return torch.stack(scores, dim=1)


def _logits(model: LanguageModel, batch: Batch, given: Tensor) -> Tensor:
    """Return next-token logits (B, S+1, V) at [SEP] and after each of S letters of a word."""
    sep = torch.full((1,), SEP, device=given.device)
    ending = torch.cat([sep, given]).expand(len(batch.rows), -1)
    at = batch.lengths[:, None] + torch.arange(ending.shape[1], device=given.device)
    room = batch.ids.new_full((len(batch.rows), ending.shape[1]), PAD)
    ids = torch.cat([batch.ids, room], dim=1).scatter(1, at, ending)
    hidden = model.encode(model.embed(ids))
    row = torch.arange(len(at), device=at.device)[:, None]
    return model.logits(hidden[row, at]).float()
