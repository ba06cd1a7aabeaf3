"""How much better a model predicts a window after related windows than after unrelated ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.streams import stream
from backbone.pretraining.related.genomic import Plain
from backbone.pretraining.related.source import RelatedSource, join
from backbone.pretraining.related.stream import Stream
from backbone.tokens import NUCLEOTIDES

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.protocol import LanguageModel

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Numbers of windows in front."""


WATCHED_ROWS, WATCHED_WINDOWS = 8, 16
"""By what the gain is watched while a model trains."""


@dataclass(frozen=True)
class ContextGain:
    """Bits per base of windows after other windows.

    Attributes:
        counts: (K,) numbers of windows in front, ascending.
        related: (N, K) bits per base of each of N windows after windows that are related to it.
        unrelated: (N, K) the same after the related windows of another row.
    """

    counts: tuple[int, ...]
    related: np.ndarray
    unrelated: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """Bits a base that related windows save over unrelated ones, (N, K)."""
        return self.unrelated - self.related


def context_gain(
    model: "LanguageModel",
    family: Stream,
    counts: Sequence[int] = COUNTS,
    queries: int = 16,
    bases: int = 100,
    seed: int = 0,
) -> ContextGain:
    """Measure the context gain of a stream of related windows.

    Each query is the last of a row of windows of one length. The same query is also read after the
    windows of the next row, which know nothing about it.

    Args:
        model: The language model.
        family: The stream, over held-out regions.
        counts: Numbers of windows in front; those that do not fit the model are left out.
        queries: Number of rows.
        bases: Length of every window.
        seed: Of the draws.
    """
    most = (model.config.max_seq_len - bases) // (bases + 1)
    counts = tuple(sorted(count for count in counts if count <= most))
    if not counts:
        return ContextGain((), np.empty((queries, 0)), np.empty((queries, 0)))
    rows = [
        family.windows(stream(seed, "context gain", row), [bases] * (counts[-1] + 1))
        for row in range(queries)
    ]
    # A mutated copy may be shorter; a query of few bases says as much as its bases do.
    related = np.empty((queries, len(counts)))
    unrelated = np.empty_like(related)
    for place, count in enumerate(counts):
        for bits, shift in ((related, 0), (unrelated, 1)):
            contexts = [rows[(row + shift) % queries][:count] for row in range(queries)]
            bits[:, place] = bits_a_base(
                model, [[*front, row[-1]] for front, row in zip(contexts, rows, strict=True)]
            )
    return ContextGain(counts, related, unrelated)


def watched_gains(source: RelatedSource, model: "LanguageModel") -> dict[str, float]:
    """Return the bits per base that 16 related windows save, by stream, on a few held-out rows.

    Nothing where no region is held out, or where the model has no room for one window.
    """
    gains: dict[str, float] = {}
    for name, family in (source.valid or {}).items():
        if not isinstance(family, Plain):
            found = context_gain(model, family, (1, WATCHED_WINDOWS), queries=WATCHED_ROWS)
            if found.counts:
                gains[f"context_gain.{name}"] = float(found.gain[:, -1].mean())
    return gains


def bits_a_base(model: "LanguageModel", rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return the bits per base of the last window of each row, (N,), over A, C, G and T.

    Every known base but the first of the last window counts.
    """
    import torch

    was_training = model.training
    model.eval()
    letters = torch.tensor(NUCLEOTIDES, device=model.device)
    bits = np.empty(len(rows))
    for number, windows in enumerate(rows):
        tokens = torch.from_numpy(join(windows)[0]).long().to(model.device)
        start = len(tokens) - len(windows[-1])
        with torch.no_grad():
            hidden = model.encode(model.embed(tokens[None]))[0, start:-1]
            log_p = model.letter_logits(hidden, letters).float().log_softmax(-1)
        bits[number] = _mean_bits(log_p, tokens[start + 1 :], letters)
    model.train(was_training)
    return bits


def _mean_bits(log_p: "Tensor", targets: "Tensor", letters: "Tensor") -> float:
    matches = targets[:, None] == letters
    known = matches.any(dim=1)
    picked = log_p[known].gather(1, matches[known].int().argmax(dim=1)[:, None])
    return float(-picked.mean() / np.log(2)) if known.any() else float("nan")
