"""Rows of related windows as a source of the trainer."""

from collections.abc import Mapping, Sequence

import numpy as np

# Importing these modules registers their streams.
from backbone.common.streams import stream
from backbone.pretraining.data import IGNORED, Batch, token_ids
from backbone.pretraining.related import genomic, synthetic
from backbone.pretraining.related.genomes import Genomes
from backbone.pretraining.related.stream import STREAMS, Stream
from backbone.tokens import SEP

__all__ = ["STREAMS", "RelatedSource", "genomic", "synthetic"]


class RelatedSource:
    """Rows of related windows with [SEP] between them; every base is predicted."""

    def __init__(
        self,
        train: Genomes,
        valid: Genomes | None,
        mixture: Mapping[str, float],
        separator_targets: bool = False,
    ) -> None:
        """Build the streams.

        Args:
            train: The genomes to train on.
            valid: Held-out regions, for `held_out`.
            mixture: The share of each stream among the rows, by its name.
            separator_targets: Whether [SEP] is predicted too.
        """
        self.genomes, self.mixture = train, mixture
        self.separator_targets = separator_targets
        self.train = {name: STREAMS[name](train) for name in mixture}
        self.valid = None if valid is None else {name: STREAMS[name](valid) for name in mixture}
        self._edges = np.cumsum(list(mixture.values()))[:-1]

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draw rows of one step; each is a function of the seed, the step and its number."""
        drawn = [
            self._row(self.train, stream(seed, "related windows", step, row), length)
            for row in range(first, first + rows)
        ]
        return Batch(np.stack([one for one, _ in drawn]), np.stack([other for _, other in drawn]))

    def held_out(self, length: int, most: int) -> Batch | None:
        """Draw rows of the held-out regions, at most 256; the synthetic streams' are new ones."""
        if self.valid is None:
            return None
        drawn = [
            self._row(self.valid, stream(0, "held-out related windows", row), length)
            for row in range(min(most, 256))
        ]
        return Batch(np.stack([one for one, _ in drawn]), np.stack([other for _, other in drawn]))

    def _row(
        self, streams: Mapping[str, Stream], random: np.random.Generator, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a stream and a row of it: inputs and targets, (length,) int8 each."""
        name = list(streams)[int(np.searchsorted(self._edges, random.random(), side="right"))]
        chosen = streams[name]
        lengths = chosen.lengths(random, length + 1)
        tokens, targets = join(chosen.windows(random, lengths), self.separator_targets)
        while len(tokens) < length + 1:  # a region or a mutated copy was shorter than asked for
            lengths = chosen.lengths(random, length + 1 - len(tokens))
            more = join(chosen.windows(random, lengths), self.separator_targets)
            separator = np.array([SEP], dtype=np.int8)
            ignored = separator if self.separator_targets else np.array([IGNORED], dtype=np.int8)
            tokens = np.concatenate([tokens, separator, more[0]])
            targets = np.concatenate([targets, ignored, more[1]])
        return tokens[:length], targets[1 : length + 1]


def join(
    windows: Sequence[np.ndarray], separator_targets: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Join windows of ASCII codes to one row of token ids, with [SEP] between them.

    Returns:
        Token ids and targets (L,), int8; the target of an N, and of [SEP] unless it is asked for,
        is `IGNORED`.
    """
    tokens, targets = [], []
    for number, window in enumerate(windows):
        if number:
            tokens.append(np.array([SEP], dtype=np.int8))
            targets.append(np.array([SEP if separator_targets else IGNORED], dtype=np.int8))
        # `token_ids` shifts its targets by one; the base in front is never read.
        letters = np.concatenate([window[:1], window])[None]
        tokens.append(token_ids(np.concatenate([window, window[-1:]])[None]).inputs[0])
        targets.append(token_ids(letters).targets[0])
    return np.concatenate(tokens), np.concatenate(targets)
