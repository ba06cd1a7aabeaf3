"""The small convolutional network of the Genomic Benchmarks, trained from scratch.

Gresova et al. 2023 (BMC Genomic Data 24:25) give it as the baseline of their sets: nucleotides are
embedded, three blocks of convolution, batch normalisation, ReLU and max pooling follow, then two
dense layers and the output, one neuron for two classes. It reads the given strand alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream, stream_seed
from backbone.sequence.dna import DNA
from icl.method import Method, MethodConfig, method
from icl.tuning.loop import Step, TuningConfig, tune
from tasks.kinds import TASK_KINDS
from tasks.task import Example

EMBEDDING = 100
CHANNELS = (16, 8, 4)
WIDTH = 8
POOL = 2
HIDDEN = 512

SHORTEST = 57
"""Least letters of which the three blocks leave one position; shorter rows are padded to it."""

PAD = len(DNA.letters)


@dataclass
class CNNConfig(MethodConfig, TuningConfig):
    """How the network is trained."""

    lr: float = option(1e-3, "peak learning rate", above=0)


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


@method("cnn", config=CNNConfig, uses_backbone=False, version=2)
class CNN(Method[CNNConfig]):
    """The small convolutional network of the Genomic Benchmarks, trained on the CPU."""

    _network: Network
    _length: int

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Train on `train`; the epoch with the least loss on `val` is kept.

        Rows are padded on the right to the longest row of both. The statistics of batch
        normalisation are recomputed from all training rows before each validation, so that they are
        a function of the weights (Wu and Johnson 2021, arXiv 2105.07576, section 3).
        """
        self._length = max(SHORTEST, *(len(e.sequence) for e in (*train, *val)))
        self._network = self._initial()
        letters, labels = self._letters(train), torch.tensor([e.label for e in train])
        held_out = np.array([e.label for e in val])
        cuts = max(1, len(train) // self.config.rows)

        def batches(epoch: int) -> Iterator[Step]:
            generator = stream(self.context.seed, "tuning steps", epoch)
            # Batches of nearly one size: a lone row would be a poor sample to normalise by.
            for rows in np.array_split(generator.permutation(len(train)), cuts):
                yield Step(len(rows), partial(self._loss, letters[rows], labels[rows]))

        def judge() -> tuple[float, float]:
            self._normalise_by(letters)
            scores = self.scores(val)
            self._network.train()
            return TASK_KINDS["classes"].validate(scores, held_out)

        best = tune(
            self._network.train(),
            batches,
            validate=judge,
            config=self.config,
            on_epoch=self.context.progress,
            folder=self.context.run_dir,
        )
        self._normalise_by(letters)
        self.validation = {"accuracy": best.accuracy, "loss": best.loss, "epoch": best.epoch}

    @torch.no_grad()
    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, (N, C).

        Each row is scored alone: the last digits of a product depend on how many rows it has. A row
        longer than those of `fit` is cut to its middle.
        """
        self._network.eval()
        rows = [self._network(letters[None]) for letters in self._letters(examples)]
        return torch.cat(rows).double().log_softmax(-1).numpy()

    def relaxed_scores(self, letters: Tensor) -> Tensor:
        """See `Method.relaxed_scores`."""
        self._network.eval()
        start = max(0, len(letters) - self._length) // 2
        shares = letters[start : start + self._length]
        padded = F.pad(shares, (0, 0, 0, self._length - len(shares)))
        return self._network(padded[None])[0].double().log_softmax(-1)

    @property
    def trainable_parameters(self) -> int:
        """Count all weights of the network."""
        return sum(p.numel() for p in self._network.parameters())

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, statistics of the batch normalisation, and the padded length."""
        arrays = {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}
        return arrays | {"length": np.array(self._length)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over a trained network."""
        if "length" not in state:
            raise InputError("the learned state has no array length")
        self._length = int(state["length"])
        self._network = self._initial()
        wanted = {name: tuple(t.shape) for name, t in self._network.state_dict().items()}
        given = {name: array.shape for name, array in state.items() if name != "length"}
        if wanted != given:
            raise InputError(f"the learned network has shapes {given}, the task requires {wanted}")
        self._network.load_state_dict({n: torch.from_numpy(state[n].copy()) for n in wanted})

    def _initial(self) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.context.seed, "cnn"))
            return Network(self._length, len(self.context.labels))

    def _loss(self, letters: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self._network(letters), labels)

    @torch.no_grad()
    def _normalise_by(self, letters: Tensor) -> None:
        """Set the statistics of the batch normalisation to those of these rows."""
        for norm in self._network.norms:
            assert isinstance(norm, nn.BatchNorm1d)
            norm.reset_running_stats()
        self._network.train()
        for rows in np.array_split(np.arange(len(letters)), max(1, len(letters) // 256)):
            self._network(letters[rows])

    def _letters(self, examples: Sequence[Example]) -> Tensor:
        """Return rows as letters (N, L), padded on the right or cut to their middle."""
        letters = np.full((len(examples), self._length), PAD, dtype=np.int64)
        for row, example in zip(letters, examples, strict=True):
            start = max(0, len(example.sequence) - self._length) // 2
            text = example.sequence[start : start + self._length].encode("ascii")
            row[: len(text)] = DNA.codes[np.frombuffer(text, dtype=np.uint8)]
        return torch.from_numpy(letters)
