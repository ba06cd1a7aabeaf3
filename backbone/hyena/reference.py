"""The plain path: HyenaDNA's forward pass transcribed as published, over whole sequences.

Source: Poli et al. 2023 (arXiv 2302.10866), section 3 and appendix D.3, as HyenaDNA applies it
(Nguyen et al. 2023, arXiv 2306.15794). The filter is evaluated at every forward pass, transforms
have twice the sequence's length, torch differentiates, and every layer is computed at every
position. It is what the prefix engine is measured against; it shares the model's weights and none
of the operator's code.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.hyena.model import Block, HyenaDNA
from backbone.hyena.operator import FAST, SHIFT, SLOW, TARGET, HyenaFilter, HyenaOperator


def encode(model: HyenaDNA, vectors: Tensor) -> Tensor:
    """Runs all layers over vectors (B, L, D); returns the final hidden states (B, L, D)."""
    hidden = vectors
    for block in model.backbone.layers:
        assert isinstance(block, Block)
        hidden = hidden + operator(block.mixer, block.norm1(hidden))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return model.backbone.ln_f(hidden)


def last_logits(model: HyenaDNA, prompt: Tensor, ids: Tensor) -> Tensor:
    """Returns next-token logits (B, V) after [prompt ; query].

    Args:
        model: the weights.
        prompt: (P, D), put in front of every row.
        ids: (B, L) token ids of the queries.
    """
    queries = model.embed(ids)
    whole = torch.cat([prompt.expand(len(ids), -1, -1), queries], dim=1)
    return model.logits(encode(model, whole)[:, -1])


def operator(mixer: HyenaOperator, u: Tensor) -> Tensor:
    """Hyena of order 2 over (B, L, D): y = W_out (x0 * (h conv (x1 * v) + bias * x1 * v))."""
    length = u.shape[1]
    projected = mixer.in_proj(u).transpose(1, 2)
    short = mixer.short_filter
    past = short.kernel_size[0] - 1
    mixed = F.conv1d(projected, short.weight, short.bias, padding=past, groups=short.groups)
    x0, x1, v = mixed[..., :length].chunk(3, dim=1)
    gated = v * x1
    taps = implicit_filter(mixer.filter_fn, length)
    y = x0 * (fft_convolution(gated, taps) + gated * mixer.filter_fn.bias[:, None])
    return mixer.out_proj(y.transpose(1, 2))


def fft_convolution(signal: Tensor, taps: Tensor) -> Tensor:
    """Convolves (B, D, L) with (D, L), causally, in transforms of size 2 L."""
    length = signal.shape[-1]
    taps_f = torch.fft.rfft(taps, n=2 * length)
    signal_f = torch.fft.rfft(signal, n=2 * length)
    return torch.fft.irfft(signal_f * taps_f, n=2 * length)[..., :length]


def implicit_filter(filters: HyenaFilter, length: int) -> Tensor:
    """Evaluates the sine MLP under its exponential window at lags 0 .. length-1; (D, length)."""
    config, bias = filters.config, filters.bias
    n, bands = config.max_seq_len, (config.emb_dim - 1) // 2

    def grid(start: float, end: float, steps: int) -> Tensor:
        return torch.linspace(start, end, steps, dtype=bias.dtype, device=bias.device)

    t = grid(0, 1, n)[:length, None]
    angle = 2 * math.pi * grid(0, n - 1, n)[:length, None] / n
    phase = grid(1e-4, bands - 1, bands) * angle
    hidden = torch.cat([t, torch.cos(phase), -torch.sin(phase)], dim=1)
    layers, inner = filters.implicit_filter, config.num_inner_mlps
    for i in range(inner + 1):
        hidden = layers["1"](layers[str(2 * i)](hidden))
    taps = layers[str(2 * inner + 2)](hidden)
    rates = grid(math.log(TARGET) / SLOW, math.log(TARGET) / FAST, config.d_model).abs()
    return (taps * (torch.exp(-t * rates) + SHIFT)).t()
