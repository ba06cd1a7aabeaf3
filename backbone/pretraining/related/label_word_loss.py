"""The loss of rows with label words: that of the words, and that of the bases of windows."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from backbone.hyena.model import HyenaDNA
from backbone.letters import at_least_single, log_probabilities
from backbone.pretraining.related.label_words import AROUND, SHOWN


@dataclass(frozen=True)
class LabelWordLoss:
    """Sums over rows, to be divided by what was counted.

    Attributes:
        words: Summed cross-entropy of the words, between the two of each row, in nats.
        bases: Summed negative log-likelihood of the windows' bases, in nats.
        right: Words that were likelier than the other one.
    """

    words: Tensor
    bases: Tensor
    right: Tensor


def label_word_loss(model: HyenaDNA, ids: Tensor, words: Tensor, classes: Tensor) -> LabelWordLoss:
    """Ask for the label word of every window but the first two.

    Args:
        model: Is trained.
        ids: (R, n * (M + 3)) token ids.
        words: (R, 2) the word of each class.
        classes: (R, n) the class of each window.
    """
    rows, windows = classes.shape
    hidden = model.encode(model.embed(ids))
    each = log_probabilities(model, hidden[:, :-1], ids[:, 1:])
    # Position i of `each` is the base at i + 1; words are letters too, and do not count here.
    likelihoods = F.pad(each, (1, 0)).view(rows, windows, -1)[..., :-AROUND]
    at_separators = hidden.unflatten(1, (windows, -1))[:, SHOWN:, -AROUND]
    logits = at_least_single(model.logits(at_separators))
    pair = logits.gather(2, words[:, None].expand(-1, windows - SHOWN, -1))
    asked = classes[:, SHOWN:]
    return LabelWordLoss(
        F.cross_entropy(pair.flatten(0, 1), asked.flatten(), reduction="sum"),
        -likelihoods.sum(),
        (pair.argmax(-1) == asked).sum(),
    )
