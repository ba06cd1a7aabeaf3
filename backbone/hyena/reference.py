"""The published operator and model, module by module: what every faster path is tested against.

Source: Poli et al. 2023 (arXiv 2302.10866), section 3 and appendix D.3, as HyenaDNA applies it
(Nguyen et al. 2023, arXiv 2306.15794). The filter is evaluated at every forward pass, transforms
have twice the sequence's length, torch differentiates, and every layer is computed at every
position. It calls the model's modules, so their hooks act, and shares no computation with
`backbone.hyena.operator`, `backbone.hyena.convolution` or `backbone.engine`.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.hooks import call_as
from backbone.hyena.model import Block, HyenaDNA
from backbone.hyena.operator import HyenaFilter, HyenaOperator


def encode(model: HyenaDNA, vectors: Tensor, additions: Tensor | None = None) -> Tensor:
    """Run all layers over vectors (B, L, D); return the final hidden states (B, L, D).

    Args:
        model: The weights.
        vectors: Embedded tokens, or what stands in their place.
        additions: (n_layer - 1, L, D), added to the input of every layer but the first.
    """
    hidden = model.backbone.dropout(vectors)
    for i, layer in enumerate(model.backbone.layers):
        if additions is not None and i > 0:
            hidden = hidden + additions[i - 1]
        hidden = call_as(layer, partial(block, layer), hidden)  # type: ignore[arg-type]
    return model.backbone.ln_f(hidden)


def logits(model: HyenaDNA, ids: Tensor) -> Tensor:
    """Return next-token logits (B, L, V) of token ids (B, L)."""
    return model.logits(encode(model, model.embed(ids)))


def last_logits(model: HyenaDNA, prompt: Tensor, ids: Tensor) -> Tensor:
    """Return next-token logits (B, V) after [prompt ; query].

    Args:
        model: The weights.
        prompt: (P, D), in front of every row.
        ids: (B, L) token ids of the queries.
    """
    queries = model.embed(ids)
    whole = torch.cat([prompt.expand(len(ids), -1, -1), queries], dim=1)
    return model.logits(encode(model, whole)[:, -1])


def block(layer: Block, x: Tensor) -> Tensor:
    """Return x + mixer(norm1 x), then x + mlp(norm2 x), (B, L, D)."""
    mixed = call_as(layer.mixer, partial(operator, layer.mixer), layer.norm1(x))
    x = x + layer.dropout(mixed)
    return x + layer.dropout(layer.mlp(layer.norm2(x)))


def operator(mixer: HyenaOperator, u: Tensor) -> Tensor:
    """Return W_out (x0 * (h conv (x1 * v))) for u (B, L, D), with x0, x1, v short-convolved."""
    projected = F.pad(mixer.in_proj(u).transpose(1, 2), (mixer.past, 0))
    x0, x1, v = mixer.short_filter(projected).chunk(3, dim=1)
    taps = call_as(mixer.filter_fn, partial(long_filter, mixer.filter_fn), u.shape[1])
    y = x0 * fft_convolution(x1 * v, taps)
    return mixer.out_proj(y.transpose(1, 2))


def fft_convolution(signal: Tensor, taps: Tensor) -> Tensor:
    """Convolve (B, D, L) with (D, L), causally: transforms of size 2 L, as precise as the taps."""
    length = signal.shape[-1]
    taps_f = torch.fft.rfft(taps, n=2 * length)
    signal_f = torch.fft.rfft(signal.to(taps.dtype), n=2 * length)
    return torch.fft.irfft(signal_f * taps_f, n=2 * length)[..., :length].to(signal.dtype)


def long_filter(filters: HyenaFilter, length: int) -> Tensor:
    """Return the filter (D, length): a sine MLP of the lag under an exponential window.

    The skip term, which the paper adds as bias * x1 * v, is part of the filter at lag 0.
    """
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
    # Decay reaches 1 % at 1.5 (slowest channel) to 0.3 (fastest) of the context; shift 0.05.
    rates = grid(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, config.d_model).abs()
    taps = taps * (torch.exp(-t * rates) + 0.05)
    return torch.cat([taps[:1] + bias, taps[1:]]).t()
