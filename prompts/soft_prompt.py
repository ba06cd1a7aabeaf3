"""Learned prompt vectors: what soft prompting trains, and nothing else.

Source: Lester et al. 2021 (arXiv 2104.08691) for vectors in front of the query; Li and Liang 2021
(arXiv 2101.00190) and Liu et al. 2022 (arXiv 2110.07602) for vectors in every layer.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import NUCLEOTIDES

Placement = Literal["before", "after", "split"]
Init = Literal["nucleotides", "normal"]


@dataclass(frozen=True)
class PromptShape:
    """How many vectors stand before and after the query, and in how many further layers."""

    before: int
    after: int
    layers: int

    @classmethod
    def of(cls, prompt_tokens: int, placement: Placement, layers: int) -> "PromptShape":
        """Divides a budget of prompt tokens; `split` gives the odd one to the end."""
        if placement == "split":
            return cls(prompt_tokens // 2, prompt_tokens - prompt_tokens // 2, layers)
        before = prompt_tokens if placement == "before" else 0
        return cls(before, prompt_tokens - before, layers)


class SoftPrompt(nn.Module):
    """Vectors before and after the query, their additions in further layers, offsets per class.

    Attributes:
        before: (P1, D), in front of the query.
        after: (P2, D), behind the query's [SEP].
        deep_before: (layers, P1, D), added at the same positions to the inputs of later layers.
        deep_after: (layers, P2, D), likewise.
        offset: (C,), added to the scores of the label words.
    """

    def __init__(self, model: HyenaDNA, shape: PromptShape, classes: int, init: Init, seed: int):
        """Draws the vectors.

        Args:
            model: the backbone that will read the prompt.
            shape: how many vectors, where.
            classes: the number of classes.
            init: `nucleotides` starts from the embeddings of random A, C, G and T, so that the
                prompt starts out as DNA; `normal` from noise of their scale.
            seed: of the draw.
        """
        super().__init__()
        words = model.get_input_embeddings().weight.detach()[list(NUCLEOTIDES)].cpu()
        generator = torch.Generator().manual_seed(seed)
        tokens = shape.before + shape.after
        if init == "nucleotides":
            vectors = words[torch.randint(4, (tokens,), generator=generator)]
        else:
            noise = torch.randn(tokens, words.shape[1], generator=generator)
            vectors = noise * words.std()
        self.before = nn.Parameter(vectors[: shape.before].clone())
        self.after = nn.Parameter(vectors[shape.before :].clone())
        width = words.shape[1]
        self.deep_before = nn.Parameter(torch.zeros(shape.layers, shape.before, width))
        self.deep_after = nn.Parameter(torch.zeros(shape.layers, shape.after, width))
        self.offset = nn.Parameter(torch.zeros(classes))

    @property
    def count(self) -> int:
        """Numbers that are trained."""
        return sum(p.numel() for p in self.parameters())

    def additions_before(self) -> Tensor | None:
        """What later layers add at the prefix, or None for a prompt of one layer."""
        return self.deep_before if len(self.deep_before) else None

    def additions_after(self) -> Tensor | None:
        """What later layers add at [SEP] (nothing) and at the suffix; None for one layer."""
        if not len(self.deep_after):
            return None
        layers, _, width = self.deep_after.shape
        return torch.cat([self.deep_after.new_zeros(layers, 1, width), self.deep_after], dim=1)
