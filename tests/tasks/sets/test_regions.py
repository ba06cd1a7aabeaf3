"""Regions that are held out: no position in two splits, whatever the records."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.fasta import Record
from tasks.sets.regions import SHARES, hold_out, names_record


def records(*lengths: int, file: str = "genome.fa") -> list[Record]:
    return [Record(f"chr{i}", Path(file), length) for i, length in enumerate(lengths, 1)]


def divided(some, length, seed=0, **named):
    return hold_out(some, length, np.random.default_rng(seed), **named)


def bases(regions, part) -> int:
    return sum(stretch.end - stretch.start for stretch in regions[part])


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    length=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_splits_never_share_a_position_and_lie_a_window_apart(lengths, length, seed):
    try:
        regions = divided(records(*lengths), length, seed)
    except InputError:
        return
    assert set(regions) == set(SHARES)
    every = [(one, part) for part, some in regions.items() for one in some]
    for one, part in every:
        assert one.start >= 0 and one.start + length <= one.end <= one.record.length
        for other, another in every:
            if part != another and one.record == other.record:
                apart = max(one.start - other.end, other.start - one.end)
                assert apart >= length


def test_whole_records_are_held_out_where_there_are_enough():
    some = records(*[1000] * 10)
    regions = divided(some, 100)
    assert {part: len(regions[part]) for part in SHARES} == {"train": 7, "val": 1, "test": 2}
    assert all(s.start == 0 and s.end == 1000 for part in SHARES for s in regions[part])
    assert sorted(s.record.name for part in SHARES for s in regions[part]) == sorted(
        record.name for record in some
    )
    others = [{s.record.name for s in divided(some, 100, seed)["test"]} for seed in range(20)]
    assert len({frozenset(names) for names in others}) > 5


def test_one_record_is_cut_into_three_stretches_with_a_gap_of_a_window():
    regions = divided(records(10_000), 100)
    found = sorted((s.start, s.end, part) for part in SHARES for s in regions[part])
    # 7,000, 1,000 and 2,000 bases in a drawn order; 50 bases are left out at either side of a cut.
    ends = np.cumsum([{"train": 7000, "val": 1000, "test": 2000}[part] for _, _, part in found])
    assert [start for start, _, _ in found] == [0, ends[0] + 50, ends[1] + 50]
    assert [end for _, end, _ in found] == [ends[0] - 50, ends[1] - 50, 10_000]
    first = {min(divided(records(10_000), 100, s).items(), key=lambda i: i[1][0].start)[0]
             for s in range(20)}  # fmt: skip
    assert first == set(SHARES)


def test_one_chromosome_that_is_most_of_a_genome_is_cut():
    regions = divided(records(10_000, 400, 300), 100)
    assert all(regions[part][0].record.name == "chr1" for part in SHARES if len(regions[part]) == 1)
    assert bases(regions, "train") > 4 * bases(regions, "val") > 0


def test_a_record_that_is_much_larger_than_its_share_stays_in_train():
    for seed in range(10):
        regions = divided(records(4100, *[500] * 12), 50, seed)
        assert "chr1" in {s.record.name for s in regions["train"]}
        assert bases(regions, "test") <= 2500


@pytest.mark.parametrize("lengths", [(10_000,), (1000,) * 6 + (40, 70)])
def test_regions_stay_where_windows_grow(lengths):
    short, long = (divided(records(*lengths), length) for length in (10, 80))
    for part in SHARES:
        middle = {s.record.name: (s.start + s.end) / 2 for s in short[part] if s.end > 80}
        assert {s.record.name: (s.start + s.end) / 2 for s in long[part]} == pytest.approx(
            middle, abs=40
        )


def test_records_are_held_out_by_their_names_or_files():
    some = [
        *records(1000, 1000, 1000, file="data/a.fa.gz"),
        Record("x", Path("data/chr5.fna.gz"), 900),
    ]
    regions = divided(some, 100, test=["chr5"], val=["chr[23]"])
    assert [s.record.name for s in regions["test"]] == ["x"]
    assert [s.record.name for s in regions["val"]] == ["chr2", "chr3"]
    assert [s.record.name for s in regions["train"]] == ["chr1"]


def test_what_is_not_named_is_divided_among_the_other_splits():
    regions = divided(records(*[1000] * 9), 100, test=["chr1"])
    assert [s.record.name for s in regions["test"]] == ["chr1"]
    assert (len(regions["train"]), len(regions["val"])) == (7, 1)


def test_patterns_mean_names_and_file_names_without_their_suffix():
    record = Record("NC_1.1", Path("species/pig/chr10.fna.gz"), 5)
    assert all(names_record(p, record) for p in ("NC_1.1", "NC_*", "chr10", "chr1?", "*.fna.gz"))
    assert not any(names_record(p, record) for p in ("chr1", "NC_1", "pig"))


def test_a_record_cannot_be_held_out_twice():
    with pytest.raises(InputError, match="chr1 is named for validation and for test"):
        divided(records(100, 100), 10, val=["chr1"], test=["chr1"])


@pytest.mark.parametrize("lengths", [(100,), (20, 20, 20)])
def test_too_little_sequence_is_said_with_its_numbers(lengths):
    said = f"windows of 50 bases .the longest record has {max(lengths)}"
    with pytest.raises(InputError, match=said):
        divided(records(*lengths), 50)
