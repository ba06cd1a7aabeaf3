import numpy as np
import pytest
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from backbone.sequence.kmers import kmer_frequencies
from prompts.similarity import Cosine, GcAndLength

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
    cosine = Cosine(pool, kmer_frequencies)
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
