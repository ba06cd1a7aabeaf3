"""Words that recur among important stretches, by hand."""

import numpy as np
import pytest
from scipy.stats import binom

from icl.explain.attribution import Attribution
from icl.explain.motifs import recurring_motifs


def explained(sequence: str, important: str) -> Attribution:
    """A row whose bases marked x have importance 1."""
    effects = np.zeros((len(sequence), 4))
    effects[[mark == "x" for mark in important]] = -1.0
    for place, base in enumerate(sequence):
        effects[place, "ACGT".index(base)] = 0.0
    return Attribution(sequence, 1, 0.0, effects, None)


def test_a_word_that_is_read_in_every_row_comes_first():
    rows = [
        explained("TTGACTT", "..xxx.."),
        explained("AAGTCAA", "..xxx.."),  # the same word on the other strand
        explained("GACAAAA", "......."),
    ]
    control = [explained("TGTATCA", "xx.xx.x")] * 3  # every stretch of three bases has two
    found = recurring_motifs(rows, control, kmer=3)
    first = found.iloc[0]
    assert (first["motif"], first["reverse_complement"]) == ("GAC", "GTC")
    assert (first["rows"], first["places"], first["important"]) == (2, 3, 2)
    assert first["expected"] == pytest.approx(0.15)
    assert first["p"] == pytest.approx(binom.sf(1, 3, 0.05))
    assert first["importance"] == pytest.approx(2.0)
    assert (first["control_places"], first["control_important"]) == (0, 0)
    assert len(found) == 1 and (found["q"] >= found["p"]).all()


def test_rows_shorter_than_the_word_have_none():
    short = [explained("GA", "xx")]
    assert recurring_motifs(short, short, kmer=3).empty
