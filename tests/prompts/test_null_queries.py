from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from backbone.common.errors import InputError
from prompts.null_queries import NULLS, dinucleotide_shuffle, null_queries

SEQUENCES = ["ACGTTGCAACGGT", "GATTACA", "CCGGNNTTACGATAG"]
dna = st.text("ACGTN", max_size=80)


@given(dna, st.integers(0, 2**32 - 1))
def test_shuffle_keeps_ends_and_dinucleotide_counts(sequence, seed):
    shuffled = dinucleotide_shuffle(sequence, np.random.default_rng(seed))
    assert Counter(pairwise(shuffled)) == Counter(pairwise(sequence))
    assert len(shuffled) == len(sequence)
    assert shuffled[:1] == sequence[:1] and shuffled[-1:] == sequence[-1:]


@pytest.mark.parametrize("sequence", ["ACACGAGA", "AACATCAA", "NANCAANC", "ACGTAC"])
def test_shuffle_is_uniform_over_all_sequences_that_it_may_give(sequence):
    possible = {
        "".join(p)
        for p in permutations(sequence)
        if p[0] == sequence[0] and Counter(pairwise(p)) == Counter(pairwise(sequence))
    }
    generator = np.random.default_rng(0)
    drawn = Counter(dinucleotide_shuffle(sequence, generator) for _ in range(300 * len(possible)))
    assert set(drawn) == possible
    if len(possible) > 1:
        assert chisquare(list(drawn.values())).pvalue > 0.001


def test_long_runs_of_one_letter_are_shuffled_all_the_same():
    # One step in 5,000 leaves the N: drawing last steps until they lead to the end would not stop.
    sequence = "AC" + "N" * 5000 + "GTTGACGTA"
    shuffled = dinucleotide_shuffle(sequence, np.random.default_rng(0))
    assert Counter(pairwise(shuffled)) == Counter(pairwise(sequence))


def test_nulls_are_of_the_lengths_of_the_sequences_and_use_each_in_turn():
    lengths = Counter(len(s) for s in SEQUENCES * 2)
    for kind in ("dinucleotide", "n_run"):
        assert Counter(map(len, null_queries(kind, SEQUENCES, 6, seed=1))) == lengths
    assert set("".join(null_queries("n_run", SEQUENCES, 6, seed=1))) == {"N"}
    assert null_queries("empty", SEQUENCES, 6, seed=1) == [""]


def test_dinucleotide_nulls_are_shuffles_of_the_sequences():
    counts = [Counter(pairwise(s)) for s in SEQUENCES]
    nulls = null_queries("dinucleotide", SEQUENCES, 30, seed=0)
    assert all(Counter(pairwise(null)) in counts for null in nulls)
    assert len(set(nulls)) > len(SEQUENCES)


@pytest.mark.parametrize("kind", NULLS)
def test_nulls_follow_from_the_seed(kind):
    assert null_queries(kind, SEQUENCES, 9, 3) == null_queries(kind, SEQUENCES, 9, 3)
    if kind == "dinucleotide":
        assert null_queries(kind, SEQUENCES, 9, 3) != null_queries(kind, SEQUENCES, 9, 4)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("white noise", SEQUENCES, 3, 0), "choose one of dinucleotide, n_run, empty"),
        (("n_run", SEQUENCES, 0, 0), "at least 1"),
        (("n_run", [], 3, 0), "at least 1"),
    ],
)
def test_nulls_that_cannot_be_drawn_are_refused(arguments, part):
    with pytest.raises(InputError, match=part):
        null_queries(*arguments)
