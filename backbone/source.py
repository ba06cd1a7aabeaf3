"""Where the trainer's rows of token ids come from: anything that draws them, genomes above all."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backbone.tokenizer import encode_dna
from backbone.windows import UNKNOWN, Division, Windows

IGNORED = -100
"""As a target: this position does not count."""

_TOKENS = np.full(256, IGNORED, dtype=np.int8)
_TOKENS[list(b"ACGTN")] = encode_dna("ACGTN")


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


class Source(Protocol):
    """What a model is trained on."""

    def batch(self, rows: int, length: int, seed: int, step: int) -> Rows:
        """Draws the rows of one step, a function of the arguments alone.

        Raises:
            InputError: if there are none of that length.
        """
        ...

    def held_out(self, length: int, most: int) -> Rows | None:
        """Rows that are never drawn, at most `most`; None if nothing is held out."""
        ...


class GenomeSource:
    """Windows of a genome, each nucleotide predicted from those before it; N does not count."""

    def __init__(self, division: Division, max_unknown: float) -> None:
        """Reads the training regions into memory; the held-out ones when they are asked for.

        Args:
            division: which regions train and which are held out.
            max_unknown: windows with a larger share of N are passed over.
        """
        self.division, self.max_unknown = division, max_unknown
        self.windows = Windows(division.genome, division.train, max_unknown)

    def batch(self, rows: int, length: int, seed: int, step: int) -> Rows:
        """Draws windows; see `Windows.draw`."""
        return token_ids(self.windows.batch(rows, length + 1, seed, step))

    def held_out(self, length: int, most: int) -> Rows | None:
        """Cuts the held-out regions into windows; see `Windows.tiles`."""
        if not self.division.valid:
            return None
        windows = Windows(self.division.genome, self.division.valid, self.max_unknown)
        return token_ids(windows.tiles(length + 1, most))


def token_ids(windows: np.ndarray) -> Rows:
    """Makes rows of windows (B, L+1) of ASCII codes; a target that is N is ignored."""
    ids = _TOKENS[windows]
    targets = np.where(windows[:, 1:] == UNKNOWN, np.int8(IGNORED), ids[:, 1:])
    return Rows(ids[:, :-1], targets)
