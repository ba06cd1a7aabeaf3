"""Where the trainer's rows of token ids come from: anything that draws them, genomes above all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from backbone.hyena.tokenizer import SPECIALS
from backbone.pretraining.windows import Division, Region, Windows, complements
from backbone.sequence.dna import DNA, Alphabet

IGNORED = -100
"""As a target: this position does not count."""


@dataclass(frozen=True)
class Rows:
    """Rows of one length, in bytes, because a genome's held-out regions are kept whole.

    Attributes:
        inputs: (B, L) int8 token ids.
        targets: (B, L) int8, the token that is to follow each position, `IGNORED` where none is.
    """

    inputs: np.ndarray
    targets: np.ndarray

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self.inputs.shape[1]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.inputs[rows], self.targets[rows])

    def share(self, rank: int, count: int) -> "Rows":
        """Every `count`-th row, from `rank` on; equally many for each rank.

        Where they do not divide, the first row stands in without a target.
        """
        mine = self[slice(rank, None, count)]
        if len(mine) * count >= len(self):
            return mine
        return Rows(
            np.concatenate([mine.inputs, self.inputs[:1]]),
            np.concatenate([mine.targets, np.full_like(self.targets[:1], IGNORED)]),
        )


class Source(Protocol):
    """What a model is trained on."""

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Rows:
        """Draws rows of one step, from row `first` on, a function of the arguments alone.

        A row does not depend on how many are asked for, so that processes can share a step.

        Raises:
            InputError: if there are none of that length.
        """
        ...

    def held_out(self, length: int, most: int) -> Rows | None:
        """Rows that are never drawn, at most `most`; None if nothing is held out."""
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
        """Reads the training regions into memory; the held-out ones when they are asked for.

        Args:
            division: which regions train and which are held out.
            max_unknown: windows with a larger share of N are passed over.
            max_soft_masked: windows with a larger share of lower-case letters are passed over.
            soft_masked_targets: whether lower-case letters count as targets.
            reverse_complement: whether half of the windows are read from the other strand.

        Raises:
            InputError: if a reverse complement is asked for and there is no other strand.
        """
        self.division, self.max_unknown = division, max_unknown
        self.max_soft_masked, self.soft_masked_targets = max_soft_masked, soft_masked_targets
        self.reverse_complement = reverse_complement
        if reverse_complement:
            complements(division.genome.alphabet)  # or refuse now
        self.windows = self._windows(division.train)

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Rows:
        """Draws windows; see `Windows.draw`."""
        drawn = self.windows.batch(
            rows, length + 1, seed, step, first, both_strands=self.reverse_complement
        )
        return self._rows(drawn)

    def held_out(self, length: int, most: int) -> Rows | None:
        """Cuts the held-out regions into windows; see `Windows.tiles`."""
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

    def _rows(self, windows: np.ndarray) -> Rows:
        return token_ids(windows, self.division.genome.alphabet, self.soft_masked_targets)


class MixedSource:
    """Windows of several genomes, each row from one that is drawn by its weight."""

    def __init__(self, sources: Mapping[str, Source], weights: Mapping[str, float]) -> None:
        """Keeps the sources in the order of their names.

        Args:
            sources: by the genome's name.
            weights: how often each is drawn, against all others.
        """
        self.sources = {name: sources[name] for name in sorted(sources)}
        total = sum(weights[name] for name in self.sources)
        self._edges = np.cumsum([weights[name] / total for name in self.sources])[:-1]

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Rows:
        """Draws a genome for each row, and its window there."""
        names = list(self.sources)
        drawn = [
            self.sources[names[self._genome_of(seed, step, row)]].batch(1, length, seed, step, row)
            for row in range(first, first + rows)
        ]
        return _stacked(drawn)

    def held_out(self, length: int, most: int) -> Rows | None:
        """The held-out windows of all genomes; a limit is shared equally."""
        share = max(1, most // len(self.sources))
        found = [source.held_out(length, share) for source in self.sources.values()]
        kept = [rows for rows in found if rows is not None]
        return _stacked(kept) if kept else None

    def _genome_of(self, seed: int, step: int, row: int) -> int:
        random = np.random.default_rng((seed, step, row, 1)).random()
        return int(np.searchsorted(self._edges, random, side="right"))


def _stacked(rows: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([some.inputs for some in rows]),
        np.concatenate([some.targets for some in rows]),
    )


@lru_cache
def _tokens(alphabet: Alphabet) -> np.ndarray:
    """The token id of every ASCII code, (256,) int8; case does not matter."""
    table = np.full(256, IGNORED, dtype=np.int8)
    for letters in (alphabet.letters, alphabet.letters.lower()):
        table[list(letters.encode())] = range(len(SPECIALS), len(SPECIALS) + len(letters))
    return table


def token_ids(
    windows: np.ndarray, alphabet: Alphabet = DNA, soft_masked_targets: bool = True
) -> Rows:
    """Makes rows of windows (B, L+1) of ASCII codes; a target that is unknown (N) is ignored.

    Args:
        windows: letters of the alphabet; soft-masked ones in lower case.
        alphabet: of the letters.
        soft_masked_targets: whether lower-case letters count as targets.
    """
    ids = _tokens(alphabet)
    targets = ids.copy()
    targets[[ord(alphabet.unknown), ord(alphabet.unknown.lower())]] = IGNORED
    if not soft_masked_targets:
        targets[list(alphabet.letters.lower().encode())] = IGNORED
    return Rows(ids[windows[:, :-1]], targets[windows[:, 1:]])
