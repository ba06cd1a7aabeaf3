"""A Transformer of HyenaDNA's width and depth, to measure against: attention in Hyena's place.

Embedding, norms, MLPs and head are those of the model; each block's operator is causal
self-attention (Vaswani et al. 2017) through `scaled_dot_product_attention`, in heads of 64. It has
no encoding of positions, which would only add to its time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.mlp import Mlp

HEAD = 64
"""Width of a head, as in GPT-2."""


class Attention(nn.Module):
    """Causal self-attention over (B, L, D)."""

    def __init__(self, width: int) -> None:
        """Builds the projections; a width below a head's is one head."""
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, u: Tensor) -> Tensor:
        """Mixes (B, L, D) along L, causally; returns (B, L, D)."""
        q, k, v = self.in_proj(u).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Token ids (B, L) to next-token logits (B, L, V)."""

    def __init__(self, config: HyenaDNAConfig, seed: int) -> None:
        """Builds a model of the configuration's width and depth with seeded random weights."""
        super().__init__()
        width, layers = config.d_model, range(config.n_layer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = nn.Embedding(config.padded_vocab_size, width)
            self.mixers = nn.ModuleList(Attention(width) for _ in layers)
            self.mlps = nn.ModuleList(Mlp(width, config.d_inner) for _ in layers)
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * len(layers) + 1))

    def forward(self, ids: Tensor) -> Tensor:
        """Predicts the next token at every position."""
        hidden = self.words(ids)
        for i, (mixer, mlp) in enumerate(zip(self.mixers, self.mlps, strict=True)):
            hidden = hidden + mixer(self.norms[2 * i](hidden))
            hidden = hidden + mlp(self.norms[2 * i + 1](hidden))
        return self.norms[-1](hidden) @ self.words.weight.t()
