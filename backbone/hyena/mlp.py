"""The MLP of a block, and norm and MLP in one step with a cheaper derivative.

Torch's own GELU takes a hyperbolic tangent in the forward pass and another one in the backward
pass; here one exponential gives value and slope. Positions are processed in chunks (see
`backbone.hyena.chunking`); of long inputs only the input itself is kept, and the backward pass
computes a chunk's activations again, without the last product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.hooks import is_plain
from backbone.hyena.chunking import WHOLE, chunks_of

# gelu(x) in its tanh form is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
LINEAR = 2 * (2 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


class Mlp(nn.Module):
    """Position-wise MLP with the tanh form of GELU."""

    def __init__(self, width: int, inner: int) -> None:
        """Build width -> inner -> width."""
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def is_plain_mlp(norm: nn.Module, mlp: nn.Module) -> bool:
    """Return whether the calls of a norm and an MLP may be bypassed."""
    return (
        is_plain(nn.LayerNorm, norm)
        and is_plain(Mlp, mlp)
        and is_plain(nn.Linear, mlp.fc1, mlp.fc2)  # type: ignore[arg-type]
    )


def normed_mlp(x: Tensor, norm: nn.LayerNorm, mlp: Mlp) -> Tensor:
    """Return mlp(norm(x)) for positions x (N, D), bypassing the modules' calls.

    Norm and MLP must be plain (`is_plain_mlp`), and all in one precision.
    """
    fc1, fc2 = mlp.fc1, mlp.fc2
    weights = norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias
    return _NormedMlp.apply(x, norm.eps, *weights)


class _NormedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *weights: Tensor) -> Tensor:
        ctx.eps, keeps = eps, any(ctx.needs_input_grad)
        result, kept = torch.empty_like(x), []
        for start, (chunk,) in chunks_of([x]):
            inside = _inside(chunk, eps, weights, keeps and len(x) <= WHOLE)
            target = result[start : start + len(chunk)]
            torch.addmm(weights[5], inside[3], weights[4].t(), out=target)
            if len(x) <= WHOLE:
                kept += inside
        if keeps:
            ctx.save_for_backward(x, *weights, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: under gradient checkpointing each access unpacks
        x, *weights = saved[:7]
        kept = saved[7:]
        for_x = torch.empty_like(x)
        totals = [torch.zeros_like(weight) for weight in weights]
        shape = weights[0].shape
        for i, (start, (chunk, outer)) in enumerate(chunks_of([x, gradient])):
            inside = kept[5 * i : 5 * i + 5] or _inside(chunk, ctx.eps, weights, True)
            normed, mean, scale, active, slope = inside
            totals[4].addmm_(outer.t(), active)
            totals[5] += outer.sum(0)
            inner = (outer @ weights[4]).mul_(slope)
            totals[2].addmm_(inner.t(), normed)
            totals[3] += inner.sum(0)
            found = torch.ops.aten.native_layer_norm_backward(
                inner @ weights[2], chunk, shape, mean, scale, *weights[:2], [True, True, True]
            )
            for_x[start : start + len(chunk)] = found[0]
            totals[0] += found[1]
            totals[1] += found[2]
        return for_x, None, *totals


def _inside(x: Tensor, eps: float, weights: Any, wanted: bool) -> list[Tensor]:
    """Return a chunk's normed input, mean and scale, its GELU and, if wanted, the GELU's slope."""
    normed, mean, scale = torch.native_layer_norm(x, x.shape[1:], weights[0], weights[1], eps)
    inner = torch.addmm(weights[3], normed, weights[2].t())
    slope = gelu_(inner, wanted)
    return [normed, mean, scale, inner, *([slope] if slope is not None else [])]


def layer_norm(hidden: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Return the norm of (..., D), and mean and reciprocal deviation for `layer_norm_backward`."""
    return torch.native_layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def layer_norm_backward(
    gradient: Tensor, hidden: Tensor, mean: Tensor, scale: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Return the gradient (..., D) of the norm's input."""
    shape, mask = norm.normalized_shape, [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(
        gradient, hidden, shape, mean, scale, norm.weight, norm.bias, mask
    )[0]


def gelu_(x: Tensor, slope: bool) -> Tensor | None:
    """Replace x by gelu(x); return the derivative if it is wanted.

    With a = x (LINEAR + CUBIC x^2) and s = sigmoid(a), gelu is x s and its derivative
    s + s (1 - s) (3 a - 2 LINEAR x): one exponential serves both.
    """
    a = torch.addcmul(x.new_tensor(LINEAR), x, x, value=CUBIC).mul_(x)
    if not slope:
        x.mul_(a.sigmoid_())
        return None
    s = a.sigmoid()
    a.add_(x, alpha=-2 / 3 * LINEAR)
    torch.ops.aten.sigmoid_backward.grad_input(a, s, grad_input=a)
    torch.add(s, a, alpha=3, out=a)
    x.mul_(s)
    return a
