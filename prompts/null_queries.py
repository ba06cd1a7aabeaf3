"""Null queries: uninformative DNA, on which a prompt shows its prior.

The genomic counterparts of the content-free inputs of Zhao et al. 2021 (arXiv 2102.09690).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream

NULLS = ("dinucleotide", "n_run", "empty")
"""A shuffle that keeps dinucleotide counts; a run of N of the same length; no query at all."""


def null_queries(kind: str, sequences: Sequence[str], n: int, seed: int) -> list[str]:
    """Draw null queries modelled on real ones.

    Args:
        kind: One of `NULLS`.
        sequences: Real queries, without their labels; the nulls have their lengths.
        n: Number of nulls; beyond the number of sequences these are used again, in turn.
        seed: Decides which sequences are used, and their shuffles.

    Returns:
        n sequences over ACGTN; for `empty` the one empty query, since all are alike.

    Raises:
        InputError: If the kind is unknown, n is not positive, or there is no sequence.
    """
    if kind not in NULLS:
        raise InputError(f"unknown null query {kind!r}; choose one of {', '.join(NULLS)}")
    if n < 1 or not sequences:
        raise InputError(f"{n} null queries of {len(sequences)} sequences: both must be at least 1")
    if kind == "empty":
        return [""]
    generator = stream(seed, "null queries", NULLS.index(kind))
    order = generator.permutation(len(sequences))
    models = [sequences[order[i % len(order)]] for i in range(n)]
    if kind == "n_run":
        return ["N" * len(model) for model in models]
    return [dinucleotide_shuffle(model, generator) for model in models]


def dinucleotide_shuffle(sequence: str, generator: np.random.Generator) -> str:
    """Draw uniformly from all sequences with the same dinucleotide counts and the same ends.

    A sequence is a walk over its letters that uses each dinucleotide once (Altschul and Erickson
    1985). Such a walk is free but for the last step out of each letter: those must lead to the
    last letter of the sequence, as a tree. So a tree is drawn, and all other steps are shuffled.

    Args:
        sequence: Letters of a small alphabet, such as ACGTN; the trees are enumerated.
        generator: Source of the draws.
    """
    if len(sequence) < 3:
        return sequence
    steps: dict[str, list[str]] = defaultdict(list)
    for letter, following in pairwise(sequence):
        steps[letter].append(following)
    last = _last_steps(steps, sequence[-1], generator)
    for letter, followings in steps.items():
        if letter in last:
            followings.remove(last[letter])
        steps[letter] = [followings[i] for i in generator.permutation(len(followings))]
        if letter in last:
            steps[letter].append(last[letter])
    walks = {letter: iter(followings) for letter, followings in steps.items()}
    shuffled = [sequence[0]]
    for _ in range(len(sequence) - 1):
        shuffled.append(next(walks[shuffled[-1]]))
    return "".join(shuffled)


def _last_steps(
    steps: dict[str, list[str]], end: str, generator: np.random.Generator
) -> dict[str, str]:
    """Draw the last step out of every letter but the end, a tree that leads to the end.

    A tree is as likely as there are ways to choose its steps. Drawing them all at once, rather
    than one by one until they happen to be a tree, also serves the long runs of one letter where
    hardly any choice is a tree.
    """
    counts = {letter: Counter(followings) for letter, followings in steps.items() if letter != end}
    choices = product(*([f for f in count if f != letter] for letter, count in counts.items()))
    trees = [
        tree
        for tree in (dict(zip(counts, choice, strict=True)) for choice in choices)
        if all(_leads_to(end, letter, tree) for letter in tree)
    ]
    ways = [math.prod(counts[a][b] for a, b in tree.items()) for tree in trees]
    shares = np.array(ways, dtype=np.float64) / sum(ways)
    return trees[generator.choice(len(trees), p=shares)]


def _leads_to(end: str, letter: str, tree: dict[str, str]) -> bool:
    for _ in tree:
        letter = tree.get(letter, end)
    return letter == end
