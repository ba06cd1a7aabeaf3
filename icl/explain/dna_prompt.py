"""Prompts written as DNA: the nucleotides nearest to learned vectors, and better ones nearby.

The search is a greedy coordinate descent: position by position, in random order, the letter with
the least loss on training rows is kept, until no single letter improves it. Offsets are fitted
again, in closed form, for every prompt that is tried. Which of several starts is best is decided on
validation rows; the test rows are scored once, for the prompts that are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backbone.common.streams import stream
from backbone.tokens import NUCLEOTIDES, decode_dna
from icl.explain.vectors import LearnedPrompt, Prompt, nearest_nucleotides
from tasks.metrics.classification import evaluate
from tasks.task import Example


@dataclass(frozen=True)
class Search:
    """How much is tried.

    Attributes:
        passes: Most rounds over all positions.
        starts: The first from the nearest nucleotides, further ones from random DNA.
        seed: Of the order of positions and of random DNA.
    """

    passes: int = 3
    starts: int = 1
    seed: int = 0


def prompt_table(
    learned: LearnedPrompt, rows: Sequence[Example], search: Search | None
) -> pd.DataFrame:
    """Return how well a learned prompt, its translations into DNA, and no prompt at all do.

    Args:
        learned: The prompt, with validation and test rows.
        rows: Training rows on which the search measures the loss.
        search: How much is tried; None leaves the search out.

    Returns:
        A row each for learned, nearest (nucleotides), searched, random (DNA) and none. Columns:
        prompt; letters, a word for each group; validation_loss and validation_accuracy; and
        accuracy and auroc on the test rows with their intervals. Offsets are fitted on the
        validation rows for each.
    """
    nearest = nearest_nucleotides(learned.model, learned.prompt.stacked())
    random = stream(search.seed if search else 0, "random DNA prompt")
    drawn = torch.from_numpy(random.choice(NUCLEOTIDES, size=tuple(nearest.shape)))
    written: dict[str, Tensor] = {"nearest": nearest}
    if search is not None:
        written["searched"] = searched(learned, rows, search)
    written["random"] = drawn.to(nearest.device)
    table = [_line(learned, "learned", learned.prompt, "")]
    for name, ids in written.items():
        letters = " ".join(decode_dna(group) for group in ids)
        table.append(_line(learned, name, as_prompt(learned, ids), letters))
    return pd.DataFrame([*table, _line(learned, "none", learned.prompt.keeping([]), "")])


def as_prompt(learned: LearnedPrompt, ids: Tensor) -> Prompt:
    """Return a prompt of the embeddings of nucleotides, by their ids (G, P)."""
    return learned.prompt.with_vectors(learned.model.embed(ids).detach())


def searched(learned: LearnedPrompt, rows: Sequence[Example], search: Search) -> Tensor:
    """Return the ids (G, P) of the best DNA prompt that is found; see `prompt_table`."""
    nearest = nearest_nucleotides(learned.model, learned.prompt.stacked())
    found = []
    for start in range(search.starts):
        random = stream(search.seed, "search for DNA prompts", start)
        ids = nearest.clone()
        if start:
            drawn = random.choice(NUCLEOTIDES, size=tuple(nearest.shape))
            ids = torch.from_numpy(drawn).to(nearest.device)
        ids = _descend(learned, rows, ids, search.passes, random)
        found.append((learned.validation(as_prompt(learned, ids))[0], start, ids))
    return min(found, key=lambda one: one[:2])[2]


def _descend(
    learned: LearnedPrompt,
    rows: Sequence[Example],
    ids: Tensor,
    passes: int,
    random: np.random.Generator,
) -> Tensor:
    """Improve a prompt letter by letter until none helps, for some passes at most."""
    best = _loss(learned, rows, ids)
    since = 0
    for _ in range(passes):
        for place in random.permutation(ids.numel()).tolist():
            for letter in NUCLEOTIDES:
                tried = ids.clone()
                tried.view(-1)[place] = letter
                if (
                    letter != int(ids.view(-1)[place])
                    and (loss := _loss(learned, rows, tried)) < best
                ):
                    best, ids, since = loss, tried, 0
            since += 1
            if since > ids.numel():
                return ids
    return ids


def _loss(learned: LearnedPrompt, rows: Sequence[Example], ids: Tensor) -> float:
    return learned.judged(as_prompt(learned, ids), rows)[0]


def _line(learned: LearnedPrompt, name: str, prompt: Prompt, letters: str) -> dict[str, object]:
    reader = learned.fitted(prompt)
    loss, accuracy = learned.validation(prompt)
    test = reader.queries(learned.test, learned.strands).keep_states()
    metrics = evaluate(test.labels, test.scores())
    line: dict[str, object] = {
        "prompt": name,
        "letters": letters,
        "validation_loss": loss,
        "validation_accuracy": accuracy,
    }
    for metric in ("accuracy", "auroc"):
        one = metrics[metric]
        line |= {metric: one.value, f"{metric}_low": one.low, f"{metric}_high": one.high}
    return line
