"""The parameters of a soft prompt: learned vectors around the query, and offsets per class.

Sources: Lester et al. 2021 (arXiv 2104.08691) for vectors in front of the query; Li and Liang 2021
(arXiv 2101.00190) and Liu et al. 2022 (arXiv 2110.07602) for vectors in every layer; Kang et al.
2025 (arXiv 2503.03499) for offsets of a recurrent model's state.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from backbone.common.streams import stream_seed
from backbone.protocol import LanguageModel
from backbone.tokens import NUCLEOTIDES, encode_dna

Placement = Literal["before", "after", "split"]
Init = Literal["nucleotides", "normal"]


@dataclass(frozen=True)
class PromptShape:
    """Vectors before and after the query, further layers with additions, layers with an offset."""

    before: int
    after: int
    layers: int
    state_layers: int = 0

    @classmethod
    def of(
        cls, prompt_tokens: int, placement: Placement, layers: int, state_layers: int = 0
    ) -> "PromptShape":
        """Divide a budget of prompt tokens; `split` gives the odd one to the end."""
        before = {"before": prompt_tokens, "after": 0, "split": prompt_tokens // 2}[placement]
        return cls(before, prompt_tokens - before, layers, state_layers)


class SoftPrompt(nn.Module):
    """Vectors before and after the query, additions in later layers, and offsets per class.

    Attributes:
        before: (P1, D), before the query and its demonstrations.
        after: (P2, D), after the query's [SEP].
        deep_before: (layers, P1, D), added at the same positions to the inputs of later layers.
        deep_after: (layers, P2, D), likewise.
        state: (n_layer, D), added to the output of the long convolutions; None without any.
        offset: (C,), added to the scores of the label words.
    """

    def __init__(
        self, model: LanguageModel, shape: PromptShape, classes: int, init: Init, seed: int
    ):
        """Draw the vectors; additions and all offsets start at 0.

        Args:
            model: The backbone that will read the prompt.
            shape: How many vectors, and where.
            classes: The number of classes.
            init: `nucleotides` starts from the embeddings of random A, C, G and T, so that the
                prompt starts out as DNA; `normal` from noise of their scale.
            seed: Seed of the draw.
        """
        super().__init__()
        words = model.embed(torch.tensor(NUCLEOTIDES, device=model.device)).detach().cpu()
        generator = torch.Generator("cpu").manual_seed(stream_seed(seed, "soft prompt"))
        tokens = shape.before + shape.after
        if init == "nucleotides":
            vectors = words[torch.randint(4, (tokens,), generator=generator, device="cpu")]
        else:
            size, single = (tokens, words.shape[1]), torch.float32
            noise = torch.randn(size, generator=generator, device="cpu", dtype=single)
            vectors = noise * words.std()
        self.before = nn.Parameter(vectors[: shape.before].clone())
        self.after = nn.Parameter(vectors[shape.before :].clone())
        width = words.shape[1]
        self.deep_before = nn.Parameter(words.new_zeros(shape.layers, shape.before, width))
        self.deep_after = nn.Parameter(words.new_zeros(shape.layers, shape.after, width))
        self.state: nn.Parameter | None = None
        if shape.state_layers:
            self.state = nn.Parameter(words.new_zeros(shape.state_layers, width))
        self.offset = nn.Parameter(words.new_zeros(classes))

    @property
    def count(self) -> int:
        """Number of learned parameters."""
        return sum(p.numel() for p in self.parameters())

    def start_from_sequence(self, model: LanguageModel, sequence: str) -> None:
        """Set the vectors to the embeddings of DNA, repeated if it is too short.

        Args:
            model: The backbone.
            sequence: Over ACGTN, at least one letter.
        """
        letters = np.resize(encode_dna(sequence), len(self.before) + len(self.after))
        embedded = model.embed(torch.from_numpy(letters).to(self.before.device))
        with torch.no_grad():
            self.before.copy_(embedded[: len(self.before)])
            self.after.copy_(embedded[len(self.before) :])

    @property
    def changes_queries(self) -> bool:
        """Whether the states of a query depend on what is learned."""
        return len(self.before) > 0 or self.state is not None

    def stacked(self) -> Tensor:
        """Return all vectors in the order in which they are read, (1, P, D)."""
        return torch.cat([self.before, self.after])[None].detach()

    def with_vectors(self, vectors: Tensor) -> "SoftPrompt":
        """Return a copy with other vectors (1, P, D); nothing is added in later layers."""
        made = copy.deepcopy(self)
        with torch.no_grad():
            made.before.copy_(vectors[0, : len(self.before)])
            made.after.copy_(vectors[0, len(self.before) :])
            made.deep_before.zero_()
            made.deep_after.zero_()
        return made

    def keeping(self, places: Sequence[int]) -> "SoftPrompt":
        """Return a copy that has only some vectors, by their places in `stacked`."""
        count = len(self.before)
        before = [place for place in places if place < count]
        after = [place - count for place in places if place >= count]
        made = copy.deepcopy(self)
        made.before = nn.Parameter(self.before.detach()[before])
        made.after = nn.Parameter(self.after.detach()[after])
        made.deep_before = nn.Parameter(self.deep_before.detach()[:, before])
        made.deep_after = nn.Parameter(self.deep_after.detach()[:, after])
        return made

    def set_offset(self, offset: np.ndarray) -> None:
        """Set the offsets to the values of an array (C,)."""
        with torch.no_grad():
            self.offset.copy_(torch.from_numpy(offset))

    def additions_before(self) -> Tensor | None:
        """Return what later layers add at the prefix; None for a prompt of one layer."""
        return self.deep_before if len(self.deep_before) else None

    def additions_after(self) -> Tensor | None:
        """Return what later layers add at [SEP] (zeros) and at the suffix; None for one layer."""
        if not len(self.deep_after):
            return None
        layers, _, width = self.deep_after.shape
        return torch.cat([self.deep_after.new_zeros(layers, 1, width), self.deep_after], dim=1)
