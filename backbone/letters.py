"""The likelihood of bases, read off hidden states, over A, C, G and T."""

import torch
from torch import Tensor

from backbone.protocol import BaseState, Branches, LanguageModel, Targets
from backbone.tokens import NUCLEOTIDES

LETTERS = torch.tensor(NUCLEOTIDES, device="cpu")


def log_probabilities(model: LanguageModel, hidden: Tensor, following: Tensor) -> Tensor:
    """Return the natural log-probability (B, L) of the base after each position.

    Probabilities are normalised over A, C, G and T. Other tokens, N among them, are no targets and
    have 0 in their place.

    Args:
        model: The backbone.
        hidden: (B, L, D) final hidden states.
        following: (B, L) the token ids after these positions.
    """
    letters = LETTERS.to(following.device)
    matches = following[..., None] == letters
    logits = at_least_single(model.letter_logits(hidden, letters))
    found = logits.log_softmax(-1).gather(-1, matches.int().argmax(dim=-1)[..., None])[..., 0]
    return found * matches.any(dim=-1)


def at_least_single(values: Tensor) -> Tensor:
    """Return half-precision values as float32; others unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def target_likelihoods(logits: Tensor, targets: Targets) -> Tensor:
    """Return the summed log-likelihoods (B,) of targets under logits (B, L, K) of their letters."""
    log_p = at_least_single(logits).log_softmax(-1)
    terms = log_p.gather(2, targets.index[..., None])[..., 0]
    return (terms * targets.counted).sum(dim=1)


def is_base(ids: Tensor) -> Tensor:
    """Return which token ids are A, C, G or T."""
    return torch.isin(ids, LETTERS.to(ids.device))


def branch_log_probabilities(
    model: LanguageModel, base: BaseState, branches: Branches, hidden: Tensor
) -> Tensor:
    """Return the log-probability (N, M) of every base of branches, as `log_probabilities`.

    That of a branch's first base is read off its base sequence, and is 0 at position 0, before
    which nothing of the sequence stands.

    Args:
        model: The backbone.
        base: The base sequences, with hidden states from the branches' start - 1 on at the least.
        branches: N branches with one start.
        hidden: (N, M, D) their final hidden states.
    """
    before = int(branches.starts[0]) - 1 - base.first
    rest = log_probabilities(model, hidden[:, :-1], branches.ids[:, 1:])
    if before < 0:
        return torch.cat([rest.new_zeros(len(rest), 1), rest], dim=1)
    first = base.hidden[branches.rows, before][:, None]
    return torch.cat([log_probabilities(model, first, branches.ids[:, :1]), rest], dim=1)
