"""Norm and MLP of a block in one step, with a derivative that costs and keeps less.

Torch's own GELU takes a hyperbolic tangent forward and another one backward; here one exponential
gives value and slope. Work goes a piece of positions at a time (see `backbone.hyena.chunking`);
long inputs keep nothing but themselves, and what the backward pass needs of a piece is computed
again there, which leaves out the last product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backbone.hyena.chunking import WHOLE, pieces_of

# gelu(x) in its tanh form is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
LINEAR = 2 * (2 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


class Mlp(nn.Module):
    """Position-wise MLP with the tanh form of GELU."""

    def __init__(self, width: int, inner: int) -> None:
        """Builds width -> inner -> width."""
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def serves(x: Tensor, norm: nn.LayerNorm, *products: nn.Module) -> bool:
    """Whether inputs and modules are plain, on a CPU and in one precision."""
    return (
        x.device.type == "cpu"
        and x.dtype == norm.weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and all(type(product) is nn.Linear for product in products)
    )


def normed_mlp(x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
    """Returns fc2(gelu(fc1(norm(x)))) for x (N, D), GELU in its tanh form; see `serves`."""
    weights = norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias
    return _NormedMlp.apply(x, norm.eps, *weights)


class _NormedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, *weights: Tensor) -> Tensor:
        ctx.eps, keeps = eps, any(ctx.needs_input_grad)
        result, kept = torch.empty_like(x), []
        for start, (piece,) in pieces_of([x]):
            inside = _inside(piece, eps, weights, keeps and len(x) <= WHOLE)
            target = result[start : start + len(piece)]
            torch.addmm(weights[5], inside[3], weights[4].t(), out=target)
            if len(x) <= WHOLE:
                kept += inside
        if keeps:
            ctx.save_for_backward(x, *weights, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: under gradient checkpointing each look unpacks
        x, *weights = saved[:7]
        kept = saved[7:]
        for_x = torch.empty_like(x)
        totals = [torch.zeros_like(weight) for weight in weights]
        shape = weights[0].shape
        for i, (start, (piece, outer)) in enumerate(pieces_of([x, gradient])):
            inside = kept[5 * i : 5 * i + 5] or _inside(piece, ctx.eps, weights, True)
            normed, mean, scale, active, slope = inside
            totals[4].addmm_(outer.t(), active)
            totals[5] += outer.sum(0)
            inner = (outer @ weights[4]).mul_(slope)
            totals[2].addmm_(inner.t(), normed)
            totals[3] += inner.sum(0)
            found = torch.ops.aten.native_layer_norm_backward(
                inner @ weights[2], piece, shape, mean, scale, *weights[:2], [True, True, True]
            )
            for_x[start : start + len(piece)] = found[0]
            totals[0] += found[1]
            totals[1] += found[2]
        return for_x, None, *totals


def _inside(x: Tensor, eps: float, weights: Any, wanted: bool) -> list[Tensor]:
    """Returns a piece's normed input, mean and scale, and its GELU with, if wanted, the slope."""
    normed, mean, scale = torch.native_layer_norm(x, x.shape[1:], weights[0], weights[1], eps)
    inner = torch.addmm(weights[3], normed, weights[2].t())
    slope = gelu_(inner, wanted)
    return [normed, mean, scale, inner, *([slope] if slope is not None else [])]


def normed(hidden: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the norm of (..., D), and mean and reciprocal deviation for `norm_backward`."""
    return torch.native_layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def norm_backward(
    gradient: Tensor, hidden: Tensor, mean: Tensor, scale: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Returns the gradient (..., D) of what was normed."""
    shape, mask = norm.normalized_shape, [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(
        gradient, hidden, shape, mean, scale, norm.weight, norm.bias, mask
    )[0]


def gelu_(x: Tensor, slope: bool) -> Tensor | None:
    """Replaces x by gelu(x); returns the derivative if it is wanted.

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
