"""Class scores from the likelihood of a query, however a class conditions it.

Code shared by the channel readout, in which a class's prompt or demonstrations precede the query,
and the memory readout, in which they are looked up: the normalisation by length, the scale and the
offsets, and how these are saved.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.tokens import NUCLEOTIDES
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.demonstrations import DemonstrationSet
from icl.inference.query_set import QuerySet
from icl.inference.readout import NORMALISATIONS
from icl.method import Context
from prompts.calibration import calibrate, fit_scale_and_offset, fitted
from prompts.channel_prompt import ChannelPrompt
from prompts.template import ClassTemplate
from prompts.verbalizer import Verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example, subset

BUCKET = 8
"""Queries are padded to a multiple of this length: every position of theirs is computed."""

CHOOSING = 256
"""Most rows that choose a normalisation."""

LEAST_SCALE = 1.0
"""Least scale that tuning starts from, in units of that of Bayes' rule."""


def normalise(log_likelihood: Tensor, bases: Tensor, normalisation: str) -> Tensor:
    """Divide summed log-likelihoods (B, C) by what the number of counted bases (B,) gives.

    With `sum` the scores of long rows are far more certain than those of short ones; `base` makes
    all rows alike, and `sqrt` lies between: the deviation of a sum of n independent terms grows
    with the square root of n.
    """
    bases = bases.clamp(min=1).to(log_likelihood.dtype)[:, None]
    return log_likelihood / {"sum": torch.ones_like(bases), "base": bases}.get(
        normalisation, bases.sqrt()
    )


@dataclass
class LikelihoodReader(ABC):
    """Scores a class by the normalised log-likelihood of the query times a scale, plus an offset.

    Attributes:
        scorer: The frozen backbone.
        prompt: What is learned; empty for demonstrations alone.
        demonstrations: Demonstrations that all queries share, drawn or loaded.
        context: The run's device, precision and batch size.
        normalisation: One of `NORMALISATIONS`; or `auto`, until `choose_normalisation`.
    """

    scorer: ChannelScorer
    prompt: ChannelPrompt
    demonstrations: DemonstrationSet
    context: Context
    normalisation: str = "sqrt"

    def __post_init__(self) -> None:
        """Keep how demonstrations are written."""
        template = self.demonstrations.template(Verbalizer(()))
        assert isinstance(template, ClassTemplate)
        self.template = template

    @property
    @abstractmethod
    def longest_query(self) -> int:
        """Longest query that fits, in tokens."""

    @abstractmethod
    def queries(self, examples: Sequence[Example], strands: str) -> QuerySet:
        """Return rows as queries."""

    @abstractmethod
    def relaxed_scores(self, letters: Tensor) -> Tensor:
        """Return the class scores (C,) of one relaxed query; see `Method.relaxed_scores`."""

    def class_scores(self, log_likelihood: Tensor, bases: Tensor) -> Tensor:
        """Return class scores (B, C).

        Args:
            log_likelihood: (B, C), summed over the counted bases of each query.
            bases: (B,) how many count.
        """
        normalised = normalise(log_likelihood, bases, self.normalisation)
        return self.prompt.log_scale.exp() * normalised + self.prompt.offset

    def choose_normalisation(self, examples: Sequence[Example], strands: str) -> None:
        """Replace `auto` by the normalisation of least loss on labelled rows.

        Scale and offsets are fitted for each. The first of equals is chosen, as where all rows have
        equally many bases.
        """
        if self.normalisation != "auto":
            return
        few = subset(examples, min(len(examples), CHOOSING), self.context.seed)
        self.normalisation = "sum"
        queries = self.queries(few, strands)
        counts = [max(1, _counted(row)) for row in queries.queries.encoded]
        bases = torch.tensor(counts, device="cpu")
        summed, labels = torch.from_numpy(queries.scores()), queries.labels
        losses = {}
        for name in NORMALISATIONS:
            scores = fitted(normalise(summed, bases[: len(labels)], name).numpy(), labels)
            losses[name] = round(TASK_KINDS["classes"].validate(scores, labels)[0], 6)
        self.normalisation = min(losses, key=losses.__getitem__)

    def state(self) -> dict[str, np.ndarray]:
        """Return the normalisation in use, as its place among `NORMALISATIONS`."""
        return {"normalisation": np.array(NORMALISATIONS.index(self.normalisation))}

    def load_state(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Take over what `state` returned; return the other arrays.

        Raises:
            InputError: If it is missing or unknown.
        """
        rest = dict(state)
        place = rest.pop("normalisation", np.array(-1))
        if place.shape != () or not 0 <= place < len(NORMALISATIONS):
            raise InputError("the saved run does not say its normalisation; run again")
        self.normalisation = NORMALISATIONS[int(place)]
        return rest

    def details(self) -> dict[str, Any]:
        """Return what scores are made of, for the report."""
        return {
            "normalisation": self.normalisation,
            "scale": float(self.prompt.log_scale.detach().exp()),
            "offset": self.prompt.offset.tolist(),
        }

    def begin(self, queries: QuerySet) -> None:
        """Fit scale and offsets before tuning.

        Scores that do not tell the classes apart yet would have a scale near 0, from which tuning
        takes long to return: it starts at no less than `LEAST_SCALE` times that of Bayes' rule,
        under which the log-likelihoods of all bases are summed.
        """
        lengths = [[len(row) for row in queries.queries.encoded]]
        bases = torch.tensor(lengths, device="cpu").double().mean()
        one = torch.ones(1, 1, device="cpu", dtype=torch.float32)
        rule = normalise(one, bases[None], self.normalisation)
        least = LEAST_SCALE / float(rule)
        self.prompt.rescale(*fit_scale_and_offset(queries.scores(), queries.labels, least))

    def calibrate(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Fit scale and offsets to labelled rows; see `PromptReader.calibrate`."""
        scale, offset = fit_scale_and_offset(scores, labels)
        self.prompt.rescale(scale, offset)
        return calibrate(scale * scores, offset)


def _counted(ids: np.ndarray) -> int:
    """Return how many of a row's bases count."""
    return int(np.isin(ids[1:], NUCLEOTIDES).sum())
