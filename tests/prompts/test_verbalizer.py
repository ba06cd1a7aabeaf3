import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.tokens import decode_dna
from prompts.verbalizer import Verbalizer, default_words, verbalizer


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (2, ("A", "N")),
        (3, ("A", "G", "N")),
        (4, ("A", "C", "G", "T")),
        (5, ("AA", "AC", "AG", "AT", "CA")),
    ],
)
def test_default_words(classes, words):
    assert default_words(classes) == words


@given(st.integers(1, 300))
def test_default_words_are_distinct_and_as_short_as_one_length_allows(classes):
    words = default_words(classes)
    length = len(words[0])
    assert len(set(words)) == classes and {len(word) for word in words} == {length}
    assert 4 ** (length - 1) < classes or length == 1
    assert verbalizer(classes, words) == verbalizer(classes)


def test_ids_spell_the_words():
    ids = Verbalizer(("AC", "GN")).ids
    assert ids.tolist() == [[7, 8], [9, 11]]
    assert [decode_dna(row) for row in ids] == ["AC", "GN"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("A",), "one word for each of the 2 classes"),
        (("A", "A"), "share"),
        (("A", "a"), "consist of"),
        (("A", ""), "consist of"),
        (("A", "CG"), "one length"),
    ],
)
def test_words_that_cannot_be_read_back_are_refused(words, part):
    with pytest.raises(InputError, match=part):
        verbalizer(2, words)
