"""The small convolutional network of the Genomic Benchmarks, trained from scratch.

Gresova et al. 2023 (BMC Genomic Data 24:25) give it as the baseline of their sets
(`icl.baselines.convolutional_network`). It reads the given strand alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.method import Method, MethodConfig, method
from icl.tuning.config import TuningConfig
from tasks.kinds import TASK_KINDS
from tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor

    from icl.baselines.convolutional_network import Network


@dataclass
class CNNConfig(MethodConfig, TuningConfig):
    """How the network is trained."""

    lr: float = option(1e-3, "peak learning rate", above=0)


@method("cnn", config=CNNConfig, uses_backbone=False, version=2)
class CNN(Method[CNNConfig]):
    """The small convolutional network of the Genomic Benchmarks, trained on the CPU."""

    _network: "Network"
    _length: int

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Train on `train`; the epoch with the least loss on `val` is kept.

        Rows are padded on the right to the longest row of both. The statistics of batch
        normalisation are recomputed from all training rows before each validation, so that they are
        a function of the weights (Wu and Johnson 2021, arXiv 2105.07576, section 3).
        """
        import torch
        import torch.nn.functional as F

        from icl.baselines.convolutional_network import SHORTEST
        from icl.tuning.loop import Step, tune

        self._length = max(SHORTEST, *(len(e.sequence) for e in (*train, *val)))
        self._network = network = self._initial()
        letters = self._letters(train)
        labels = torch.tensor([e.label for e in train], device=letters.device)
        held_out = np.array([e.label for e in val])
        cuts = max(1, len(train) // self.config.rows)

        def loss(rows: np.ndarray) -> "Tensor":
            return F.cross_entropy(network(letters[rows]), labels[rows])

        def batches(epoch: int) -> Iterator[Step]:
            generator = stream(self.context.seed, "tuning steps", epoch)
            # Batches of nearly one size: a lone row would be a poor sample to normalise by.
            for rows in np.array_split(generator.permutation(len(train)), cuts):
                yield Step(len(rows), partial(loss, rows))

        def judge() -> tuple[float, float]:
            network.normalise_by(letters)
            scores = self.scores(val)
            network.train()
            return TASK_KINDS["classes"].validate(scores, held_out)

        best = tune(
            network.train(),
            batches,
            validate=judge,
            config=self.config,
            on_epoch=self.context.progress,
            folder=self.context.run_dir,
        )
        network.normalise_by(letters)
        self.validation = {"accuracy": best.accuracy, "loss": best.loss, "epoch": best.epoch}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, (N, C); no row depends on another.

        A row longer than those of `fit` is cut to its middle.
        """
        return self._network.log_probabilities(self._letters(examples))

    def relaxed_scores(self, letters: "Tensor") -> "Tensor":
        """See `Method.relaxed_scores`."""
        import torch.nn.functional as F

        self._network.eval()
        start = max(0, len(letters) - self._length) // 2
        # The network is on the CPU, where it learned.
        shares = letters[start : start + self._length].cpu()
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
        import torch

        if "length" not in state:
            raise InputError("the learned state has no array length")
        self._length = int(state["length"])
        self._network = self._initial()
        wanted = {name: tuple(t.shape) for name, t in self._network.state_dict().items()}
        given = {name: array.shape for name, array in state.items() if name != "length"}
        if wanted != given:
            raise InputError(f"the learned network has shapes {given}, the task requires {wanted}")
        self._network.load_state_dict({n: torch.from_numpy(state[n].copy()) for n in wanted})

    def _initial(self) -> "Network":
        from icl.baselines.convolutional_network import initial_network

        return initial_network(self._length, len(self.context.labels), self.context.seed)

    def _letters(self, examples: Sequence[Example]) -> "Tensor":
        from icl.baselines.convolutional_network import as_letters

        return as_letters([e.sequence for e in examples], self._length)
