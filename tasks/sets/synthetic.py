"""Synthetic tasks: planted signals with a known best possible accuracy.

Both generators know the probability of a sequence under each class, so the best classifier is
known too: it goes by the likelihood ratio (Neyman and Pearson 1933), and its accuracy on
200,000 drawn rows is the `best_accuracy` of the task (standard error 0.0005).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import scipy

from tasks.registry import TASKS
from tasks.sources.published import GeneratedSource
from tasks.task import Example, Task

_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@runtime_checkable
class PlantedSignal(Protocol):
    """A generator that knows where its signal is."""

    @property
    def length(self) -> int:
        """Bases of a sequence, L."""
        ...

    def motif_bases(self, sequences: Sequence[str]) -> np.ndarray:
        """Return which bases carry the signal, (N, L)."""
        ...


def planted_bases(task: Task, sequences: Sequence[str]) -> np.ndarray | None:
    """Return which bases of a task's rows carry its planted signal, (N, L).

    None for a task whose signal is not known, and for sequences of another length than its rows.
    """
    source = task.source
    if not isinstance(source, GeneratedSource) or not isinstance(source.generator, PlantedSignal):
        return None
    if {len(sequence) for sequence in sequences} != {source.generator.length}:
        return None
    return source.generator.motif_bases(sequences)


@dataclass(frozen=True)
class PlantedMotif:
    """Class 1 carries a motif `copies` times, one in each equal stretch; class 0 is background.

    The background is uniform over ACGT. Each letter of a copy is replaced by a uniform one with
    probability `noise`, and a share `silent` of class 1 carries no copy at all and cannot be told
    from class 0: at best accuracy is close to 1 - silent / 2.

    Attributes:
        motif: Consensus; the default is two cAMP response elements, with equal letters, and the
            same on both strands, so neither GC content nor the strand matters.
        length: Bases of a sequence.
        copies: Stretches, each with one copy at a uniform place inside it.
        noise: Probability that a letter is drawn anew.
        silent: Share of class 1 without a copy.
    """

    motif: str = "TGACGTCATGACGTCA"
    length: int = 160
    copies: int = 5
    noise: float = 0.1
    silent: float = 0.1

    def draw(self, n: int, random: np.random.Generator) -> list[Example]:
        """Draw `n` rows, the classes in turn."""
        stretch = self.length // self.copies
        examples = []
        for row in range(n):
            bases = random.integers(4, size=self.length)
            label = row % 2
            if label and random.random() >= self.silent:
                for start in range(0, stretch * self.copies, stretch):
                    at = start + random.integers(stretch - len(self.motif) + 1)
                    bases[at : at + len(self.motif)] = _noisy(self.motif, self.noise, random)
            examples.append(Example(_text(bases), label))
        return examples

    def log_likelihood_ratio(self, sequences: Sequence[str]) -> np.ndarray:
        """Exact log of P(sequence | class 1) / P(sequence | class 0), (N,)."""
        stretch = self.length // self.copies
        match = _motif_log_odds(_bases(sequences), self.motif, self.noise)
        places = stretch - len(self.motif) + 1
        starts = np.arange(self.copies)[:, None] * stretch + np.arange(places)
        carried = (scipy.special.logsumexp(match[:, starts], axis=2) - np.log(places)).sum(axis=1)
        return np.logaddexp(np.log1p(-self.silent) + carried, np.log(self.silent))

    def motif_bases(self, sequences: Sequence[str]) -> np.ndarray:
        """Return which bases probably belong to a copy of the motif, (N, L).

        They do with a probability above one half, given the sequence alone, if both classes are
        equally frequent.
        """
        stretch = self.length // self.copies
        match = _motif_log_odds(_bases(sequences), self.motif, self.noise)
        places = stretch - len(self.motif) + 1
        starts = np.arange(self.copies)[:, None] * stretch + np.arange(places)
        found = match[:, starts]
        carried = (scipy.special.logsumexp(found, axis=2) - np.log(places)).sum(axis=1)
        prior = (1 - self.silent) / 2
        share = scipy.special.expit(np.log(prior) - np.log1p(-prior) + carried)
        inside = np.zeros((len(sequences), self.length))
        weights = scipy.special.softmax(found, axis=2) * share[:, None, None]
        for start, weight in zip(
            starts.ravel(), weights.reshape(len(sequences), -1).T, strict=True
        ):
            inside[:, start : start + len(self.motif)] += weight[:, None]
        return inside > 0.5


@dataclass(frozen=True)
class MotifGrammar:
    """Both classes carry motif A and motif B once; class 1 has them in order and well spaced.

    Class 1 has A, then `near` bases, then B. Class 0 has, one half each, B, then `near` bases,
    then A; or A, then `far` bases, then B. Gaps and places are uniform. Rows come in pairs with
    the same letters (background and motif copies) in another arrangement, so that letters, GC
    content and, but for borders, short words are the same in both classes.

    Attributes:
        first: Motif A.
        second: Motif B.
        length: Bases of a sequence.
        near: Smallest and largest gap of class 1.
        far: Smallest and largest wrong gap.
        noise: Probability that a letter of a motif is drawn anew from ACGT.
    """

    first: str = "TGACTCAGCA"
    second: str = "CCATATTAGG"
    length: int = 160
    near: tuple[int, int] = (6, 12)
    far: tuple[int, int] = (30, 60)
    noise: float = 0.25

    def draw(self, n: int, random: np.random.Generator) -> list[Example]:
        """Draw `n` rows, the classes in turn."""
        examples = []
        for row in range(n):
            if row % 2 == 0:
                first = _noisy(self.first, self.noise, random)
                second = _noisy(self.second, self.noise, random)
                rest = random.integers(4, size=self.length - len(first) - len(second))
                motifs, gaps = [(second, first), (first, second)][random.integers(2)], self.near
                if motifs[0] is first:
                    gaps = self.far
            else:
                motifs, gaps = (first, second), self.near
            gap = random.integers(gaps[0], gaps[1] + 1)
            start = random.integers(len(rest) - gap + 1)
            before, between, after = np.split(rest, [start, start + gap])
            bases = np.concatenate([before, motifs[0], between, motifs[1], after])
            examples.append(Example(_text(bases), row % 2))
        return examples

    def log_likelihood_ratio(self, sequences: Sequence[str]) -> np.ndarray:
        """Exact log of P(sequence | class 1) / P(sequence | class 0), (N,)."""
        bases = _bases(sequences)
        first = _motif_log_odds(bases, self.first, self.noise)
        second = _motif_log_odds(bases, self.second, self.noise)
        right = _arranged(first, len(self.first), second, self.near)
        swapped = _arranged(second, len(self.second), first, self.near)
        apart = _arranged(first, len(self.first), second, self.far)
        return right - (np.logaddexp(swapped, apart) - np.log(2))

    def motif_bases(self, sequences: Sequence[str]) -> np.ndarray:
        """Return which bases probably belong to one of the motifs, (N, L).

        They do with a probability above one half, given the sequence alone, if both classes are
        equally frequent.
        """
        bases = _bases(sequences)
        first = _motif_log_odds(bases, self.first, self.noise), len(self.first)
        second = _motif_log_odds(bases, self.second, self.noise), len(self.second)
        arrangements = (
            (first, second, self.near, 0.5),
            (second, first, self.near, 0.25),
            (first, second, self.far, 0.25),
        )
        placed = []
        for left, right, (least, most), prior in arrangements:
            for gap in range(least, most + 1):
                shifted = right[0][:, left[1] + gap :]
                weight = np.log(prior) - np.log(most - least + 1) - np.log(shifted.shape[1])
                weights = left[0][:, : shifted.shape[1]] + shifted + weight
                placed.append((weights, left[1], right[1], gap))
        total = scipy.special.logsumexp(np.concatenate([one[0] for one in placed], axis=1), axis=1)
        inside = np.zeros(bases.shape)
        for weights, left_width, right_width, gap in placed:
            shares = np.exp(weights - total[:, None])
            for offset in (*range(left_width), *(left_width + gap + i for i in range(right_width))):
                inside[:, offset : offset + shares.shape[1]] += shares
        return inside > 0.5


def _arranged(left: np.ndarray, width: int, right: np.ndarray, gaps: tuple[int, int]) -> np.ndarray:
    """Log-odds against pure background of "left, gap, right", averaged over gaps and places, (N,).

    Args:
        left: (N, L') log-odds of the left motif at each start.
        width: Bases of the left motif.
        right: (N, L'') the same for the right motif.
        gaps: Smallest and largest gap.
    """
    terms = []
    for gap in range(gaps[0], gaps[1] + 1):
        shifted = right[:, width + gap :]
        both = left[:, : shifted.shape[1]] + shifted
        terms.append(scipy.special.logsumexp(both, axis=1, b=1 / both.shape[1]))
    return scipy.special.logsumexp(terms, axis=0) - np.log(len(terms))


def _motif_log_odds(bases: np.ndarray, motif: str, noise: float) -> np.ndarray:
    """Log-odds of the noisy motif against uniform background at each start, (N, L - width + 1)."""
    windows = np.lib.stride_tricks.sliding_window_view(bases, len(motif), axis=1)
    matches = (windows == _bases([motif])[0]).sum(axis=2)
    hit, miss = np.log((1 - noise + noise / 4) * 4), np.log(noise)
    return matches * hit + (len(motif) - matches) * miss


def _noisy(motif: str, noise: float, random: np.random.Generator) -> np.ndarray:
    """A copy of the motif, each letter drawn anew with probability `noise`."""
    consensus = _bases([motif])[0]
    anew = random.random(len(motif)) < noise
    return np.where(anew, random.integers(4, size=len(motif)), consensus)


def _bases(sequences: Sequence[str]) -> np.ndarray:
    """Sequences of equal length over ACGT as numbers 0 to 3, (N, L)."""
    codes = np.frombuffer("".join(sequences).encode(), dtype=np.uint8)
    return np.searchsorted(_LETTERS, codes).reshape(len(sequences), -1)


def _text(bases: np.ndarray) -> str:
    return _LETTERS[bases].tobytes().decode()


TASKS.add(
    "synthetic_easy",
    Task(
        "synthetic_easy",
        ("background", "motif"),
        GeneratedSource(PlantedMotif()),
        description="a motif in random background; generated",
        licence="Apache-2.0",
        best_accuracy=0.9495,
    ),
)
TASKS.add(
    "synthetic_hard",
    Task(
        "synthetic_hard",
        ("disordered", "ordered"),
        GeneratedSource(MotifGrammar()),
        description="order and spacing of two motifs; generated",
        licence="Apache-2.0",
        best_accuracy=0.9547,
    ),
)
