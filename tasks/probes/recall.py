"""Associative recall: which word was paired with this key?

The task of Olsson et al. 2022 (arXiv 2209.11895) and Poli et al. 2023 (arXiv 2302.10866, section
4.1), over nucleotides and as few-shot classification: the demonstrations are pairs of key and word,
and the query is one of the keys.
"""

from dataclasses import dataclass

import numpy as np

from backbone.common.errors import InputError
from tasks.probes.probe import Episode, Pair, add_probe

_LETTERS = np.array(list("ACGT"))


@dataclass(frozen=True)
class Recall:
    """Keys with a word each, drawn anew for every episode; the query is one of the keys.

    Keys are distinct and uniform, and all words are equally frequent, so that neither a key nor the
    frequency of a word is informative: without the pairs, accuracy is at chance.

    Attributes:
        words: The words.
        key: Bases of a key.
    """

    words: tuple[str, ...] = ("A", "T")
    key: int = 2

    def draw(self, shots: int, random: np.random.Generator, queries: int = 1) -> Episode:
        """Draw one episode.

        Args:
            shots: Pairs per word; with 0, queries are pairs outside the context.
            random: Generator of the draw.
            queries: Number of queries, drawn from the pairs with replacement, so that none can be
                told from the others.

        Raises:
            InputError: If there are fewer keys than pairs.
        """
        count = shots * len(self.words)
        if count > 4**self.key:
            raise InputError(
                f"shots={shots}: {count} pairs need as many keys, and there are {4**self.key} of "
                f"{self.key} bases; give fewer shots"
            )
        each = max(shots, 1)
        numbers = random.permutation(4**self.key)[: each * len(self.words)]
        digits = numbers[:, None] // 4 ** np.arange(self.key) % 4
        keys = ["".join(row) for row in _LETTERS[digits]]
        pairs = [Pair(key, self.words[i // each]) for i, key in enumerate(keys)]
        pairs = [pairs[i] for i in random.permutation(len(pairs))]
        asked = random.integers(len(pairs), size=queries)
        return Episode(tuple(pairs[:count]), tuple(pairs[i] for i in asked))


for _name, _key in (("recall", 2), ("recall_long", 6)):
    _recall = Recall(key=_key)
    add_probe(
        _name, _recall.words, _recall, f"which of two words was paired with a key of {_key} bases",
        "Poli et al. 2023, arXiv 2302.10866, section 4.1",
    )  # fmt: skip
