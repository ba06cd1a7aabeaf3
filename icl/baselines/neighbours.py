"""Nearest neighbours among the demonstrations: a vote over exactly the rows of a prompt.

This is what a model could do with the same context if it compared sequences in a fixed way and read
their labels. Few-shot prompting has learned more than that only if it does better.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.batches import check_lengths
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.method import Context, Method, MethodConfig
from prompts.similarity import Cosine
from prompts.template import ClassTemplate, Template
from prompts.verbalizer import verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example

TEMPERATURES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Temperatures to choose from: the smallest takes the nearest alone, the largest all alike."""


@dataclass
class NeighboursConfig(MethodConfig, DemonstrationConfig):
    """The options of a prompt's demonstrations, with the same meaning."""

    readout: str = option(
        "direct",
        "as in few_shot: the demonstrations of all classes (direct) or of one class (channel) "
        "must fit into a prompt",
        choices=("direct", "channel"),
    )
    temperature: str = option(
        "validation",
        "how it is chosen: on validation rows, or by leave-one-out on the demonstrations",
        choices=("validation", "demonstrations"),
    )


class Neighbours(Method[NeighboursConfig]):
    """A vote of the demonstrations, weighted by similarity; a subclass defines the vectors.

    Nothing is learned but the temperature, which validation rows or the demonstrations choose.
    """

    _temperature: float

    def __init__(self, config: NeighboursConfig, context: Context) -> None:
        """Check the options; `prepare` draws the demonstrations."""
        super().__init__(config, context)
        if config.temperature == "demonstrations" and config.demonstrations == "per_query":
            raise InputError(
                "method.temperature=demonstrations needs one set of demonstrations for all "
                "queries: give method.demonstrations=fixed"
            )
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        template = ClassTemplate if config.readout == "channel" else Template
        self.demonstrations = DemonstrationSet(config, context, self._max_seq_len, template)
        self._shared: tuple[tuple[str, ...], Cosine] | None = None
        self._template = self.demonstrations.template(self.verbalizer)

    @abstractmethod
    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """Return vectors to compare by cosine, (N, D); a row's vector depends on it alone."""

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that do not fit into a prompt even without demonstrations."""
        ending = 1 + self.verbalizer.length
        check_lengths([e.sequence for e in examples], self._max_seq_len() - ending)

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations as a prompt would."""
        queries = [*(e.sequence for e in val), *self.context.queries]
        self.demonstrations.draw(train, self.verbalizer, longest=max(map(len, queries)))

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations as a prompt would, and choose the temperature."""
        self.prepare(train, val)
        similar, labels = list(self._compared(val)), np.array([e.label for e in val])
        if self.config.temperature == "validation":
            self._temperature = self._best_temperature(similar, labels)
        else:
            self._temperature = self._best_temperature(*self._left_out())
        votes = self._votes(similar, self._temperature)
        loss, accuracy = TASK_KINDS["classes"].validate(votes, labels)
        chosen = {"temperature": self._temperature}
        self.validation = {"accuracy": accuracy, "loss": loss} | chosen

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, (N, C); see `vote`."""
        self.details = self.demonstrations.details([e.sequence for e in examples], self._template)
        return self._votes(self._compared(examples), self._temperature)

    @property
    def trainable_parameters(self) -> int:
        """Return 0: the temperature is a setting that validation chooses."""
        return 0

    def state(self) -> dict[str, np.ndarray]:
        """Return the demonstrations and the temperature."""
        return self.demonstrations.state() | {"temperature": np.array(self._temperature)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over demonstrations and temperature."""
        if "temperature" not in state:
            raise InputError("the learned state has no array temperature")
        own, _ = self.demonstrations.split_state(state)
        self.demonstrations.load_state(own, self.verbalizer)
        self._temperature = float(state["temperature"])

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len

    def _to_shared(self) -> Cosine:
        """Return the similarity to the demonstrations that all queries share, embedded once."""
        sequences = tuple(one.sequence for one in self.demonstrations.shared())
        if self._shared is None or self._shared[0] != sequences:
            self._shared = sequences, Cosine(sequences, self.vectors)
        return self._shared[1]

    def _compared(self, examples: Sequence[Example]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each row the demonstrations' similarities (n,) and labels (n,)."""
        shared = self.demonstrations.shared()
        if shared:
            labels = np.array([one.label for one in shared], dtype=np.int64)
            for similarities in self._to_shared().to_all([e.sequence for e in examples]):
                yield similarities, labels
            return
        measures: dict[tuple[str, ...], Cosine] = {}
        for example in examples:
            shown = self.demonstrations.before(example.sequence, self._template)
            labels = np.array([one.label for one in shown], dtype=np.int64)
            if not shown:
                yield np.zeros(0), labels
                continue
            sequences = tuple(one.sequence for one in shown)
            if sequences not in measures:
                measures = {sequences: Cosine(sequences, self.vectors)}
            yield measures[sequences].to(example.sequence), labels

    def _best_temperature(
        self, similar: Sequence[tuple[np.ndarray, np.ndarray]], labels: np.ndarray
    ) -> float:
        """Return the temperature of the least loss on labelled rows; the largest without any."""
        if not len(labels):
            return TEMPERATURES[-1]
        votes = [self._votes(similar, temperature) for temperature in TEMPERATURES]
        losses = [TASK_KINDS["classes"].validate(one, labels)[0] for one in votes]
        return TEMPERATURES[int(np.argmin(losses))]

    def _left_out(self) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        """Return each demonstration's similarities to others, their labels, and its own label.

        One demonstration of every class is left out at a time; with one in all there is nothing to
        compare.
        """
        shown = self.demonstrations.shared()
        labels = np.array([one.label for one in shown], dtype=np.int64)
        places = [np.flatnonzero(labels == label) for label in range(len(self.context.labels))]
        rounds = min(map(len, places))
        if rounds < 2:
            return [], np.zeros(0, dtype=np.int64)
        measure = self._to_shared()
        similar, left_out = [], np.array(list(zip(*places, strict=False)))
        for rows in left_out:
            rest = np.setdiff1d(np.arange(len(shown)), rows)
            similar += [(measure.between(row)[rest], labels[rest]) for row in rows]
        return similar, labels[left_out.ravel()]

    def _votes(
        self, compared: Iterable[tuple[np.ndarray, np.ndarray]], temperature: float
    ) -> np.ndarray:
        classes = len(self.context.labels)
        return np.stack([vote(*one, classes, temperature) for one in compared])


def vote(
    similarities: np.ndarray, labels: np.ndarray, classes: int, temperature: float
) -> np.ndarray:
    """Return log-probabilities (C,) of the classes by a vote of n labelled neighbours.

    The n votes are shared out by the softmax of similarity / temperature, so equally similar
    neighbours have equal votes. One vote is added for each class, so that no class is impossible,
    and all classes are equal without neighbours.

    Args:
        similarities: (n,) of the neighbours to the query.
        labels: (n,) their classes.
        classes: C.
        temperature: Difference in similarity that counts by a factor of e.
    """
    votes = similarities
    if len(labels):
        votes = len(labels) * scipy.special.softmax(similarities / temperature)
    counts = 1 + np.bincount(labels, weights=votes, minlength=classes)
    return np.log(counts / counts.sum())
