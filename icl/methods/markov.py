"""Baseline of the channel readout: Markov chains counted on exactly the same demonstrations.

A language model that reads a query after the demonstrations of one class does nothing more than
count, as long as a class-conditional Markov chain of the same demonstrations does better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import scipy

from backbone.common.options import option
from backbone.pretraining.markov import MarkovModel
from icl.inference.batches import both_strands
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.readout import NORMALISATIONS
from icl.method import method
from icl.methods.few_shot import FewShot
from icl.methods.zero_shot import LabelWords, ZeroShotConfig
from prompts.template import ClassTemplate, Policy
from prompts.verbalizer import Verbalizer
from tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor

ORDERS = (0, 1, 2, 3, 4, 5)
"""Orders to choose from with `order=auto`."""

ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)

USUAL = 2
"""The order where too few demonstrations are given to leave one out."""


@dataclass
class MarkovConfig(ZeroShotConfig):
    """Which demonstrations are counted, the chains' order, and how scores are calibrated."""

    order: str = option(
        "auto",
        "bases of context; auto chooses by leave-one-out on the demonstrations",
        choices=("auto", *map(str, ORDERS)),
    )
    policy: str = option(
        "refuse",
        "as in few_shot: what a prompt would do if not all of these demonstrations fit",
        choices=get_args(Policy),
    )
    normalisation: str = option(
        "sqrt",
        "divide the log-likelihood by the square root of the number of bases, by that number, "
        "or by 1",
        choices=NORMALISATIONS,
    )


@method("markov", config=MarkovConfig, budget="shots", default_budget=4, version=2)
class Markov(FewShot):
    """Class-conditional Markov chains, counted on the demonstrations of few_shot, both strands.

    Learns interpolated counts of k-mers, and an offset per class as in few_shot.
    """

    config: MarkovConfig  # type: ignore[assignment]

    @property
    def reads_channel(self) -> bool:
        """Always: the query is scored after what is counted for each class."""
        return True

    @property
    def reads_memory(self) -> bool:
        """Never: what a prompt of these demonstrations would hold is counted."""
        return False

    @property
    def shares_edits(self) -> bool:
        """Never: chains are quick to score whole sequences."""
        return False

    def relaxed_scores(self, letters: "Tensor") -> None:
        """Return None: counts have no derivatives."""
        return None

    def demonstration_options(self) -> DemonstrationConfig:
        """Return options with which few_shot draws the same demonstrations."""
        return DemonstrationConfig(policy=self.config.policy)

    def _reader(self, words: LabelWords) -> "MarkovReader":  # type: ignore[override]
        return MarkovReader(
            self.demonstrations,
            len(self.context.labels),
            self.config.order,
            self.config.normalisation,
        )

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, calibrated, (N, C)."""
        scores = super().scores(examples)
        (reader,) = self._fitted().readers
        assert isinstance(reader, MarkovReader)
        self.details["order"] = reader.order
        return scores


class MarkovReader:
    """Scores queries by one Markov chain per class.

    Attributes:
        template: How the demonstrations would be written in a prompt.
        order: The chains' order.
    """

    def __init__(
        self, demonstrations: DemonstrationSet, classes: int, order: str, normalisation: str
    ) -> None:
        """Count the demonstrations of each class, and choose the order if it is `auto`."""
        template = demonstrations.template(Verbalizer(()))
        assert isinstance(template, ClassTemplate)
        self.template, self._normalisation = template, normalisation
        self._rows = [
            [_letters(d.sequence) for d in demonstrations.shared() if d.label == label]
            for label in range(classes)
        ]
        self.order = int(order) if order != "auto" else self._best_order()
        self.chains = [MarkovModel(self.order).fit(rows) for rows in self._rows]

    def queries(self, examples: Sequence[Example], strands: str) -> "MarkovQuerySet":
        """Return rows as queries."""
        return MarkovQuerySet(self, [e.sequence for e in examples], strands)

    def likelihood(self, sequence: np.ndarray, chains: Sequence[MarkovModel]) -> np.ndarray:
        """Return the normalised log-likelihood (C,) of letters (L,), all but the first counted."""
        found = np.array([chain.log_probabilities(sequence)[1:].sum() for chain in chains])
        bases = max(1, int(np.isin(sequence, ACGT).sum()) - 1)
        return found / {"sum": 1, "base": bases, "sqrt": np.sqrt(bases)}[self._normalisation]

    def _best_order(self) -> int:
        """Return the order whose chains best recognise demonstrations that they did not count.

        One demonstration of every class is left out at a time: if one class alone lacked one, its
        chain would have seen less than the others, and the more so the higher the order.
        """
        rounds = min(map(len, self._rows))
        if rounds < 2:
            return USUAL
        whole = [MarkovModel(max(ORDERS)).fit(rows) for rows in self._rows]
        losses = np.zeros(len(ORDERS))
        for left_out in zip(*self._rows, strict=False):
            rest = [chain.without(row) for chain, row in zip(whole, left_out, strict=True)]
            for i, order in enumerate(ORDERS):
                chains = [chain.up_to(order) for chain in rest]
                scores = np.stack([self.likelihood(row, chains) for row in left_out])
                losses[i] -= np.trace(scipy.special.log_softmax(scores, axis=1))
        return ORDERS[int(np.argmin(losses))]


class MarkovQuerySet:
    """Queries under the chains of all classes, on one strand or on both."""

    def __init__(self, reader: MarkovReader, sequences: Sequence[str], strands: str) -> None:
        """Keep N sequences over ACGTN."""
        self._reader, self._count = reader, len(sequences)
        self._views = both_strands(sequences) if strands == "both" else list(sequences)

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities (N, C), and zeros (N,) where others have the likeliest token."""
        reader = self._reader
        found = np.stack([reader.likelihood(_letters(s), reader.chains) for s in self._views])
        averaged = found.reshape(-1, self._count, found.shape[1]).mean(axis=0)
        return scipy.special.log_softmax(averaged, axis=1), np.zeros(self._count, dtype=np.int64)


def _letters(sequence: str) -> np.ndarray:
    """Return a sequence as ASCII codes (L,) uint8."""
    return np.frombuffer(sequence.encode(), dtype=np.uint8)
