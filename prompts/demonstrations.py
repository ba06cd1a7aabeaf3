"""Demonstrations: which labelled rows a query is shown, and in which order.

They come from one pool, the training rows, as many of each class, and never from the query's own
stretch of genome (`prompts.leakage`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.kmers import kmer_frequencies
from prompts.leakage import overlaps
from prompts.similarity import Cosine, Embed, GcAndLength, Similarity
from tasks.task import Example

CHOOSERS = ("random", "nearest", "nearest_embedding", "diverse", "matched")
ORDERS = ("random", "nearest_last", "alternating")

RELEVANCE = 0.5
"""Weight of nearness to the query against distance from what is chosen already, in `diverse`."""


@dataclass(frozen=True)
class Demonstration:
    """A labelled row that is shown.

    Attributes:
        sequence: DNA over ACGTN.
        label: Index into the labels of the task.
        row: Its place in the pool.
    """

    sequence: str
    label: int
    row: int


Refuses = Callable[[str], bool]


class DemonstrationChooser:
    """Chooses and orders demonstrations: a function of the pool, the seed and the query alone.

    Choosers, each taking `shots` rows of every class:

    - `random`: drawn from the class.
    - `nearest`: the nearest by cosine of strand-blind 4-mer frequencies.
    - `nearest_embedding`: the nearest by cosine of what `embed` makes of the rows.
    - `diverse`: by maximal marginal relevance (Carbonell and Goldstein 1998, eq. 1), one of each
      class in turn: near the query and far from what is chosen already, by 4-mers.
    - `matched`: the nearest in GC content and length, so that neither tells the classes apart.

    Orders:

    - `random`: drawn.
    - `nearest_last`: from the least to the most similar, by the chooser's own measure; by 4-mers
      where it has none.
    - `alternating`: rounds of one row of each class, the classes in one drawn order; what was
      chosen first stands in the last round, next to the query.
    """

    def __init__(
        self,
        pool: Sequence[Example],
        classes: int,
        shots: int,
        *,
        chooser: str = "random",
        order: str = "random",
        seed: int = 0,
        embed: Embed | None = None,
    ) -> None:
        """Checks the options; the pool is measured when that is first needed.

        Args:
            pool: training rows.
            classes: the number of classes.
            shots: demonstrations per class.
            chooser: one of `CHOOSERS`.
            order: one of `ORDERS`.
            seed: of all draws.
            embed: for `nearest_embedding`, N sequences -> (N, D) frozen states, mean-pooled.

        Raises:
            InputError: for an option that is not among the choices, or too small a pool.
        """
        if chooser not in CHOOSERS:
            raise InputError(f"method.chooser={chooser}: must be one of {', '.join(CHOOSERS)}")
        if order not in ORDERS:
            raise InputError(f"method.order={order}: must be one of {', '.join(ORDERS)}")
        if chooser == "nearest_embedding" and embed is None:
            raise InputError("method.chooser=nearest_embedding needs a backbone that embeds rows")
        if shots < 0:
            raise InputError(f"shots={shots}: give 0 or more demonstrations per class")
        self.pool, self.shots, self.chooser, self.order = pool, shots, chooser, order
        self._seed, self._embed = seed, embed
        labels = np.array([example.label for example in pool], dtype=np.int64)
        self._rows = [np.flatnonzero(labels == label) for label in range(classes)]
        for label, rows in enumerate(self._rows):
            if len(rows) < shots:
                raise self._too_few(label, len(rows))

    def fixed(self, avoid: Sequence[str] = ()) -> tuple[Demonstration, ...]:
        """One set for all queries of a run.

        Args:
            avoid: the sequences that will be scored; rows that overlap one of them are left out.

        Raises:
            InputError: if the chooser or the order asks for a query, or too few rows are left.
        """
        if self.chooser != "random":
            raise InputError(
                f"method.chooser={self.chooser} chooses for each query: "
                f"give method.demonstrations=per_query or method.chooser=random"
            )
        if self.order == "nearest_last":
            raise InputError(
                "method.order=nearest_last orders for each query: "
                "give method.demonstrations=per_query or another order"
            )
        generator = np.random.default_rng([self._seed])
        chosen = self._drawn(generator, lambda row: any(overlaps(row, other) for other in avoid))
        return self._shown(self._ordered(chosen, None, generator))

    def for_query(self, sequence: str) -> tuple[Demonstration, ...]:
        """The set for one query: a function of the pool, the seed and the sequence alone.

        Raises:
            InputError: if a class has fewer than `shots` rows that do not overlap the query.
        """
        if not self.shots:
            return ()
        digest = int.from_bytes(sha256(sequence.encode()).digest()[:8])
        generator = np.random.default_rng([self._seed, digest])

        def refused(row: str) -> bool:
            return overlaps(sequence, row)

        if self.chooser == "random":
            chosen = self._drawn(generator, refused)
        elif self.chooser == "diverse":
            chosen = self._diverse(sequence, refused)
        else:
            chosen = self._nearest(sequence, refused)
        return self._shown(self._ordered(chosen, sequence, generator))

    def _drawn(self, generator: np.random.Generator, refused: Refuses) -> list[list[int]]:
        orders = [generator.permutation(rows) for rows in self._rows]
        return [self._first(label, rows, refused) for label, rows in enumerate(orders)]

    def _nearest(self, sequence: str, refused: Refuses) -> list[list[int]]:
        distance = -self._similarity.to(sequence)
        orders = [rows[np.argsort(distance[rows], kind="stable")] for rows in self._rows]
        return [self._first(label, rows, refused) for label, rows in enumerate(orders)]

    def _diverse(self, sequence: str, refused: Refuses) -> list[list[int]]:
        """Maximal marginal relevance, one of each class in turn."""
        relevance = RELEVANCE * self._kmers.to(sequence)
        redundancy = np.zeros(len(self.pool))  # frequencies are positive, so are their cosines
        chosen: list[list[int]] = [[] for _ in self._rows]
        for _ in range(self.shots):
            for label, rows in enumerate(self._rows):
                row = self._best(rows, relevance - (1 - RELEVANCE) * redundancy, refused)
                if row is None:
                    raise self._too_few(label, len(chosen[label]))
                chosen[label].append(row)
                relevance[row] = -np.inf  # a row is shown once
                redundancy = np.maximum(redundancy, self._kmers.between(row))
        return chosen

    def _best(self, rows: np.ndarray, value: np.ndarray, refused: Refuses) -> int | None:
        """The row of the greatest value that may be shown; None if there is none left."""
        for _ in rows:
            row = int(rows[np.argmax(value[rows])])
            if value[row] == -np.inf:
                return None
            if not refused(self.pool[row].sequence):
                return row
            value[row] = -np.inf
        return None

    def _first(self, label: int, rows: Iterable[int], refused: Refuses) -> list[int]:
        """The first `shots` rows that may be shown."""
        allowed = (int(row) for row in rows if not refused(self.pool[row].sequence))
        chosen = list(islice(allowed, self.shots))
        if len(chosen) < self.shots:
            raise self._too_few(label, len(chosen))
        return chosen

    def _ordered(
        self, chosen: list[list[int]], sequence: str | None, generator: np.random.Generator
    ) -> list[int]:
        """Rows in the order in which they are shown; `chosen` has a list a class, best first."""
        rows = [row for of_class in chosen for row in of_class]
        if self.order == "alternating":
            classes = generator.permutation(len(chosen))
            return [chosen[c][i] for i in reversed(range(self.shots)) for c in classes]
        if self.order == "nearest_last" and sequence is not None and rows:
            similarity = self._similarity.to(sequence)
            return sorted(rows, key=lambda row: (similarity[row], -row))
        return [int(row) for row in generator.permutation(np.array(rows, dtype=np.int64))]

    def _shown(self, rows: Iterable[int]) -> tuple[Demonstration, ...]:
        return tuple(Demonstration(self.pool[r].sequence, self.pool[r].label, r) for r in rows)

    @cached_property
    def _kmers(self) -> Cosine:
        return Cosine([example.sequence for example in self.pool], kmer_frequencies)

    @cached_property
    def _similarity(self) -> Similarity:
        sequences = [example.sequence for example in self.pool]
        if self.chooser == "matched":
            return GcAndLength(sequences)
        if self.chooser == "nearest_embedding" and self._embed is not None:
            return Cosine(sequences, self._embed)
        return self._kmers

    def _too_few(self, label: int, eligible: int) -> InputError:
        return InputError(
            f"shots={self.shots}: class {label} has {eligible} rows that may be shown, of "
            f"{len(self._rows[label])} in the pool; give fewer shots or more training rows"
        )


def balanced(demonstrations: Sequence[Demonstration], classes: int) -> bool:
    """Whether each class is shown equally often."""
    counts = Counter(demonstration.label for demonstration in demonstrations)
    of_each = [counts[label] for label in range(classes)]
    return sum(of_each) == len(demonstrations) and len(set(of_each)) <= 1
