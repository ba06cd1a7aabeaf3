"""Label words: the nucleotides that stand for a class, in demonstrations and as the answer.

The model only predicts nucleotides, so each class has a word over A, C, G, T and N. All words of a
task have one length: a longer word would be less likely for its length alone.
"""

import math
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.dna import ALPHABET
from backbone.tokens import TOKEN_ID

# N is rare in genomes and A is not, so as label words they start out far apart (as in HyenaDNA's
# own prompting scripts); a third class takes G.
_SHORT = {1: ("A",), 2: ("A", "N"), 3: ("A", "G", "N")}


@dataclass(frozen=True)
class Verbalizer:
    """One label word per class, in the order of the task's labels."""

    words: tuple[str, ...]

    @property
    def length(self) -> int:
        """Length of a word in tokens."""
        return len(self.words[0])

    @property
    def ids(self) -> np.ndarray:
        """Token ids of the words, (C, W) int64."""
        return np.array([[TOKEN_ID[letter] for letter in word] for word in self.words])


def default_words(classes: int) -> tuple[str, ...]:
    """Return words for a number of classes: A and N; A, G and N; beyond that words over ACGT."""
    if classes in _SHORT:
        return _SHORT[classes]
    length = math.ceil(math.log(classes, 4) - 1e-9)
    return tuple(islice(("".join(w) for w in product("ACGT", repeat=length)), classes))


def verbalizer(classes: int, words: tuple[str, ...] | None = None) -> Verbalizer:
    """Return the verbalizer of a task.

    Args:
        classes: The number of classes.
        words: One word per class; the default ones if None.

    Raises:
        InputError: If the words are not one per class, distinct, of one length and of nucleotides.
    """
    if words is None:
        return Verbalizer(default_words(classes))
    shown = f"verbalizer.words=[{','.join(words)}]"
    if len(words) != classes:
        raise InputError(f"{shown}: give one word for each of the {classes} classes")
    if len(set(words)) != len(words):
        raise InputError(f"{shown}: two classes share a word")
    if any(letter not in ALPHABET for word in words for letter in word) or "" in words:
        raise InputError(f"{shown}: words consist of {', '.join(ALPHABET)}")
    if len({len(word) for word in words}) > 1:
        raise InputError(
            f"{shown}: words must have one length; a longer one is less likely for its length alone"
        )
    return Verbalizer(words)
