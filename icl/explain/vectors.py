"""What a learned prompt is made of: what its vectors are near, and what each is worth.

Vectors come in groups: one of all vectors for a label word, one for each class where the query is
read after a prompt of its own. Vectors of runs with other seeds are matched by their cosines
(Kuhn 1955, the Hungarian method), since nothing fixes their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.protocol import LanguageModel
from backbone.tokens import NUCLEOTIDES, TOKENS
from icl.inference.channel import ChannelReader
from icl.inference.reader import PromptReader
from icl.method import Method
from icl.methods.soft_prompt import PromptTuning
from prompts.calibration import calibrate, fit_offset, fit_scale_and_offset
from prompts.channel_prompt import ChannelPrompt
from prompts.soft_prompt import SoftPrompt
from tasks.kinds import TASK_KINDS
from tasks.task import Example

DRAWS = 200
"""Pairs of random prompts whose similarity is the expectation without anything in common."""

Prompt = SoftPrompt | ChannelPrompt


@dataclass(frozen=True)
class LearnedPrompt:
    """The prompt of a finished run, and the rows on which changed ones are judged.

    Attributes:
        reader: Reads queries after or before the learned prompt.
        strands: Strands that are read.
        labels: Names of the classes.
        val: Rows on which offsets are fitted and losses measured.
        test: Rows on which accuracies are measured.
    """

    reader: PromptReader | ChannelReader
    strands: str
    labels: tuple[str, ...]
    val: Sequence[Example]
    test: Sequence[Example]

    @classmethod
    def of(cls, method: Method, val: Sequence[Example], test: Sequence[Example]) -> "LearnedPrompt":
        """Return the prompt of a method.

        Raises:
            InputError: If the method has learned no vectors.
        """
        if not isinstance(method, PromptTuning) or not method.reader().prompt.stacked().numel():
            raise InputError(
                f"method={method.name} has learned no prompt vectors; give a run of soft_prompt, "
                f"deep_prompt or state_prompt with prompt_tokens of 1 or more"
            )
        return cls(method.reader(), method.config.strands, method.context.labels, val, test)

    @property
    def prompt(self) -> Prompt:
        """The learned prompt."""
        return self.reader.prompt

    @property
    def model(self) -> LanguageModel:
        """The backbone."""
        return self.reader.scorer.model

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of vectors: the classes, or one name."""
        return self.labels if isinstance(self.reader, ChannelReader) else ("prompt",)

    def places(self) -> list[str]:
        """Return where each vector of a group stands: before_0, ..., after_0, ..."""
        if isinstance(self.prompt, ChannelPrompt):
            return [f"before_{i}" for i in range(self.prompt.vectors.shape[1])]
        before = [f"before_{i}" for i in range(len(self.prompt.before))]
        return [*before, *(f"after_{i}" for i in range(len(self.prompt.after)))]

    def _reader_of(self, prompt: Prompt) -> "PromptReader | ChannelReader":
        """Return the reader with another prompt of its kind."""
        if isinstance(self.reader, ChannelReader):
            assert isinstance(prompt, ChannelPrompt)
            return replace(self.reader, prompt=prompt)
        assert isinstance(prompt, SoftPrompt)
        return replace(self.reader, prompt=prompt)

    def fitted(self, prompt: Prompt) -> "PromptReader | ChannelReader":
        """Return a reader of another prompt whose offsets are fitted on the validation rows."""
        reader = self._reader_of(prompt)
        queries = reader.queries(self.val, self.strands).keep_states()
        reader.calibrate(queries.scores(), queries.labels)
        return reader

    def validation(self, prompt: Prompt) -> tuple[float, float]:
        """Return loss and accuracy on the validation rows, offsets fitted on them."""
        return self.judged(prompt, self.val)

    def judged(self, prompt: Prompt, rows: Sequence[Example]) -> tuple[float, float]:
        """Return loss and accuracy of another prompt on rows on which its offsets are fitted."""
        reader = self._reader_of(prompt)
        queries = reader.queries(rows, self.strands).keep_states()
        scores, labels = queries.scores(), queries.labels
        scale, offset = 1.0, np.zeros(scores.shape[1])
        if isinstance(reader, ChannelReader):
            scale, offset = fit_scale_and_offset(scores, labels)
        else:
            offset = fit_offset(scores, labels)
        return TASK_KINDS["classes"].validate(calibrate(scale * scores, offset), labels)


def nearest_nucleotides(model: LanguageModel, vectors: Tensor) -> Tensor:
    """Return the ids (G, P) of the nucleotides whose embeddings have the greatest cosine."""
    words = model.embed(torch.tensor(NUCLEOTIDES, device=model.device)).detach()
    best = _cosines(vectors.flatten(0, 1), words).argmax(dim=1)
    return torch.tensor(NUCLEOTIDES, device=vectors.device)[best].view(vectors.shape[:2])


def vector_table(learned: LearnedPrompt) -> pd.DataFrame:
    """Return a row for each vector.

    Columns: group and place; norm; nucleotide, the nearest one, with its cosine and its distance in
    units of the mean distance between two nucleotides; token, the nearest of all embeddings;
    loss_without and accuracy_without, on validation rows if the vector is left out, and
    contribution, the loss it saves. Vectors at one place of all classes are left out together.
    """
    model = learned.model
    known = [i for i in range(len(TOKENS)) if i not in model.absent]
    words = model.embed(torch.tensor(known, device=model.device)).detach()
    nucleotides = model.embed(torch.tensor(NUCLEOTIDES, device=model.device)).detach()
    unit = float(torch.pdist(nucleotides).mean())
    vectors = learned.prompt.stacked()
    loss, _ = learned.validation(learned.prompt)
    without = [
        learned.validation(learned.prompt.keeping([i for i in range(vectors.shape[1]) if i != out]))
        for out in range(vectors.shape[1])
    ]
    rows = []
    for group, some in zip(learned.groups, vectors, strict=True):
        near, cosines = _cosines(some, nucleotides), _cosines(some, words)
        distances = torch.cdist(some, nucleotides) / unit
        for i, place in enumerate(learned.places()):
            nearest = int(near[i].argmax())
            rows.append(
                {
                    "group": group,
                    "place": place,
                    "norm": float(some[i].norm()),
                    "nucleotide": "ACGT"[nearest],
                    "cosine": float(near[i, nearest]),
                    "distance": float(distances[i, nearest]),
                    "token": TOKENS[known[int(cosines[i].argmax())]],
                    "token_cosine": float(cosines[i].max()),
                    "loss_without": without[i][0],
                    "accuracy_without": without[i][1],
                    "contribution": without[i][0] - loss,
                }
            )
    return pd.DataFrame(rows)


def similarity_table(names: Sequence[str], prompts: Sequence[Tensor]) -> pd.DataFrame:
    """Return how alike the vectors (G, P, D) of two runs each are.

    Columns: run and other; in_place, the mean cosine of vectors at the same place; matched, that of
    vectors matched within their group; and matched_by_chance, its mean for random directions.

    Raises:
        InputError: If the prompts have other shapes.
    """
    shapes = {tuple(prompt.shape) for prompt in prompts}
    if len(shapes) > 1:
        raise InputError(
            f"others: prompts of one shape can be compared, these are of {sorted(shapes)}"
        )
    rows = []
    chance = matched_by_chance(tuple(prompts[0].shape)) if prompts else float("nan")
    for i, prompt in enumerate(prompts):
        for j in range(i + 1, len(prompts)):
            in_place, matched = _alike(prompt, prompts[j])
            rows.append((names[i], names[j], in_place, matched, chance))
    columns = ["run", "other", "in_place", "matched", "matched_by_chance"]
    return pd.DataFrame(rows, columns=columns)


def matched_by_chance(shape: tuple[int, ...]) -> float:
    """Return the mean cosine of matched vectors of two prompts of random directions."""
    random = stream(0, "similarity by chance")
    draws = [
        _alike(*(torch.from_numpy(random.standard_normal(shape)) for _ in range(2)))[1]
        for _ in range(DRAWS)
    ]
    return float(np.mean(draws))


def _alike(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the mean cosine of vectors at the same place, and of matched ones."""
    from scipy.optimize import linear_sum_assignment

    in_place, matched = [], []
    for a, b in zip(one, other, strict=True):
        cosines = _cosines(a, b).cpu().numpy()
        in_place.append(np.diag(cosines).mean())
        matched.append(cosines[linear_sum_assignment(cosines, maximize=True)].mean())
    return float(np.mean(in_place)), float(np.mean(matched))


def _cosines(vectors: Tensor, others: Tensor) -> Tensor:
    """Return cosines (N, M) of vectors (N, D) and (M, D)."""
    units = [torch.nn.functional.normalize(some, dim=1) for some in (vectors, others)]
    return units[0] @ units[1].t()
