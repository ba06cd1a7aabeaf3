"""Baseline: frequencies of k-mers, blind to strand and position."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.sequence.kmers import kmer_frequencies, n_kmers
from icl.baselines.linear import MODELS, Linear, ModelChoice, choose_linear
from icl.method import KINDS, Method, MethodConfig, method
from tasks.task import Example, truth

LONGEST = 8


@dataclass
class KmerConfig(MethodConfig):
    """Options of `kmer_logreg`."""

    kmer: int | None = option(
        None, "k-mer length; null chooses on validation rows", least=1, most=LONGEST
    )
    kmers: list[int] = option([2, 3, 4, 5, 6], "lengths to choose from", least=1, most=LONGEST)


@method("kmer_logreg", config=KmerConfig, uses_backbone=False, kinds=KINDS, version=2)
class KmerLogReg(Method[KmerConfig]):
    """Logistic (or ridge) regression on k-mer frequencies, reverse complements counted as one."""

    _kmer: int
    _model: Linear

    def _lengths(self) -> list[int]:
        return list(self.config.kmers) if self.config.kmer is None else [self.config.kmer]

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse lengths that no table of counts can have."""
        lengths = self._lengths()
        if not lengths:
            raise InputError("method.kmers=[]: give at least one length")

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Fit for each length and penalty; the lowest validation loss decides."""
        best: ModelChoice | None = None
        for kmer in self._lengths():
            chosen = choose_linear(
                self.context.kind,
                (_features(train, kmer), truth(train)),
                (_features(val, kmer), truth(val)),
                n_outputs=len(self.context.labels),
                seed=self.context.seed,
            )
            if best is None or chosen.loss < best.loss:
                best, self._kmer = chosen, kmer
        assert best is not None
        self._model = best.model
        self.validation = best.validation | {
            "loss": best.loss,
            "strength": best.strength,
            "kmer": self._kmer,
        }

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return scores; see `Method.scores`."""
        return self._model.scores(_features(examples, self._kmer))

    @property
    def trainable_parameters(self) -> int:
        """Count a weight per word and a bias per output; one of the classes is implied."""
        return self.context.free_outputs * (n_kmers(self._kmer) + 1)

    def state(self) -> dict[str, np.ndarray]:
        """Return the regression's arrays and the length of its words."""
        return {"kmer": np.array(self._kmer), **self._model.state()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over the regression's arrays."""
        if "kmer" not in state:
            raise InputError("the learned state has no array kmer")
        self._kmer = int(state["kmer"])
        model = MODELS[self.context.kind]
        self._model = model.from_state(state, len(self.context.labels))


def _features(examples: Sequence[Example], kmer: int) -> np.ndarray:
    return kmer_frequencies([e.sequence for e in examples], kmer)
