"""What the nearest of the demonstrations say: a vote over exactly what a prompt shows.

It is what a model that compared sequences in a fixed way, and read their labels, would do with the
same context; few-shot prompting has something of its own to show only above it.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from backbone.common.errors import InputError
from icl.inference.batches import check_lengths
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.method import Context, Method, MethodConfig
from prompts.similarity import Cosine
from prompts.verbalizer import verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example

TEMPERATURES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Between which validation chooses: from the nearest one alone to all of them alike."""


@dataclass
class NeighboursConfig(MethodConfig, DemonstrationConfig):
    """The options of a prompt's demonstrations, which mean the same here."""


class Neighbours(Method[NeighboursConfig]):
    """A vote of the demonstrations, weighted by similarity; a subclass says by which."""

    _temperature: float

    def __init__(self, config: NeighboursConfig, context: Context) -> None:
        """Checks the options; the demonstrations are drawn by `fit`."""
        super().__init__(config, context)
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        self._demonstrations = DemonstrationSet(config, context, self._max_seq_len)
        self._template = self._demonstrations.template(self.verbalizer)

    @abstractmethod
    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """What is compared by cosine, (N, D); a row's vector depends on its sequence alone."""

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that a prompt could not ask about even without demonstrations."""
        ending = 1 + self.verbalizer.length
        check_lengths([e.sequence for e in examples], self._max_seq_len() - ending)

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations as a prompt would."""
        queries = [*(e.sequence for e in val), *self.context.queries]
        self._demonstrations.draw(train, self.verbalizer, longest=max(map(len, queries)))

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations as a prompt would; validation chooses the temperature."""
        self.prepare(train, val)
        similar, labels = list(self._compared(val)), np.array([e.label for e in val])
        best = np.inf
        for temperature in TEMPERATURES:
            loss, accuracy = TASK_KINDS["classes"].validate(
                self._votes(similar, temperature), labels
            )
            if loss < best:
                best, self._temperature = loss, temperature
                self.validation = {"accuracy": accuracy, "loss": loss, "temperature": temperature}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C); see `vote`."""
        self.details = self._demonstrations.details([e.sequence for e in examples], self._template)
        return self._votes(self._compared(examples), self._temperature)

    @property
    def trainable_parameters(self) -> int:
        """None: the temperature is a setting that validation chooses."""
        return 0

    def state(self) -> dict[str, np.ndarray]:
        """The demonstrations and the temperature."""
        return self._demonstrations.state() | {"temperature": np.array(self._temperature)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over demonstrations and temperature."""
        if "temperature" not in state:
            raise InputError("the learned state has no array temperature")
        self._demonstrations.load_state(state, self.verbalizer)
        self._temperature = float(state["temperature"])

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len

    def _compared(self, examples: Sequence[Example]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each row the demonstrations' similarities (n,) and labels (n,)."""
        measures: dict[tuple[str, ...], Cosine] = {}
        for example in examples:
            shown = self._demonstrations.before(example.sequence, self._template)
            labels = np.array([one.label for one in shown], dtype=np.int64)
            if not shown:
                yield np.zeros(0), labels
                continue
            sequences = tuple(one.sequence for one in shown)
            if sequences not in measures:
                measures = {sequences: Cosine(sequences, self.vectors)}
            yield measures[sequences].to(example.sequence), labels

    def _votes(
        self, compared: Iterable[tuple[np.ndarray, np.ndarray]], temperature: float
    ) -> np.ndarray:
        classes = len(self.context.labels)
        return np.stack([vote(*one, classes, temperature) for one in compared])


def vote(
    similarities: np.ndarray, labels: np.ndarray, classes: int, temperature: float
) -> np.ndarray:
    """Log-probabilities (C,) of the classes by a vote of n labelled neighbours.

    The n votes are shared out by the softmax of similarity / temperature, so that equally near
    neighbours say equally much, and one is added for each class, so that none is impossible and
    without neighbours all are alike.

    Args:
        similarities: (n,) of the neighbours to the query; more is nearer.
        labels: (n,) their classes.
        classes: C.
        temperature: how much nearer counts how much more.
    """
    votes = len(labels) * softmax(similarities / temperature) if len(labels) else similarities
    counts = 1 + np.bincount(labels, weights=votes, minlength=classes)
    return np.log(counts / counts.sum())
