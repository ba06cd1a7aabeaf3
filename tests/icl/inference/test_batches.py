import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.tokens import decode_dna, encode_dna
from icl.inference.batches import BUCKET, EncodedSequences, both_strands

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=20)


@given(LENGTHS, st.integers(1, 7), st.integers(0, 9))
def test_batches_hold_every_row_once_with_its_own_letters(lengths, size, seed):
    random = np.random.default_rng(seed)
    sequences = ["".join(random.choice(list("ACGTN"), size=n)) for n in lengths]
    queries = EncodedSequences(sequences, 200)
    seen = []
    for batch in queries.batches(size):
        seen += batch.rows.tolist()
        assert len(batch.rows) <= size and batch.ids.shape[0] == len(batch.rows)
        for row, ids, length in zip(batch.rows, batch.ids, batch.lengths, strict=True):
            assert decode_dna(ids[:length]) == sequences[row]
            assert (ids[length:] == 4).all()
            assert len(ids) == min(-(-len(sequences[row]) // BUCKET) * BUCKET, 200)
    assert sorted(seen) == list(range(len(sequences)))


def test_padding_never_exceeds_what_fits():
    (batch,) = EncodedSequences(["A" * 65, "C" * 70], 70).batches(8)
    assert batch.ids.shape == (2, 70)


@given(LENGTHS, st.integers(1, 7), st.integers(0, 9))
def test_an_epoch_holds_every_row_once_on_a_strand_drawn_for_it(lengths, size, seed):
    queries = EncodedSequences(both_strands(["A" * n for n in lengths]), 200)
    count = len(lengths)
    steps = list(queries.epoch(count, size, np.random.default_rng(seed)))
    assert sorted(row % count for rows in steps for row in rows) == list(range(count))
    for rows in steps:
        assert len(rows) <= size and len(set(queries.padded[rows])) == 1


def test_epochs_read_both_strands_in_an_order_that_changes():
    queries = EncodedSequences(both_strands(["A"] * 40), 64)
    random = np.random.default_rng(0)
    one, two = (np.concatenate(list(queries.epoch(40, 8, random))) for _ in range(2))
    assert {len(set(rows // 40)) for rows in (one, two)} == {2}
    assert one.tolist() != two.tolist()


def test_both_strands():
    assert both_strands(["AAC", "GN"]) == ["AAC", "GN", "GTT", "NC"]


@pytest.mark.parametrize(
    ("sequences", "part"), [(["A", ""], "row 2: the sequence is empty"), (["AAAA"], "row 1: 4 ")]
)
def test_rows_that_cannot_be_read_are_refused(sequences, part):
    with pytest.raises(InputError, match=part):
        EncodedSequences(sequences, 3)


def test_what_stands_before_a_query_is_part_of_its_row_and_may_stand_alone():
    before = [encode_dna("GG"), encode_dna("T")]
    queries = EncodedSequences(["AC", ""], 64, before)
    (batch,) = queries.batches(2)
    assert batch.lengths.tolist() == [4, 1]
    assert [decode_dna(ids[:n]) for ids, n in zip(batch.ids, batch.lengths, strict=True)] == [
        "GGAC",
        "T",
    ]
    with pytest.raises(InputError, match="row 1 has 4 tokens; the maximum is 3"):
        EncodedSequences(["AC", ""], 3, before)


def test_an_empty_row_behind_shared_tokens_is_all_padding():
    (batch,) = EncodedSequences([""], 100, [np.zeros(0, dtype=np.int64)]).batches(2)
    assert batch.ids.shape == (1, BUCKET) and batch.lengths.tolist() == [0]


def test_batches_hold_no_more_tokens_than_they_may():
    queries = EncodedSequences(["A" * 200] * 3 + ["A"] * 5, 256)
    sizes = [len(batch.rows) for batch in queries.batches(4, tokens=128)]
    assert sizes == [2, 2, 1, 1, 1, 1]
