"""The loss of questions about classes: contexts are read once, queries after each of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.hyena.convolution import long_convolution
from backbone.hyena.model import Block, HyenaDNA
from backbone.letters import log_probabilities


@dataclass(frozen=True)
class ContrastLoss:
    """Sums over questions, to be divided by what was counted.

    Attributes:
        classes: Summed cross-entropy of the queries' classes, in nats.
        bases: Summed negative log-likelihood of bases, in nats: those of the contexts, and those of
            each query after the context of its own class.
        right: Queries whose own context made them likelier.
    """

    classes: Tensor
    bases: Tensor
    right: Tensor


def contrast_loss(
    model: HyenaDNA, contexts: Tensor, queries: Tensor, classes: Tensor
) -> ContrastLoss:
    """Ask after which of two contexts a query is likelier.

    The log-likelihoods of a query's bases, summed, are the logits of its class, as Bayes' rule has
    it for classes of one size. The first base of a query does not count.

    Args:
        model: Is trained.
        contexts: (T, 2, N) token ids, the last one [SEP].
        queries: (T, Q, M) token ids.
        classes: (T, Q) the class of each query, 0 or 1.
    """
    tasks, asked, bases = queries.shape
    before = contexts.flatten(0, 1)
    behind = queries[:, None].expand(-1, 2, -1, -1).flatten(0, 1)
    context_states, query_states = read_behind(model, before, behind)
    own = log_probabilities(model, context_states[:, :-1], before[:, 1:])
    each = log_probabilities(
        model, query_states[..., :-1, :].flatten(0, 1), behind[..., 1:].flatten(0, 1)
    )
    scores = each.sum(-1).view(tasks, 2, asked).transpose(1, 2)  # (T, Q, 2)
    picked = scores.gather(2, classes[..., None]).sum()
    return ContrastLoss(
        F.cross_entropy(scores.flatten(0, 1), classes.flatten(), reduction="sum"),
        -own.sum() - picked,
        (scores.argmax(-1) == classes).sum(),
    )


def read_behind(model: HyenaDNA, contexts: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Run a model over contexts, and over several queries after each, differentiably.

    Equal to running it over each context with each query; a context is computed once.

    Args:
        model: The model.
        contexts: (C, N) token ids.
        queries: (C, Q, M) token ids.

    Returns:
        Final hidden states of the contexts (C, N, D) and of the queries (C, Q, M, D).
    """
    shape = queries.shape
    context, query = model.embed(contexts), model.embed(queries.flatten(0, 1))
    for block in model.backbone.layers:
        assert isinstance(block, Block)
        context, query = _block_behind(block, context, query, shape[1])
    final = model.backbone.ln_f
    return final(context), final(query).unflatten(0, shape[:2])


def _block_behind(
    block: Block, context: Tensor, query: Tensor, asked: int
) -> tuple[Tensor, Tensor]:
    """Run one block over contexts (C, N, D) and queries (C * Q, M, D) after them."""
    mixer, length, more = block.mixer, context.shape[1], query.shape[1]
    past = mixer.past
    taps = mixer.filter_fn(length + more)
    front = F.pad(mixer.project(block.norm1(context)), (past, 0))
    outer, signal = mixer.gates(front)
    mixed = long_convolution(signal, taps)
    spill = mixed[..., length:].repeat_interleave(asked, dim=0)
    tail = front[..., front.shape[-1] - past :].repeat_interleave(asked, dim=0)
    outer_behind, behind = mixer.gates(torch.cat([tail, mixer.project(block.norm1(query))], dim=-1))
    own = long_convolution(behind, taps[:, :more])
    context = _leave(block, context, outer * mixed[..., :length])
    return context, _leave(block, query, outer_behind * (own + spill))


def _leave(block: Block, stream: Tensor, gated: Tensor) -> Tensor:
    stream = stream + block.mixer.merge(gated)
    return stream + block.mlp(block.norm2(stream))
