"""Demonstrations: which labelled rows precede a query, and in which order.

They come from one pool, the training rows, with the same number for each class. None of them is a
relative of the query (`prompts.leakage`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from backbone.common.errors import DoesNotFit, InputError
from backbone.common.streams import stream
from backbone.sequence.kmers import kmer_frequencies
from prompts.leakage import are_related
from prompts.similarity import Cosine, Embed, GcAndLength, Similarity
from tasks.task import Example

CHOOSERS = ("random", "nearest", "nearest_embedding", "diverse", "matched")
ORDERS = ("random", "nearest_last", "alternating")

RELEVANCE = 0.5
"""Weight of similarity to the query, against similarity to rows already chosen, in `diverse`."""


@dataclass(frozen=True)
class Demonstration:
    """A labelled row in a prompt.

    Attributes:
        sequence: DNA over ACGTN.
        label: Index into the labels of the task.
        row: Its index in the pool.
    """

    sequence: str
    label: int
    row: int


IsRelated = Callable[[Sequence[str]], list[bool]]
"""Of each row, whether it is a relative of a query and may not precede it."""


class DemonstrationChooser:
    """Chooses and orders demonstrations: a function of the pool, the seed and the query alone.

    Choosers, each taking `shots` rows of every class:

    - `random`: drawn from the class.
    - `nearest`: the nearest by cosine of strand-blind 4-mer frequencies.
    - `nearest_embedding`: the nearest by cosine of the vectors that `embed` returns.
    - `diverse`: by maximal marginal relevance (Carbonell and Goldstein 1998, eq. 1), one of each
      class in turn: similar to the query and unlike the rows already chosen, by 4-mers.
    - `matched`: the nearest in GC content and length, so that neither tells the classes apart.

    Orders:

    - `random`: drawn.
    - `nearest_last`: from the least to the most similar, by the chooser's own measure; by 4-mers
      where it has none.
    - `alternating`: rounds of one row of each class, the classes in one drawn order; the rows
      chosen first form the last round, next to the query.
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
        """Check the options; similarities are computed when they are first needed.

        Args:
            pool: Training rows.
            classes: The number of classes.
            shots: Demonstrations per class.
            chooser: One of `CHOOSERS`.
            order: One of `ORDERS`.
            seed: Seed of all draws.
            embed: For `nearest_embedding`, N sequences -> (N, D) mean-pooled frozen states.

        Raises:
            InputError: If an option is none of the choices, or the pool is too small.
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
        """Return one set for all queries of a run.

        Args:
            avoid: The sequences that will be scored; their relatives are left out.

        Raises:
            InputError: If the chooser or the order needs a query, or too few rows are left.
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
        generator = stream(self._seed, "demonstrations")
        chosen = self._drawn(generator, lambda rows: are_related(rows, avoid))
        return self._demonstrations(self._ordered(chosen, None, generator))

    def for_query(self, sequence: str) -> tuple[Demonstration, ...]:
        """Return the set for one query: a function of the pool, the seed and the sequence alone.

        Raises:
            InputError: If a class has fewer than `shots` rows unrelated to the query.
        """
        if not self.shots:
            return ()
        digest = int.from_bytes(sha256(sequence.encode()).digest()[:8])
        generator = stream(self._seed, "demonstrations of a query", digest)

        def is_related(rows: Sequence[str]) -> list[bool]:
            return are_related(rows, [sequence])

        if self.chooser == "random":
            chosen = self._drawn(generator, is_related)
        elif self.chooser == "diverse":
            chosen = self._diverse(sequence, is_related)
        else:
            chosen = self._nearest(sequence, is_related)
        return self._demonstrations(self._ordered(chosen, sequence, generator))

    def _drawn(self, generator: np.random.Generator, is_related: IsRelated) -> list[list[int]]:
        return self._first([generator.permutation(rows) for rows in self._rows], is_related)

    def _nearest(self, sequence: str, is_related: IsRelated) -> list[list[int]]:
        distance = -self._similarity.to(sequence)
        orders = [rows[np.argsort(distance[rows], kind="stable")] for rows in self._rows]
        return self._first(orders, is_related)

    def _first(self, orders: Sequence[np.ndarray], is_related: IsRelated) -> list[list[int]]:
        """Return the first `shots` rows of each class, in the order given, without relatives.

        Rows of all classes are compared at once, in rounds that double: one comparison with the
        many queries of a run costs hardly more than that of a single row.
        """
        chosen: list[list[int]] = [[] for _ in orders]
        start, size = 0, self.shots
        while lacking := [c for c, rows in enumerate(chosen) if len(rows) < self.shots]:
            candidates = [(c, int(row)) for c in lacking for row in orders[c][start : start + size]]
            related = is_related([self.pool[row].sequence for _, row in candidates])
            for (c, row), row_is_related in zip(candidates, related, strict=True):
                if not row_is_related and len(chosen[c]) < self.shots:
                    chosen[c].append(row)
            start, size = start + size, 2 * size
            for c in lacking:
                if len(chosen[c]) < self.shots and start >= len(orders[c]):
                    raise self._too_few(c, len(chosen[c]))
        return chosen

    def _diverse(self, sequence: str, is_related: IsRelated) -> list[list[int]]:
        """Choose by maximal marginal relevance, one of each class in turn."""
        relevance = RELEVANCE * self._kmers.to(sequence)
        redundancy = np.zeros(len(self.pool))  # frequencies are positive, so are their cosines
        chosen: list[list[int]] = [[] for _ in self._rows]
        for _ in range(self.shots):
            for label, rows in enumerate(self._rows):
                row = self._best(rows, relevance - (1 - RELEVANCE) * redundancy, is_related)
                if row is None:
                    raise self._too_few(label, len(chosen[label]))
                chosen[label].append(row)
                relevance[row] = -np.inf  # a row is chosen once
                redundancy = np.maximum(redundancy, self._kmers.between(row))
        return chosen

    def _best(self, rows: np.ndarray, value: np.ndarray, is_related: IsRelated) -> int | None:
        """Return the row of the greatest value that is no relative; None if none is left."""
        for _ in rows:
            row = int(rows[np.argmax(value[rows])])
            if value[row] == -np.inf:
                return None
            if not is_related([self.pool[row].sequence])[0]:
                return row
            value[row] = -np.inf
        return None

    def _ordered(
        self, chosen: list[list[int]], sequence: str | None, generator: np.random.Generator
    ) -> list[int]:
        """Return rows in the prompt's order; `chosen` has one list per class, best first."""
        rows = [row for of_class in chosen for row in of_class]
        if self.order == "alternating":
            classes = generator.permutation(len(chosen))
            return [chosen[c][i] for i in reversed(range(self.shots)) for c in classes]
        if self.order == "nearest_last" and sequence is not None and rows:
            similarity = self._similarity.to(sequence)
            return sorted(rows, key=lambda row: (similarity[row], -row))
        return [int(row) for row in generator.permutation(np.array(rows, dtype=np.int64))]

    def _demonstrations(self, rows: Iterable[int]) -> tuple[Demonstration, ...]:
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

    def _too_few(self, label: int, eligible: int) -> DoesNotFit:
        return DoesNotFit(
            f"shots={self.shots}: class {label} has {eligible} rows unrelated to the queries, "
            f"of {len(self._rows[label])} in the pool; give fewer shots or more training "
            f"rows"
        )


def balanced(demonstrations: Sequence[Demonstration], classes: int) -> bool:
    """Return whether each class has equally many demonstrations."""
    counts = Counter(demonstration.label for demonstration in demonstrations)
    of_each = [counts[label] for label in range(classes)]
    return sum(of_each) == len(demonstrations) and len(set(of_each)) <= 1
