import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backbone.sequence.dna import reverse_complement
from tasks.audit.exposure import occurring

RANDOM = np.random.default_rng(0)
GENOME = "".join(RANDOM.choice(list("ACGT"), size=300))


def test_rows_are_found_on_either_strand_and_to_the_last_letter():
    row = GENOME[100:180]
    other = "A" if row[-1] != "A" else "C"
    sequences = [
        row,
        reverse_complement(row),
        row[:-1] + other,  # the seed agrees, the end does not
        other + row[1:],
        GENOME[:60],
        GENOME[-60:],
        GENOME[-60:] + "A",  # longer than what is left
        "A" + GENOME[:60],
        row[:20],  # shorter than a seed
        reverse_complement(row[:20]),
        row[:20] + "N" + row[21:],  # an N is an N alone
    ]
    found = occurring(sequences, [GENOME.encode()])
    assert found.tolist() == [True, True, False, False, True, True, False, False, True, True, False]


def test_a_row_with_n_is_found_where_the_text_has_them():
    text = GENOME[:50] + "N" * 40 + GENOME[50:100]
    sequences = [text[40:120], text[10:60], text[60:80], "A" * 40, GENOME[40:60]]
    assert occurring(sequences, [text.encode()]).tolist() == [True, True, True, False, False]


def test_rows_are_looked_for_in_every_text_and_never_across_two():
    texts = [GENOME[:150].encode(), GENOME[150:].encode()]
    sequences = [GENOME[10:100], GENOME[200:280], GENOME[120:180]]
    assert occurring(sequences, texts).tolist() == [True, True, False]
    assert occurring(sequences, []).tolist() == [False] * 3
    assert occurring([], texts).tolist() == []


@given(
    st.lists(st.text("ACN", min_size=1, max_size=70), min_size=1, max_size=5),
    st.text("ACN", max_size=200),
    st.integers(0, 100),
)
def test_agrees_with_a_plain_search(sequences, text, start):
    sequences = [*sequences, text[start : start + 50] or "A"]
    plain = [s in text or reverse_complement(s) in text for s in sequences]
    assert occurring(sequences, [text.encode()]).tolist() == plain
