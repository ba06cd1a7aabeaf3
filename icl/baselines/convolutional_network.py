"""The convolutional network of the Genomic Benchmarks (Gresova et al. 2023).

Nucleotides are embedded, three blocks of convolution, batch normalisation, ReLU and max pooling
follow, then two dense layers and the output, one neuron for two classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.common.streams import stream_seed
from backbone.sequence.dna import DNA

EMBEDDING = 100
CHANNELS = (16, 8, 4)
WIDTH = 8
POOL = 2
HIDDEN = 512

SHORTEST = 57
"""Least letters of which the three blocks leave one position; shorter rows are padded to it."""

PAD = len(DNA.letters)


class Network(nn.Module):
    """Letters (B, L) -> class scores (B, C).

    Args:
        length: L; every row is padded to it.
        classes: C.
    """

    def __init__(self, length: int, classes: int) -> None:
        """Build the layers with PyTorch's initial values."""
        super().__init__()
        self.embedding = nn.Embedding(PAD, EMBEDDING)  # padding is a vector of zeros
        inputs = (EMBEDDING, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n, m, WIDTH) for n, m in zip(inputs[:-1], CHANNELS, strict=True)
        )
        # Without momentum the statistics are means over all batches since they were reset.
        self.norms = nn.ModuleList(nn.BatchNorm1d(n, momentum=None) for n in CHANNELS)
        for _ in CHANNELS:
            length = (length - WIDTH + 1) // POOL
        self.dense = nn.Linear(length * CHANNELS[-1], HIDDEN)
        self.output = nn.Linear(HIDDEN, 1 if classes == 2 else classes)

    def forward(self, letters: Tensor) -> Tensor:
        """Return class scores (B, C) of letters (B, L), or of their shares (B, L, 5) if relaxed.

        For two classes those of the first are 0.
        """
        hidden: Tensor | None = None
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            convolved = self._first(letters) if hidden is None else convolution(hidden)
            hidden = F.max_pool1d(F.relu(norm(convolved)), POOL)
        assert hidden is not None
        scores = self.output(self.dense(hidden.flatten(1)))
        return F.pad(scores, (1, 0)) if scores.shape[1] == 1 else scores

    def _first(self, letters: Tensor) -> Tensor:
        """Return the convolution of embedded letters, (B, 16, L - 7).

        It is computed on one-hot letters with the product of both weights, at a twentieth of the
        work.
        """
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv1d)
        weight = torch.einsum("oek,ae->oak", first.weight, self.embedding.weight)
        shares = F.one_hot(letters, PAD + 1)[..., :PAD] if letters.dim() == 2 else letters
        return F.conv1d(shares.transpose(1, 2).to(weight.dtype), weight, first.bias)

    @torch.no_grad()
    def normalise_by(self, letters: Tensor) -> None:
        """Set the statistics of the batch normalisation to those of these rows (N, L)."""
        for norm in self.norms:
            assert isinstance(norm, nn.BatchNorm1d)
            norm.reset_running_stats()
        self.train()
        for rows in np.array_split(np.arange(len(letters)), max(1, len(letters) // 256)):
            self(letters[rows])

    @torch.no_grad()
    def log_probabilities(self, letters: Tensor) -> np.ndarray:
        """Return log-probabilities over the classes, (N, C) float64, for rows (N, L).

        Each row is scored alone: the last digits of a product depend on how many rows it has.
        """
        self.eval()
        scores = torch.cat([self(row[None]) for row in letters])
        return scores.double().log_softmax(-1).numpy()


def initial_network(length: int, classes: int, seed: int) -> Network:
    """Return a network with the initial values of a run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "cnn"))
        return Network(length, classes)


def as_letters(sequences: Sequence[str], length: int) -> Tensor:
    """Return sequences as letters (N, L), padded on the right or cut to their middle."""
    letters = np.full((len(sequences), length), PAD, dtype=np.int64)
    for row, sequence in zip(letters, sequences, strict=True):
        start = max(0, len(sequence) - length) // 2
        text = sequence[start : start + length].encode("ascii")
        row[: len(text)] = DNA.codes[np.frombuffer(text, dtype=np.uint8)]
    return torch.from_numpy(letters)
