"""Functions of 8 bits, given by examples: input SEP output SEP ... input SEP, then which output?

After Breslow et al. 2025 (arXiv 2511.12797), who test Evo2 on 100 functions from 8 bits to 8 bits
written in nucleotides, count an answer as right only if all of it is, and compare with the mode,
the most frequent output among the demonstrations. The functions here are those that they name
(identity, NOT, reverse, shifts, parity, majority), and rotations, a swap of halves and functions of
neighbouring bits. Their list is longer and their encoding differs: here 0 is A, 1 is C, and the
template is that of every few-shot run. Accuracies are therefore not directly comparable.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from backbone.common.errors import InputError
from tasks.probes.probe import Episode, Pair, add_probe

BITS = 8
DIGITS = "AC"
"""Zero and one: not complementary, so that no output is the reverse complement of its input."""

Function = Callable[[np.ndarray], np.ndarray]

FUNCTIONS: dict[str, Function] = {
    "identity": lambda bits: bits,
    "not": lambda bits: 1 - bits,
    "reverse": lambda bits: bits[::-1],
    "rotate_left": lambda bits: np.roll(bits, -1),
    "rotate_right": lambda bits: np.roll(bits, 1),
    "swap_halves": lambda bits: np.roll(bits, BITS // 2),
    "shift_left": lambda bits: np.append(bits[1:], 0),
    "shift_right": lambda bits: np.append(0, bits[:-1]),
    "parity": lambda bits: np.full(BITS, bits.sum() % 2),
    "majority": lambda bits: np.full(BITS, int(bits.sum() > BITS / 2)),
    "prefix_parity": lambda bits: np.cumsum(bits) % 2,
    "neighbours_differ": lambda bits: bits ^ np.roll(bits, -1),
}
"""From 8 bits to 8 bits, the first bit on the left. A tie of `majority` is 0."""


@dataclass(frozen=True)
class BitFunction:
    """Inputs with their outputs under one function, drawn for every episode.

    Attributes:
        functions: Functions to draw from.
        applied: How many are drawn, without replacement, and applied one after another.
    """

    functions: Mapping[str, Function]
    applied: int = 1

    def draw(self, shots: int, random: np.random.Generator, queries: int = 1) -> Episode:
        """Draw one episode; no input occurs twice.

        Args:
            shots: Demonstrations in total, as in the paper: outputs are not classes to balance.
            random: Generator of the draw.
            queries: Number of queries.

        Raises:
            InputError: If there are fewer inputs than demonstrations and queries.
        """
        if shots + queries > 2**BITS:
            raise InputError(
                f"shots={shots}: {shots} demonstrations and {queries} queries need as many inputs, "
                f"and there are {2**BITS}; give fewer shots"
            )
        chosen = random.choice(list(self.functions), size=self.applied, replace=False)
        pairs = []
        for number in random.permutation(2**BITS)[: shots + queries]:
            bits = number >> np.arange(BITS)[::-1] & 1
            result = bits
            for name in chosen:
                result = self.functions[name](result)
            pairs.append(Pair(_text(bits), _text(result)))
        return Episode(tuple(pairs[:shots]), tuple(pairs[shots:]))


def _text(bits: np.ndarray) -> str:
    return "".join(DIGITS[bit] for bit in bits)


WORDS = tuple("".join(letters) for letters in product(DIGITS, repeat=BITS))
"""All outputs, in the order of their numbers."""


_SOURCE = "after Breslow et al. 2025, arXiv 2511.12797"
add_probe("boolean", WORDS, BitFunction(FUNCTIONS), "a new function of 8 bits each time", _SOURCE)
add_probe(
    "boolean_composed",
    WORDS,
    BitFunction(FUNCTIONS, 2),
    "two functions of 8 bits composed",
    _SOURCE,
)
for _name, _function in FUNCTIONS.items():
    add_probe(
        f"boolean_{_name}", WORDS, BitFunction({_name: _function}), f"8 bits: {_name}", _SOURCE
    )
