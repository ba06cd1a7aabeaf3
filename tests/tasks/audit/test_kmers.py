from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from tasks.audit.kmers import text_of, word_counts, words_of

SEQUENCES = st.lists(st.text("ACGTN", min_size=1, max_size=30), min_size=1, max_size=5)


def number(word):
    return sum("ACGT".index(letter) * 4**i for i, letter in enumerate(reversed(word)))


@given(SEQUENCES, st.integers(1, 16))
def test_words_are_those_of_a_plain_loop(sequences, kmer):
    words = words_of(text_of(sequences), kmer)
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
    words = words_of(text, 2)
    rows = text.row(words.places)
    for row, place, code in zip(rows, words.places - text.starts[rows], words.codes, strict=True):
        assert number(sequences[row][place : place + 2]) == code


@given(SEQUENCES, st.integers(1, 50))
def test_blocks_hold_every_word_once(sequences, letters):
    text = text_of(sequences)
    blocks = list(text.blocks(letters))
    found = [words_of(block, 3).codes for block in blocks]
    np.testing.assert_array_equal(np.concatenate(found), words_of(text, 3).codes)
    assert [b.first for b in blocks][0] == 0
    assert sum(len(b.lengths) for b in blocks) == len(sequences)


@pytest.mark.parametrize(("kmer", "size"), [(1, 2), (2, 10), (3, 32)])
def test_counts_are_blind_to_the_strand(kmer, size):
    sequences = ["ACGTTNGA", "A", "GATTACAGATTACA"]
    counts = word_counts(sequences, kmer)
    opposite = word_counts([reverse_complement(sequence) for sequence in sequences], kmer)
    assert counts.shape == (3, size)  # of the 4^k words, reverse complements being one
    np.testing.assert_array_equal(counts, opposite)
    plain = Counter(
        min(word, reverse_complement(word))
        for word in (sequences[2][i : i + kmer] for i in range(len(sequences[2]) - kmer + 1))
    )
    assert sorted(counts[2][counts[2] > 0]) == sorted(plain.values())
