"""The parameters of a channel readout: a prompt per class, and the comparison of scores.

Sources: Min et al. 2022 (arXiv 2108.04106) for prompts tuned under the channel readout; Kang et al.
2025 (arXiv 2503.03499) for offsets of a recurrent model's state.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from backbone.common.streams import stream_seed
from backbone.protocol import LanguageModel
from backbone.tokens import NUCLEOTIDES, encode_dna


class ChannelPrompt(nn.Module):
    """Vectors and state offsets of every class, and a scale and offsets of the scores.

    Attributes:
        vectors: (C, P, D), before the class's demonstrations and the query.
        deep: (layers, C, P, D), added at the same positions to the inputs of later layers.
        state: (C, n_layer, D) or (C, 0, D), added to the output of the long convolutions.
        log_scale: Logarithm of what normalised log-likelihoods are multiplied by.
        offset: (C,), added to the scores.
    """

    def __init__(
        self,
        model: LanguageModel,
        classes: int,
        prompt_tokens: int,
        *,
        init: str = "nucleotides",
        deep_layers: int = 0,
        state_layers: int = 0,
        seed: int = 0,
    ) -> None:
        """Draw the vectors; everything else starts at 0.

        Args:
            model: The backbone that will read the prompt.
            classes: The number C of classes.
            prompt_tokens: Vectors P of each class.
            init: `normal` starts from noise of the embeddings' scale, anything else from the
                embeddings of random nucleotides, the same for all classes.
            deep_layers: Layers above the first that have additions.
            state_layers: Layers whose long convolution has an offset.
            seed: Seed of the draw.
        """
        super().__init__()
        words = model.embed(torch.tensor(NUCLEOTIDES, device=model.device)).detach().cpu()
        generator = torch.Generator("cpu").manual_seed(stream_seed(seed, "channel prompt"))
        width = words.shape[1]
        if init == "normal":
            shape, single = (prompt_tokens, width), torch.float32
            noise = torch.randn(shape, generator=generator, device="cpu", dtype=single)
            start = noise * words.std()
        else:
            start = words[torch.randint(4, (prompt_tokens,), generator=generator, device="cpu")]
        self.vectors = nn.Parameter(start.repeat(classes, 1, 1))
        self.deep = nn.Parameter(words.new_zeros(deep_layers, classes, prompt_tokens, width))
        self.state = nn.Parameter(words.new_zeros(classes, state_layers, width))
        self.log_scale = nn.Parameter(words.new_zeros(()))
        self.offset = nn.Parameter(words.new_zeros(classes))

    @property
    def count(self) -> int:
        """Number of learned parameters."""
        return sum(p.numel() for p in self.parameters())

    @property
    def changes_states(self) -> bool:
        """Whether anything learned precedes the query."""
        return self.vectors.numel() + self.state.numel() > 0

    def start_from_sequences(
        self, model: LanguageModel, sequences: Sequence[Sequence[str]]
    ) -> None:
        """Set the vectors of each class to the embeddings of DNA.

        Args:
            model: The backbone.
            sequences: Rows of every class; each class takes as many bases, from the first row on,
                as it has vectors, and repeats them if there are too few.
        """
        count = self.vectors.shape[1]
        for vectors, rows in zip(self.vectors, sequences, strict=True):
            letters = np.resize(encode_dna("".join(rows)), count)
            embedded = model.embed(torch.from_numpy(letters).to(vectors.device))
            with torch.no_grad():
                vectors.copy_(embedded)

    def stacked(self) -> Tensor:
        """Return the vectors of all classes, (C, P, D)."""
        return self.vectors.detach()

    def with_vectors(self, vectors: Tensor) -> "ChannelPrompt":
        """Return a copy with other vectors (C, P, D); nothing is added in later layers."""
        made = copy.deepcopy(self)
        with torch.no_grad():
            made.vectors.copy_(vectors)
            made.deep.zero_()
        return made

    def keeping(self, places: Sequence[int]) -> "ChannelPrompt":
        """Return a copy in which every class has only some of its vectors, by their places."""
        made = copy.deepcopy(self)
        made.vectors = nn.Parameter(self.vectors.detach()[:, list(places)])
        made.deep = nn.Parameter(self.deep.detach()[:, :, list(places)])
        return made

    def additions(self, label: int) -> Tensor | None:
        """Return what later layers add at a class's vectors, (layers, P, D); None without any."""
        return self.deep[:, label] if self.deep.numel() else None

    def state_offsets(self, label: int) -> Tensor | None:
        """Return a class's state offsets (n_layer, D); None without any."""
        return self.state[label] if self.state.shape[1] else None

    def rescale(self, scale: float, offset: np.ndarray) -> None:
        """Multiply the scores that the prompt gives now by a scale, and add an offset (C,)."""
        with torch.no_grad():
            self.log_scale.add_(float(np.log(scale)))
            self.offset.mul_(scale).add_(torch.from_numpy(offset).to(self.offset))
