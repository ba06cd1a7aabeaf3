from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from prompts.similarity import Cosine, GcAndLength, kmer_frequencies, kmer_vectors, n_words

DNA = st.text("ACGTN", max_size=60)


def test_cosine_by_hand():
    vectors = {"A": [3.0, 4.0], "C": [0.0, 2.0], "G": [0.0, 0.0], "T": [1.0, 0.0]}

    def embed(sequences):
        return np.array([vectors[sequence] for sequence in sequences])

    cosine = Cosine(["A", "C", "G"], embed)
    assert cosine.to("T").tolist() == pytest.approx([0.6, 0, 0])
    assert cosine.between(0).tolist() == pytest.approx([1, 0.8, 0])


def test_a_pool_is_embedded_once():
    calls = []

    def embed(sequences):
        calls.append(list(sequences))
        return np.ones((len(sequences), 2))

    cosine = Cosine(["A", "C"], embed)
    cosine.to("G")
    cosine.to("T")
    assert calls == [["A", "C"], ["G"], ["T"]]


def test_kmers_are_blind_to_strand():
    pool = ["AACCGTAACG", "TTTTTTTTTA"]
    cosine = Cosine(pool, kmer_vectors)
    for sequence in pool:
        other = cosine.to(reverse_complement(sequence))
        assert other.tolist() == pytest.approx(cosine.to(sequence).tolist())
        assert other.max() == pytest.approx(1)


def test_gc_and_length_are_measured_in_standard_deviations_of_the_pool():
    # GC 0 and 1: a deviation of 0.5; lengths 2 and 6: a deviation of 2.
    near = GcAndLength(["AA", "GCGCGC"]).to("ACAC")
    assert near.tolist() == pytest.approx([-np.sqrt(1 + 1), -np.sqrt(1 + 1)])
    assert GcAndLength(["AA", "GCGCGC"]).to("ATTTTT").tolist() == pytest.approx([-2, -2])


def test_pools_of_one_length_are_told_apart_by_gc_alone():
    assert GcAndLength(["AA", "GC", "AC"]).to("GG").argsort().tolist() == [0, 2, 1]


def slow_frequencies(sequence, kmer):
    words = [sequence[i : i + kmer] for i in range(len(sequence) - kmer + 1)]
    words = [min(w, reverse_complement(w)) for w in words if "N" not in w]
    return {word: count / len(words) for word, count in Counter(words).items()}


def test_kmer_frequencies_by_hand():
    # AA, AC, AG, AT, CA, CC, CG, GA, GC, TA stand for the sixteen words of two letters.
    # AACGT has AA, AC, CG and GT, which is AC again.
    assert n_words(2) == 10
    assert kmer_frequencies("AACGT", 2).tolist() == [0.25, 0.5, 0, 0, 0, 0, 0.25, 0, 0, 0]
    assert kmer_frequencies("GGNC", 1).tolist() == [0, 1]
    assert not kmer_frequencies("NAN", 2).any() and not kmer_frequencies("A", 2).any()


@settings(deadline=None)
@given(DNA, st.integers(1, 6))
def test_kmer_frequencies_equal_a_slow_count(sequence, kmer):
    expected = slow_frequencies(sequence, kmer)
    words = sorted({min(w, reverse_complement(w)) for w in expected})
    found = kmer_frequencies(sequence, kmer)
    assert len(found) == n_words(kmer)
    assert found[found > 0].tolist() == [expected[word] for word in words]


@settings(deadline=None)
@given(DNA, st.integers(1, 6))
def test_kmer_frequencies_are_blind_to_strand(sequence, kmer):
    both = [kmer_frequencies(s, kmer) for s in (sequence, reverse_complement(sequence))]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("kmer", range(1, 7))
def test_number_of_words_is_that_of_canonical_kmers(kmer):
    words = {"".join(letters) for letters in product("ACGT", repeat=kmer)}
    assert n_words(kmer) == len({min(w, reverse_complement(w)) for w in words})
