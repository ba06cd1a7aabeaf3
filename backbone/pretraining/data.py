"""Sources of the trainer's batches of token ids, above all genomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from backbone.pretraining.windows import Division, Windows
from backbone.sequence.dna import DNA, Alphabet
from backbone.sequence.fasta import Region
from backbone.tokens import SPECIALS

IGNORED = -100
"""The target of a position that does not count."""


@dataclass(frozen=True)
class Batch:
    """Rows of one length, as bytes, because a genome's held-out regions are kept whole.

    Attributes:
        inputs: (B, L) int8 token ids.
        targets: (B, L) int8, the token that follows each position, or `IGNORED`.
    """

    inputs: np.ndarray
    targets: np.ndarray

    @property
    def length(self) -> int:
        """Tokens per row."""
        return self.inputs.shape[1]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> "Batch":
        """Return some of the rows."""
        return Batch(self.inputs[rows], self.targets[rows])

    def share(self, rank: int, count: int) -> "Batch":
        """Return every `count`-th row, from `rank` on; every rank gets the same number.

        Where the rows do not divide, the first row fills up, without a target.
        """
        mine = self[slice(rank, None, count)]
        if len(mine) * count >= len(self):
            return mine
        return Batch(
            np.concatenate([mine.inputs, self.inputs[:1]]),
            np.concatenate([mine.targets, np.full_like(self.targets[:1], IGNORED)]),
        )


class Source(Protocol):
    """What a model is trained on."""

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draw rows of one step, from row `first` on, as a function of the arguments alone.

        A row does not depend on how many are drawn, so that processes can share a step.

        Raises:
            InputError: If there are none of that length.
        """
        ...

    def held_out(self, length: int, most: int) -> Batch | None:
        """Return at most `most` rows that are never drawn; None if nothing is held out."""
        ...


class GenomeSource:
    """Windows of a genome, each letter predicted from those before it; N does not count."""

    def __init__(
        self,
        division: Division,
        max_unknown: float,
        max_soft_masked: float = 1.0,
        soft_masked_targets: bool = True,
        reverse_complement: bool = True,
    ) -> None:
        """Read the training regions into memory; `held_out` reads the others.

        Args:
            division: The regions for training and the held-out ones.
            max_unknown: Windows with a larger share of N are passed over.
            max_soft_masked: Windows with a larger share of lower-case letters are passed over.
            soft_masked_targets: Whether lower-case letters count as targets.
            reverse_complement: Whether half of the windows come from the other strand.

        Raises:
            InputError: If `reverse_complement` and the alphabet has no complementary strand.
        """
        self.division, self.max_unknown = division, max_unknown
        self.max_soft_masked, self.soft_masked_targets = max_soft_masked, soft_masked_targets
        self.reverse_complement = reverse_complement
        if reverse_complement:
            _ = division.genome.alphabet.complements  # raises now if there are none
        self.windows = self._windows(division.train)

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draw windows; see `Windows.draw`."""
        drawn = self.windows.batch(
            rows, length + 1, seed, step, first, both_strands=self.reverse_complement
        )
        return self._rows(drawn)

    def held_out(self, length: int, most: int) -> Batch | None:
        """Cut the held-out regions into windows; see `Windows.tiles`."""
        if not self.division.valid:
            return None
        return self._rows(self._windows(self.division.valid).tiles(length + 1, most))

    def _windows(self, regions: tuple[Region, ...]) -> Windows:
        return Windows(
            self.division.genome,
            regions,
            self.max_unknown,
            self.max_soft_masked,
            keep_case=not self.soft_masked_targets,
        )

    def _rows(self, windows: np.ndarray) -> Batch:
        return token_ids(windows, self.division.genome.alphabet, self.soft_masked_targets)


class MixedSource:
    """Windows of several genomes; the genome of each row is drawn by weight."""

    def __init__(self, sources: Mapping[str, Source], weights: Mapping[str, float]) -> None:
        """Keep the sources in the order of their names.

        Args:
            sources: By the genome's name.
            weights: How often each is drawn, relative to the others.
        """
        self.sources = {name: sources[name] for name in sorted(sources)}
        total = sum(weights[name] for name in self.sources)
        self._edges = np.cumsum([weights[name] / total for name in self.sources])[:-1]

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draw a genome for each row, and its window there."""
        names = list(self.sources)
        drawn = [
            self.sources[names[self._genome_of(seed, step, row)]].batch(1, length, seed, step, row)
            for row in range(first, first + rows)
        ]
        return _stacked(drawn)

    def held_out(self, length: int, most: int) -> Batch | None:
        """Return the held-out windows of all genomes, which share the limit equally."""
        share = max(1, most // len(self.sources))
        found = [source.held_out(length, share) for source in self.sources.values()]
        kept = [rows for rows in found if rows is not None]
        return _stacked(kept) if kept else None

    def _genome_of(self, seed: int, step: int, row: int) -> int:
        random = np.random.default_rng((seed, step, row, 1)).random()
        return int(np.searchsorted(self._edges, random, side="right"))


def _stacked(rows: Sequence[Batch]) -> Batch:
    return Batch(
        np.concatenate([some.inputs for some in rows]),
        np.concatenate([some.targets for some in rows]),
    )


@lru_cache
def _tokens(alphabet: Alphabet) -> np.ndarray:
    """Return the token id of every ASCII code, (256,) int8, whatever its case."""
    table = np.full(256, IGNORED, dtype=np.int8)
    for letters in (alphabet.letters, alphabet.letters.lower()):
        table[list(letters.encode())] = range(len(SPECIALS), len(SPECIALS) + len(letters))
    return table


def token_ids(
    windows: np.ndarray, alphabet: Alphabet = DNA, soft_masked_targets: bool = True
) -> Batch:
    """Turn windows into rows of token ids; a target that is unknown (N) is ignored.

    Args:
        windows: (B, L+1) ASCII codes of the alphabet's letters; soft-masked ones in lower case.
        alphabet: The alphabet.
        soft_masked_targets: Whether lower-case letters count as targets.
    """
    ids = _tokens(alphabet)
    targets = ids.copy()
    targets[[ord(alphabet.unknown), ord(alphabet.unknown.lower())]] = IGNORED
    if not soft_masked_targets:
        targets[list(alphabet.letters.lower().encode())] = IGNORED
    return Batch(ids[windows[:, :-1]], targets[windows[:, 1:]])
