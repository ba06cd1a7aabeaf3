from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from backbone.sequence.kmers import kmer_counts, kmer_frequencies, kmers_of, n_kmers, text_of

SEQUENCES = st.lists(st.text("ACGTN", min_size=1, max_size=30), min_size=1, max_size=5)


def number(word):
    return sum("ACGT".index(letter) * 4**i for i, letter in enumerate(reversed(word)))


@given(SEQUENCES, st.integers(1, 16))
def test_words_are_those_of_a_plain_loop(sequences, kmer):
    words = kmers_of(text_of(sequences), kmer)
    plain = [
        sequence[i : i + kmer]
        for sequence in sequences
        for i in range(len(sequence) - kmer + 1)
        if "N" not in sequence[i : i + kmer]
    ]
    assert words.codes.tolist() == [number(word) for word in plain]
    assert words.opposite.tolist() == [number(reverse_complement(word)) for word in plain]


@given(SEQUENCES)
def test_rows_and_places_are_found_again(sequences):
    text = text_of(sequences)
    words = kmers_of(text, 2)
    rows = text.row(words.places)
    for row, place, code in zip(rows, words.places - text.starts[rows], words.codes, strict=True):
        assert number(sequences[row][place : place + 2]) == code


@given(SEQUENCES, st.integers(1, 50))
def test_blocks_hold_every_word_once(sequences, letters):
    text = text_of(sequences)
    blocks = list(text.blocks(letters))
    found = [kmers_of(block, 3).codes for block in blocks]
    np.testing.assert_array_equal(np.concatenate(found), kmers_of(text, 3).codes)
    assert [b.first for b in blocks][0] == 0
    assert sum(len(b.lengths) for b in blocks) == len(sequences)


@pytest.mark.parametrize(("kmer", "size"), [(1, 2), (2, 10), (3, 32)])
def test_counts_are_blind_to_the_strand(kmer, size):
    sequences = ["ACGTTNGA", "A", "GATTACAGATTACA"]
    counts = kmer_counts(sequences, kmer)
    opposite = kmer_counts([reverse_complement(sequence) for sequence in sequences], kmer)
    assert counts.shape == (3, size)  # of the 4^k words, reverse complements being one
    np.testing.assert_array_equal(counts, opposite)
    plain = Counter(
        min(word, reverse_complement(word))
        for word in (sequences[2][i : i + kmer] for i in range(len(sequences[2]) - kmer + 1))
    )
    assert sorted(counts[2][counts[2] > 0]) == sorted(plain.values())


DNA = st.text("ACGTN", max_size=60)


def slow_frequencies(sequence, kmer):
    words = [sequence[i : i + kmer] for i in range(len(sequence) - kmer + 1)]
    words = [min(w, reverse_complement(w)) for w in words if "N" not in w]
    return {word: count / len(words) for word, count in Counter(words).items()}


def test_kmer_frequencies_by_hand():
    # AA, AC, AG, AT, CA, CC, CG, GA, GC, TA stand for the sixteen words of two letters.
    # AACGT has AA, AC, CG and GT, which is AC again.
    assert n_kmers(2) == 10
    assert kmer_frequencies(["AACGT"], 2)[0].tolist() == [0.25, 0.5, 0, 0, 0, 0, 0.25, 0, 0, 0]
    assert kmer_frequencies(["GGNC"], 1)[0].tolist() == [0, 1]
    assert not kmer_frequencies(["NAN", "A", ""], 2).any()


@settings(deadline=None)
@given(DNA, st.integers(1, 6))
def test_kmer_frequencies_equal_a_slow_count(sequence, kmer):
    expected = slow_frequencies(sequence, kmer)
    words = sorted({min(w, reverse_complement(w)) for w in expected})
    (found,) = kmer_frequencies([sequence], kmer)
    assert len(found) == n_kmers(kmer)
    assert found[found > 0].tolist() == [expected[word] for word in words]


@settings(deadline=None)
@given(DNA, st.integers(1, 6))
def test_kmer_frequencies_are_blind_to_strand(sequence, kmer):
    both = kmer_frequencies([sequence, reverse_complement(sequence)], kmer)
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("kmer", range(1, 7))
def test_number_of_words_is_that_of_canonical_kmers(kmer):
    words = {"".join(letters) for letters in product("ACGT", repeat=kmer)}
    assert n_kmers(kmer) == len({min(w, reverse_complement(w)) for w in words})
