"""How likely are letters after the last layer of a plain frozen model, and the derivative at once.

A sum of log-probabilities has one cotangent for each row, so its derivative with respect to the
hidden states is computed together with its value, a chunk of positions at a time, while the chunk's
activations are in the cache; the backward pass only scales it. Positions that are not read cost
nothing from the output projection on.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.hyena.mlp import gelu_, layer_norm, layer_norm_backward
from backbone.hyena.model import Block
from backbone.protocol import Targets

CHUNK = 1024
"""Positions at a time: their inner activations fit a core's cache."""


class LetterLikelihood(torch.autograd.Function):
    """Stream (B, L, D) and gated signal (B, D, L) of the last layer to log-likelihoods (B,)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        gated: Tensor,
        block: Block,
        norm: nn.LayerNorm,
        head: Tensor,
        targets: Targets,
    ) -> Tensor:
        """Return the sum of log P(letter) over each row's counted positions.

        Args:
            ctx: Receives what the backward pass needs.
            hidden: The residual stream before the block.
            gated: What the block's operator gives before its output projection.
            block: The last block, plain and frozen.
            norm: The norm after it.
            head: (K, D), the head's rows of the letters.
            targets: Letters and positions.
        """
        out, width = block.mixer.out_proj, hidden.shape[2]
        weight = out.weight.t().expand(len(hidden), -1, -1)
        stream = torch.baddbmm(hidden, gated.transpose(1, 2), weight).view(-1, width)
        wanted = any(ctx.needs_input_grad)
        back = torch.zeros_like(stream) if wanted else None
        terms = stream.new_zeros(len(stream))
        index = targets.index.flatten()
        for where in targets.counted.flatten().nonzero()[:, 0].split(CHUNK):
            chunk = stream[where].add_(out.bias)
            terms[where], slope = _likelihood(chunk, block, norm, head, index[where], wanted)
            if back is not None and slope is not None:
                back[where] = slope
        if back is not None:
            ctx.save_for_backward(back.view_as(hidden))
        ctx.weight = out.weight
        return terms.view(hidden.shape[:2]).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of stream and gated signal."""
        back = ctx.saved_tensors[0] * gradient[:, None, None]
        weight = ctx.weight.t().expand(len(back), -1, -1)
        return back, torch.bmm(weight, back.transpose(1, 2)), None, None, None, None


def _likelihood(
    stream: Tensor, block: Block, norm: nn.LayerNorm, head: Tensor, index: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Run the MLP and the head at positions (N, D).

    Returns:
        log P(letter) (N,), and its derivative with respect to the stream (N, D) if it is wanted.
    """
    mlp = block.mlp
    signal, mean, scale = layer_norm(stream, block.norm2)
    inner = torch.addmm(mlp.fc1.bias, signal, mlp.fc1.weight.t())
    slope = gelu_(inner, wanted)
    final = torch.addmm(stream, inner, mlp.fc2.weight.t()).add_(mlp.fc2.bias)
    normed, final_mean, final_scale = layer_norm(final, norm)
    log_p = (normed @ head.t()).log_softmax(-1)
    found = log_p.gather(1, index[:, None])
    if slope is None:
        return found[:, 0], None
    rest = log_p.exp().neg_().scatter_add_(1, index[:, None], torch.ones_like(found))
    outer = layer_norm_backward(rest @ head, final, final_mean, final_scale, norm)
    inner = (outer @ mlp.fc2.weight).mul_(slope) @ mlp.fc1.weight
    return found[:, 0], layer_norm_backward(inner, stream, mean, scale, block.norm2).add_(outer)
