"""Associative recall: which word stood beside this key?

The question of Olsson et al. 2022 (arXiv 2209.11895) and of Poli et al. 2023 (arXiv 2302.10866,
section 4.1), over nucleotides and in the form of few-shot classification: the demonstrations are
the pairs, and the query is one of their keys.
"""

from dataclasses import dataclass

import numpy as np

from backbone.common.errors import InputError
from tasks.probes.probe import PROBES, Episode, Pair, Probe

_LETTERS = np.array(list("ACGT"))


@dataclass(frozen=True)
class Recall:
    """Keys with a word each, drawn anew for every episode; the query is one of the keys.

    Keys are distinct and uniform, and each word is shown equally often, so neither a key nor the
    count of a word says anything: one who does not read the pairs is right by chance.

    Attributes:
        words: The words.
        key: Bases of a key.
    """

    words: tuple[str, ...] = ("A", "T")
    key: int = 2

    def draw(self, shots: int, random: np.random.Generator, queries: int = 1) -> Episode:
        """Draw one episode.

        Args:
            shots: Pairs shown per word; with 0, queries are pairs that are not shown.
            random: Where the draws come from.
            queries: Questions, drawn among the pairs with replacement: none is told by the others.

        Raises:
            InputError: If there are fewer keys than pairs.
        """
        shown = shots * len(self.words)
        if shown > 4**self.key:
            raise InputError(
                f"shots={shots}: {shown} pairs need as many keys, and there are {4**self.key} of "
                f"{self.key} bases; give fewer shots"
            )
        each = max(shots, 1)
        numbers = random.permutation(4**self.key)[: each * len(self.words)]
        digits = numbers[:, None] // 4 ** np.arange(self.key) % 4
        keys = ["".join(row) for row in _LETTERS[digits]]
        pairs = [Pair(key, self.words[i // each]) for i, key in enumerate(keys)]
        pairs = [pairs[i] for i in random.permutation(len(pairs))]
        asked = random.integers(len(pairs), size=queries)
        return Episode(tuple(pairs[:shown]), tuple(pairs[i] for i in asked))


def _register(name: str, key: int) -> None:
    recall = Recall(key=key)
    description = f"which of two words stood beside a key of {key} bases"
    citation = "Poli et al. 2023, arXiv 2302.10866, section 4.1"
    PROBES.add(name, Probe(name, recall.words, recall, description, citation))


_register("recall", 2)
_register("recall_long", 6)
