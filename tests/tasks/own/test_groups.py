"""Groups of rows, such as genes or donors, that no division tears."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from tasks.audit.resplit import redivided
from tasks.division import divide, joined
from tasks.own.table import TableConfig
from tasks.registry import build_task
from tests.tasks.rows import dna

SEQUENCES = dna(120, 24)


def write(path: Path, groups, header: str = "sequence,label,group", start: int = 0) -> str:
    """A table of as many rows as there are groups, the classes in turn."""
    rows = zip(SEQUENCES[start:], groups, strict=False)
    lines = [f"{text},{number % 2},{group}" for number, (text, group) in enumerate(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def torn(splits) -> set[str]:
    """The groups with rows in several parts."""
    parts = [{e.group for e in part} - {""} for part in (splits.train, splits.val, splits.test)]
    return (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])


def test_rows_that_share_a_number_or_a_group_share_one():
    numbers = np.array([4, 0, 2, 2, 1, 3])
    assert joined(numbers, ["a", "", "b", "", "a", "b"]).tolist() == [1, 0, 2, 2, 1, 2]
    assert joined(numbers, [""] * 6).tolist() == [4, 0, 2, 2, 1, 3]
    # A group joins all copies of its rows: 5 and 6 through the two rows of number 5.
    assert joined(np.array([5, 5, 6]), ["x", "y", "y"]).tolist() == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["", "a", "b", "c"])), min_size=1),
    seed=st.integers(0, 5),
)
def test_no_division_tears_a_group_or_copies(rows, seed):
    numbers = np.unique([number for number, _ in rows], return_inverse=True)[1]
    groups = [group for _, group in rows]
    parts = divide([0] * len(rows), joined(numbers, groups), (0.7, 0.1, 0.2), seed)
    part_of = {int(row): part for part, members in enumerate(parts) for row in members}
    assert len(part_of) == len(rows)
    for one in range(len(rows)):
        for other in range(one):
            together = groups[one] and groups[one] == groups[other]
            if together or numbers[one] == numbers[other]:
                assert part_of[one] == part_of[other]


@pytest.mark.parametrize("seed", range(3))
def test_a_column_called_group_is_never_torn(tmp_path, seed):
    groups = [f"g{number // 4}" for number in range(120)]
    splits = build_task(TableConfig("table", train=write(tmp_path / "a.csv", groups))).splits(seed)
    assert not torn(splits)
    assert {e.group for e in splits.train} | {e.group for e in splits.test} <= set(groups)
    assert "the rows of each of 30 groups kept together" in splits.origin
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [84, 12, 24]


def test_another_column_or_none(tmp_path):
    groups = [f"d{number // 6}" for number in range(120)]
    path = write(tmp_path / "a.csv", groups, "sequence,label,Donor")
    by_donor = build_task(TableConfig("table", train=path, group="donor")).splits(0)
    assert not torn(by_donor) and {e.group for e in by_donor.test} <= set(groups)
    without = build_task(TableConfig("table", train=path)).splits(0)
    assert not any(e.group for e in without.train)
    ignored = write(tmp_path / "b.csv", groups)
    regardless = build_task(TableConfig("table", train=ignored, group="")).splits(0)
    assert regardless.sha256 == without.sha256 != by_donor.sha256
    with pytest.raises(InputError, match="gene"):
        build_task(TableConfig("table", train=path, group="gene")).splits(0)


def test_validation_rows_of_a_train_table_tear_none_and_neither_do_clusters(tmp_path):
    train = write(tmp_path / "a.csv", [f"g{number // 3}" for number in range(90)])
    test = write(tmp_path / "b.csv", [f"h{number // 3}" for number in range(30)], start=90)
    task = build_task(TableConfig("table", train=train, test=test))
    splits = task.splits(0)
    assert not torn(splits) and len(splits.val) == 9
    anew = redivided(task, splits, "by_cluster", 1, None)
    assert not torn(anew) and "relatives and groups kept together" in anew.origin


def test_a_copy_of_a_row_of_a_group_stays_with_it(tmp_path):
    rows = [(text, f"g{number // 4}") for number, text in enumerate(SEQUENCES)]
    rows += [(reverse_complement(SEQUENCES[number]), "") for number in range(0, 120, 10)]
    lines = [f"{text},{number % 2},{group}" for number, (text, group) in enumerate(rows)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["sequence,label,group", *lines]) + "\n")
    splits = build_task(TableConfig("table", train=str(path))).splits(0)
    of_part = [{e.sequence for e in part} for part in (splits.train, splits.val, splits.test)]
    for number in range(0, 120, 10):
        pair = {SEQUENCES[number], reverse_complement(SEQUENCES[number])}
        assert sum(bool(pair & part) for part in of_part) == 1


def test_given_files_that_tear_a_group_are_refused(tmp_path):
    train = write(tmp_path / "a.csv", [f"g{number // 4}" for number in range(80)])
    test = write(tmp_path / "b.csv", ["g3", *["h"] * 39], start=80)
    with pytest.raises(InputError, match="group 'g3' has rows in the table a.csv and in"):
        build_task(TableConfig("table", train=train, test=test)).splits(0)
    assert build_task(TableConfig("table", train=train, test=test, group="")).splits(0).test


def test_chromosomes_that_tear_a_group_are_refused(tmp_path):
    header = "sequence,label,group,region,start,end"
    rows = [f"g{n // 4},chr{1 + n % 5},{n},{n + 24}" for n in range(120)]
    task = build_task(TableConfig("table", train=write(tmp_path / "a.csv", rows, header)))
    with pytest.raises(InputError, match="group .g0. has rows on chromosomes [1-5] and"):
        redivided(task, task.splits(0), "by_chromosome", 0, None)
