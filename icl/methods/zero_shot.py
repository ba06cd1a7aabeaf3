"""The frozen backbone without tuning: label words after the query.

By default an offset per class is estimated on null queries (Zhao et al. 2021, arXiv 2102.09690),
which need no labels: shuffles of the validation rows that keep their dinucleotides. Without this
offset the most likely nucleotide decides the class, and not the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.sequence.edits import Edit
from icl.inference.batches import check_lengths
from icl.inference.label_word_method import LabelWordMethod
from icl.inference.strands import StrandConfig, over_strands
from icl.method import Context, method
from prompts.calibration import (
    CALIBRATIONS,
    average_views,
    calibrate,
    contextual_offset,
    fit_offset,
    fit_scale_and_offset,
    prior_offset,
)
from prompts.null_queries import NULLS, null_queries
from prompts.verbalizer import Verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor

    from icl.inference.likelihood import LikelihoodReader
    from icl.inference.reader import PromptReader

LabelWords = tuple[str, ...]
"""One label word per class, in the order of the classes."""

NULL_QUERIES = 32
"""Null queries of a contextual calibration."""

KNOWN = 1 << 16
"""Sequences whose scores are kept, more or less: a genome in windows would fill the memory."""


@dataclass
class ZeroShotConfig(StrandConfig):
    """How the answer is read and calibrated."""

    calibration: str = option(
        "contextual",
        "remove the prior of the label words by null queries (contextual), by validation rows "
        "(offset, prior), or not at all",
        choices=CALIBRATIONS,
    )
    nulls: str = option("dinucleotide", "null queries: dinucleotide, n_run or empty", choices=NULLS)
    words_used: str = option(
        "given",
        "label words as given, averaged over permutations, or chosen by a search",
        choices=("given", "averaged", "searched"),
    )


@method("zero_shot", config=ZeroShotConfig, version=2)
class ZeroShot(LabelWordMethod[ZeroShotConfig]):
    """The frozen backbone's label words after the query, without demonstrations or tuning.

    Learns an offset per class, by default from null queries.
    """

    def __init__(self, config: ZeroShotConfig, context: Context) -> None:
        """Check the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        if config.words_used == "averaged" and not context.shots:
            raise InputError(
                "method.words_used=averaged needs demonstrations: without them every permutation "
                "of the label words has the same scores, and their mean is the same for all classes"
            )
        self._ensemble: _WordEnsemble | None = None

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that do not fit even without demonstrations."""
        super().check(examples)
        ending = 1 + self.verbalizer.length
        check_lengths([e.sequence for e in examples], self.max_seq_len - ending)

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw demonstrations from `train`; `val` calibrates, and chooses the words' order."""
        self.prepare(train, val)
        orders = word_orders(self.verbalizer.words)
        candidates: list[list[LabelWords]] = {
            "given": [orders[:1]],
            "averaged": [orders],
            "searched": [[order] for order in orders],
        }[self.config.words_used]
        found = [self._calibrated_on(train, val, words) for words in candidates]
        # The first of equals: `max` keeps it.
        self._ensemble, self.validation = max(
            found, key=lambda one: (one[1]["accuracy"], -one[1]["loss"])
        )

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, calibrated, (N, C)."""
        ensemble, sequences = self._fitted(), [e.sequence for e in examples]
        scores = ensemble.calibrated(ensemble.raw(sequences, self.config.strands))
        self.details = {
            **self.demonstrations.details(sequences, ensemble.readers[0].template),
            "words": [list(words) for words in ensemble.words],
            "calibration": self.config.calibration,
            "offset": ensemble.offset.tolist(),
            **self.describe_answers(scores, self._advice()),
        }
        return scores

    def scores_of_edits(
        self, sequences: Sequence[str], edits: Sequence[Edit]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Method.scores_of_edits`."""
        if not self.shares_edits:
            return super().scores_of_edits(sequences, edits)
        from icl.inference.edited_queries import edited_queries

        ensemble, strands = self._fitted(), self.config.strands
        views = [edited_queries(r, sequences, edits, strands).scores() for r in ensemble.readers]
        rows, edited = (
            ensemble.calibrated(average_views(np.stack(found)))
            for found in zip(*views, strict=True)
        )
        return rows, edited

    def relaxed_scores(self, letters: "Tensor") -> "Tensor | None":
        """See `Method.relaxed_scores`; None where each query has demonstrations of its own."""
        if self.demonstrations.per_query:
            return None
        import torch

        ensemble, strands = self._fitted(), self.config.strands
        views = [over_strands(r.relaxed_scores, letters, strands) for r in ensemble.readers]
        mean = torch.stack([view.log_softmax(-1) for view in views]).mean(dim=0)
        return mean + torch.from_numpy(ensemble.offset).to(mean)

    def uncalibrated_scores(self, examples: Sequence[Example]) -> np.ndarray | None:
        """Return log-probabilities without the offset; None where nothing is calibrated."""
        if self.config.calibration == "none":
            return None
        return self._fitted().raw([e.sequence for e in examples], self.config.strands)

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand; None for averaged words too."""
        ensemble = self._fitted()
        if self.verbalizer.length > 1 or len(ensemble.words) > 1:
            return None
        tokens = ensemble.likeliest([e.sequence for e in examples], self.config.strands)
        return tokens, Verbalizer(ensemble.words[0]).ids[:, 0]

    @property
    def trainable_parameters(self) -> int:
        """Count the calibration's offsets, one per class."""
        return 0 if self.config.calibration == "none" else len(self.context.labels)

    def state(self) -> dict[str, np.ndarray]:
        """Return the demonstrations, the words in every order that is read, and the offset."""
        ensemble = self._fitted()
        words = np.array([Verbalizer(words).ids for words in ensemble.words])
        return self.demonstrations.state() | {"words": words, "offset": ensemble.offset}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over demonstrations, words and offset."""
        shown, own = self.demonstrations.split_state(state)
        orders = word_orders(self.verbalizer.words)
        of_ids = {Verbalizer(words).ids.tobytes(): words for words in orders}
        words = [of_ids.get(ids.tobytes()) for ids in own.get("words", np.zeros((0, 0, 0)))]
        known = [order for order in words if order is not None]
        if set(own) != {"words", "offset"} or known != words or not words:
            raise InputError(
                f"the saved run has other label words than {', '.join(self.verbalizer.words)}; "
                f"run again"
            )
        if own["offset"].shape != (len(self.context.labels),):
            raise InputError(f"the saved offset has shape {own['offset'].shape}; run again")
        self.demonstrations.load_state(shown, self.verbalizer)
        self._ensemble = self._with_words(known)
        self._ensemble.offset = own["offset"].astype(np.float64)

    def reader(self) -> "PromptReader | LikelihoodReader":
        """Return the reader of the first order of the words."""
        return self._fitted().readers[0]

    def _advice(self) -> str:
        if self.config.calibration in ("none", "contextual"):
            return "give method.calibration=offset, which is fitted on validation rows"
        return "the frozen backbone does not tell them apart; give method=soft_prompt"

    def _calibrated_on(
        self, train: Sequence[Example], val: Sequence[Example], words: list[LabelWords]
    ) -> tuple["_WordEnsemble", dict[str, float]]:
        """Return an ensemble of word orders with its offset, and its validation figures."""
        from icl.inference.likelihood import LikelihoodReader

        ensemble, strands = self._with_words(words), self.config.strands
        sequences, labels = [e.sequence for e in val], np.array([e.label for e in val])
        by_likelihood = [one for one in ensemble.readers if isinstance(one, LikelihoodReader)]
        for reader in by_likelihood:
            reader.choose_normalisation(val, strands)
        raw = ensemble.raw(sequences, strands)
        if self.config.calibration == "contextual":
            nulls = null_queries(self.config.nulls, sequences, NULL_QUERIES, self.context.seed)
            ensemble.offset = contextual_offset(ensemble.raw(nulls, strands))
        elif self.config.calibration == "offset" and by_likelihood:
            ensemble.scale, ensemble.offset = fit_scale_and_offset(raw, labels)
        elif self.config.calibration == "offset":
            ensemble.offset = fit_offset(raw, labels)
        elif self.config.calibration == "prior":
            counts = np.bincount([e.label for e in train], minlength=len(self.context.labels))
            # Half a row more of each class: a class without rows is rare, not impossible.
            ensemble.offset = prior_offset(raw, (counts + 0.5) / (counts + 0.5).sum())
        loss, accuracy = TASK_KINDS["classes"].validate(ensemble.calibrated(raw), labels)
        return ensemble, {"accuracy": accuracy, "loss": loss}

    def _with_words(self, words: list[LabelWords]) -> "_WordEnsemble":
        readers = [self._reader(order) for order in words]
        return _WordEnsemble(words, readers, np.zeros(len(self.context.labels)))

    def _reader(self, words: LabelWords) -> "PromptReader | LikelihoodReader":
        """Return a reader that learns nothing, with these label words."""
        from icl.inference.reader import reader_without_vectors

        model = self.context.load_backbone()
        return reader_without_vectors(model, Verbalizer(words), self.demonstrations, self.context)

    def _fitted(self) -> "_WordEnsemble":
        assert self._ensemble is not None, "fit or load_state comes first"
        return self._ensemble


@dataclass
class _WordEnsemble:
    """Label words in one order or more, whose scores are averaged; each sequence is read once.

    Attributes:
        words: The orders; each changes the words of demonstrations and answer alike.
        readers: One for each order.
        offset: (C,), added to the scores.
        scale: What the scores are multiplied by before; 1 for label words.
    """

    words: list[LabelWords]
    readers: "list[PromptReader | LikelihoodReader]"
    offset: np.ndarray
    scale: float = 1.0
    _known: dict[tuple[str, str], tuple[np.ndarray, int]] = field(default_factory=dict)

    def raw(self, sequences: Sequence[str], strands: str) -> np.ndarray:
        """Return log-probabilities (N, C) without the offset."""
        self._read(sequences, strands)
        return np.stack([self._known[strands, sequence][0] for sequence in sequences])

    def calibrated(self, raw: np.ndarray) -> np.ndarray:
        """Return log-probabilities (N, C) with scale and offset."""
        return calibrate(self.scale * raw, self.offset)

    def likeliest(self, sequences: Sequence[str], strands: str) -> np.ndarray:
        """Return the likeliest token (N,) after the forward strand, in the first order.

        It is read together with the scores, so nothing is encoded for it.
        """
        self._read(sequences, strands)
        return np.array([self._known[strands, sequence][1] for sequence in sequences])

    def _read(self, sequences: Sequence[str], strands: str) -> None:
        if len(self._known) > KNOWN:
            self._known.clear()
        new = [s for s in dict.fromkeys(sequences) if (strands, s) not in self._known]
        if not new:
            return
        rows = [Example(sequence, 0) for sequence in new]
        answers = [reader.queries(rows, strands).answers() for reader in self.readers]
        scores = average_views(np.stack([found for found, _ in answers]))
        for sequence, score, token in zip(new, scores, answers[0][1], strict=True):
            self._known[strands, sequence] = score, int(token)


def word_orders(words: LabelWords) -> list[LabelWords]:
    """Return permutations of the label words, the given one first: all up to 6, else rotations."""
    if len(words) <= 3:
        return list(permutations(words))
    return [words[i:] + words[:i] for i in range(len(words))]
