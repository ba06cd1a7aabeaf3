"""The frozen backbone asked as it is: label words after the query, nothing tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.batches import check_lengths
from icl.inference.demonstrations import PREFIX, DemonstrationConfig, DemonstrationSet
from icl.inference.reader import LabelWordScorer, PromptReader, QuerySet
from icl.method import Context, Method, MethodConfig, method
from prompts.calibration import (
    CALIBRATIONS,
    averaged,
    calibrated,
    contextual_offset,
    fit_offset,
    prior_offset,
)
from prompts.null_queries import NULLS, null_queries
from prompts.soft_prompt import PromptShape, SoftPrompt
from prompts.verbalizer import Verbalizer, verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example

Words = tuple[str, ...]

NULL_QUERIES = 32
"""Null queries of a contextual calibration."""


@dataclass
class ZeroShotConfig(MethodConfig):
    """How the answer is read and calibrated."""

    calibration: str = option(
        "none",
        "contextual: on null queries; offset, prior: on validation rows",
        choices=CALIBRATIONS,
    )
    nulls: str = option("dinucleotide", "null queries of the contextual calibration", choices=NULLS)
    words_used: str = option(
        "given",
        "label words as given, averaged over permutations, or the best permutation",
        choices=("given", "averaged", "searched"),
    )
    strands: str = option("both", "strands whose scores are averaged", choices=("both", "forward"))


@method("zero_shot", config=ZeroShotConfig)
class ZeroShot(Method[ZeroShotConfig]):
    """The frozen backbone's label words after the query alone; nothing is tuned."""

    def __init__(self, config: ZeroShotConfig, context: Context) -> None:
        """Checks the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        if config.words_used == "averaged" and not context.shots:
            raise InputError(
                "method.words_used=averaged needs demonstrations: without them every permutation "
                "of the label words has the same scores, and their mean is the same for all classes"
            )
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        self._shown = DemonstrationSet(self._demonstrations(), context, self._max_seq_len)
        self._answering: _Answering | None = None

    def _demonstrations(self) -> DemonstrationConfig:
        """How demonstrations are shown; here there are none."""
        return DemonstrationConfig()

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that do not fit even without demonstrations."""
        ending = 1 + self.verbalizer.length
        check_lengths([e.sequence for e in examples], self._max_seq_len() - ending)

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draws the demonstrations, if there are any."""
        queries = [*(e.sequence for e in val), *self.context.queries]
        self._shown.draw(train, self.verbalizer, longest=max(map(len, queries)))

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draws demonstrations from `train`; `val` calibrates, and chooses the words' order."""
        self.prepare(train, val)
        orders = word_orders(self.verbalizer.words)
        tried: list[list[Words]] = {
            "given": [orders[:1]],
            "averaged": [orders],
            "searched": [[order] for order in orders],
        }[self.config.words_used]
        found = [self._calibrated_on(train, val, words) for words in tried]
        # The first of equals: `max` keeps it.
        self._answering, self.validation = max(
            found, key=lambda one: (one[1]["accuracy"], -one[1]["loss"])
        )

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, calibrated, (N, C)."""
        answering, sequences = self._fitted(), [e.sequence for e in examples]
        template = answering.readers[0].template
        self.details = self._shown.details(sequences, template) | {
            "words": [list(words) for words in answering.words],
            "offset": answering.offset.tolist(),
        }
        return calibrated(answering.raw(sequences, self.config.strands), answering.offset)

    def uncalibrated_scores(self, examples: Sequence[Example]) -> np.ndarray | None:
        """Log-probabilities without the offset; None where nothing is calibrated."""
        if self.config.calibration == "none":
            return None
        return self._fitted().raw([e.sequence for e in examples], self.config.strands)

    @property
    def averages_strands(self) -> bool:
        """Whether the strands' scores are averaged."""
        return self.config.strands == "both"

    def read_forward_alone(self) -> None:
        """Sets `strands` to forward."""
        self.config = replace(self.config, strands="forward")

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand."""
        answering = self._fitted()
        if self.verbalizer.length > 1 or len(answering.words) > 1:
            return None
        found = answering.likeliest([e.sequence for e in examples], self.config.strands)
        return found, Verbalizer(answering.words[0]).ids[:, 0].numpy()

    @property
    def trainable_parameters(self) -> int:
        """The calibration's offsets, one per class."""
        return 0 if self.config.calibration == "none" else len(self.context.labels)

    def state(self) -> dict[str, np.ndarray]:
        """The demonstrations, the words in every order that is read, and the offset."""
        answering = self._fitted()
        words = np.array([Verbalizer(words).ids.numpy() for words in answering.words])
        return self._shown.state() | {"words": words, "offset": answering.offset}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Takes over demonstrations, words and offset."""
        own = {name: a for name, a in state.items() if not name.startswith(PREFIX)}
        orders = word_orders(self.verbalizer.words)
        of_ids = {Verbalizer(words).ids.numpy().tobytes(): words for words in orders}
        words = [of_ids.get(ids.tobytes()) for ids in own.get("words", np.zeros((0, 0, 0)))]
        known = [order for order in words if order is not None]
        if set(own) != {"words", "offset"} or known != words or not words:
            raise InputError(
                f"the saved run speaks other label words than {', '.join(self.verbalizer.words)}; "
                f"run again"
            )
        if own["offset"].shape != (len(self.context.labels),):
            raise InputError(f"the saved offset has shape {own['offset'].shape}; run again")
        self._shown.load_state(state, self.verbalizer)
        self._answering = self._speaking(known)
        self._answering.offset = own["offset"].astype(np.float64)

    def _calibrated_on(
        self, train: Sequence[Example], val: Sequence[Example], words: list[Words]
    ) -> tuple["_Answering", dict[str, float]]:
        """One way to speak the classes, with its offset and what the validation rows say of it."""
        answering, strands = self._speaking(words), self.config.strands
        sequences, labels = [e.sequence for e in val], np.array([e.label for e in val])
        raw = answering.raw(sequences, strands)
        if self.config.calibration == "contextual":
            nulls = null_queries(self.config.nulls, sequences, NULL_QUERIES, self.context.seed)
            answering.offset = contextual_offset(answering.raw(nulls, strands))
        elif self.config.calibration == "offset":
            answering.offset = fit_offset(raw, labels)
        elif self.config.calibration == "prior":
            counts = np.bincount([e.label for e in train], minlength=len(self.context.labels))
            # Half a row more of each class: a class without rows is rare, not impossible.
            answering.offset = prior_offset(raw, (counts + 0.5) / (counts + 0.5).sum())
        loss, accuracy = TASK_KINDS["classes"].validate(calibrated(raw, answering.offset), labels)
        return answering, {"accuracy": accuracy, "loss": loss}

    def _speaking(self, words: list[Words]) -> "_Answering":
        model, classes = self.context.load_backbone(), len(self.context.labels)
        nothing = SoftPrompt(model, PromptShape(0, 0, 0), classes, "normal", seed=0)
        nothing = nothing.to(self.context.device)
        readers = [
            PromptReader(
                LabelWordScorer(model, Verbalizer(order)), nothing, self._shown, self.context
            )
            for order in words
        ]
        return _Answering(words, readers, np.zeros(classes))

    def _fitted(self) -> "_Answering":
        assert self._answering is not None, "fit or load_state comes first"
        return self._answering

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len


@dataclass
class _Answering:
    """Label words in one order or more, whose scores are averaged; each sequence is read once.

    Attributes:
        words: The orders; each changes the words of the demonstrations and of the answer alike.
        readers: One for each order.
        offset: (C,), added to the scores.
    """

    words: list[Words]
    readers: list[PromptReader]
    offset: np.ndarray
    _known: dict[tuple[str, str], tuple[np.ndarray, int]] = field(default_factory=dict)

    def raw(self, sequences: Sequence[str], strands: str) -> np.ndarray:
        """Log-probabilities (N, C) without the offset."""
        self._read(sequences, strands)
        return np.stack([self._known[strands, sequence][0] for sequence in sequences])

    def likeliest(self, sequences: Sequence[str], strands: str) -> np.ndarray:
        """The likeliest token of the vocabulary (N,) after the forward strand, in the first order.

        Read with the same rows as the scores, so that nothing is encoded for it.
        """
        self._read(sequences, strands)
        return np.array([self._known[strands, sequence][1] for sequence in sequences])

    def _read(self, sequences: Sequence[str], strands: str) -> None:
        new = [s for s in dict.fromkeys(sequences) if (strands, s) not in self._known]
        if not new:
            return
        rows = [Example(sequence, 0) for sequence in new]
        answers = [QuerySet(reader, rows, strands).answers() for reader in self.readers]
        scores = averaged(np.stack([found for found, _ in answers]))
        for sequence, score, token in zip(new, scores, answers[0][1], strict=True):
            self._known[strands, sequence] = score, int(token)


def word_orders(words: Words) -> list[Words]:
    """Permutations of the label words, the given one first: all up to 6, else the rotations."""
    if len(words) <= 3:
        return list(permutations(words))
    return [words[i:] + words[:i] for i in range(len(words))]
