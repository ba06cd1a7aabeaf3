"""Rows of windows with label words, without labels: two pseudo-classes, a random word for each.

A row is written as few-shot prompts are with the direct readout (`prompts.template`):

    window SEP word SEP  window SEP word SEP  ...

Which word belongs to which class is found out from the row alone, so that a model that predicts the
words learns to classify by demonstrations, in the manner of MetaICL (Min et al. 2022, arXiv
2110.15943), with classes that need no label.
"""

from dataclasses import dataclass

import numpy as np

from backbone.common.streams import stream
from backbone.pretraining.related.contrast import PseudoClasses, is_base
from backbone.pretraining.related.source import join
from backbone.pretraining.related.stream import log_uniform
from backbone.tokens import NUCLEOTIDES, SEP, N

SHORTEST, LONGEST = 16, 200
"""Bases of a window."""

FEWEST, MOST = 4, 128
"""Windows of a row."""

SHOWN = 2
"""Windows at the start of a row that show both words, which are not asked."""

AROUND = 3
"""Tokens after a window: [SEP], the word, [SEP]."""

LETTERS = np.array([*NUCLEOTIDES, N], dtype=np.int8)
"""The label words."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one shape: n windows of M bases, each with its label word.

    Attributes:
        ids: (R, n * (M + 3)) int8 token ids.
        words: (R, 2) int8, the word of each class.
        classes: (R, n) int8, the class of each window, 0 or 1; both of the first two windows.
    """

    ids: np.ndarray
    words: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows, R."""
        return len(self.ids)

    def __getitem__(self, rows: slice) -> "LabelledRows":
        """Return some of the rows."""
        return LabelledRows(self.ids[rows], self.words[rows], self.classes[rows])

    @property
    def asked(self) -> int:
        """Words that a model is asked for."""
        return self.classes[:, SHOWN:].size

    @property
    def bases(self) -> int:
        """Bases of windows that a model predicts: all of A, C, G and T but the first of a row."""
        windows = self.ids.reshape(len(self), self.classes.shape[1], -1)[..., :-AROUND]
        return max(1, int(is_base(windows).sum() - is_base(windows[:, 0, 0]).sum()))


class LabelWordSource(PseudoClasses):
    """Draws rows with label words from a mixture of streams."""

    def rows(self, tokens: int, most: int, seed: int, step: int) -> LabelledRows:
        """Draw the rows of one step, as a function of the arguments alone.

        Windows are log-uniform from 16 to 200 bases, and from 4 to 128 a row.

        Args:
            tokens: About how many tokens are read.
            most: Tokens that a row may have.
            seed: Of the run.
            step: Number of the step.

        Raises:
            InputError: If the regions are too short for the windows of a stream.
        """
        random = stream(seed, "label word shape", step)
        longest = min(LONGEST, max(SHORTEST, most // FEWEST - AROUND))
        bases = round(log_uniform(random, SHORTEST, longest))
        fitting = max(FEWEST, min(MOST, most // (bases + AROUND)))
        windows = round(log_uniform(random, FEWEST, fitting))
        drawn = [
            self._row(stream(seed, "label words", step, number), bases, windows)
            for number in range(max(1, tokens // (windows * (bases + AROUND))))
        ]
        ids, words, classes = (np.stack([row[i] for row in drawn]) for i in range(3))
        return LabelledRows(ids, words, classes)

    def _row(
        self, random: np.random.Generator, bases: int, windows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw token ids, the word of each class, and the class of each window."""
        rest = random.integers(2, size=windows - SHOWN)
        classes = np.concatenate([random.permutation(2), rest]).astype(np.int8)
        words = random.choice(LETTERS, size=2, replace=False)
        ones = int(classes.sum())
        sides = [iter(side) for side in self.pair(random, bases, windows - ones, ones)]
        parts = [
            part
            for label in classes
            for part in (
                join([next(sides[label])])[0],
                np.array([SEP, words[label], SEP], dtype=np.int8),
            )
        ]
        return np.concatenate(parts), words, classes


@dataclass(frozen=True)
class LabelWords:
    """How much a trainer asks for label words.

    Attributes:
        source: Draws the rows.
        weight: Of the mean cross-entropy of the words, relative to the mean loss of bases.
        tokens: Tokens a step.
    """

    source: LabelWordSource
    weight: float
    tokens: int
