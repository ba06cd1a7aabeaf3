"""Layer norm and the tanh form of GELU with their derivatives, in as few passes as torch allows."""

import torch
from torch import Tensor, nn

# gelu(x) in its tanh form is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
LINEAR = 2 * (2 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


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
