import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from tasks.audit.kinship import NONE, find_kinship, kinship
from tasks.audit.resplit import check_strict, divide_by_chromosome, redivided, removed_by_class
from tasks.task import Example
from tests.tasks.rows import Given, dna, labelled, splits_of, task_of

ROWS = dna(200, 60)


def leaky():
    """Of ten test rows, two of class 0 are in train, one of class 1 in validation, turned."""
    train, val, test = ROWS[:20], ROWS[20:26], ROWS[30:40]
    test[0], test[2], test[3] = ROWS[0], ROWS[4], reverse_complement(ROWS[21])
    return splits_of(labelled(train), labelled(val), labelled(test))


def test_official_is_what_the_source_gives():
    splits = leaky()
    assert redivided(task_of(), splits, "official", 0, None) is splits


def test_clean_leaves_out_test_rows_with_a_relative_and_says_how_many():
    splits = leaky()
    task = task_of()
    clean = redivided(task, splits, "clean", 0, None)
    assert clean.train == splits.train and clean.val == splits.val
    assert clean.test == tuple(splits.test[i] for i in (1, 4, 5, 6, 7, 8, 9))
    assert "3 of 10 test rows" in clean.origin
    assert clean.sha256 != splits.sha256
    assert (kinship(clean).test == NONE).all()
    assert removed_by_class(task, splits, kinship(splits)) == {"no": (2, 3), "yes": (1, 4)}


def test_clean_without_a_row_of_a_class_is_an_error():
    splits = splits_of(labelled(ROWS[:4]), labelled(ROWS[4:8]), labelled([ROWS[9], ROWS[1]]))
    with pytest.raises(InputError, match="'yes' has no rows in test"):
        redivided(task_of(), splits, "clean", 0, None)


def test_strict_refuses_copies_on_either_strand_with_the_numbers():
    with pytest.raises(InputError, match=r"3 of 10 test rows .*\(2 the same, 1 as reverse"):
        check_strict(task_of(), kinship(leaky()))
    near = ROWS[0][:30] + ("A" if ROWS[0][30] != "A" else "C") + ROWS[0][31:]
    check_strict(task_of(), find_kinship(labelled(ROWS[:2]), labelled(ROWS[3:5]), labelled([near])))


def family(place, n, label):
    """Windows of one place, each overlapping the next by more than half."""
    return [Example(place[i * 15 : i * 15 + 60], label) for i in range(n)]


def test_by_cluster_keeps_relatives_together():
    places = dna(30, 200, seed=3)
    rows = [row for i, place in enumerate(places) for row in family(place, 5, i % 2)]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    task = task_of()
    splits = splits_of(rows[:100], rows[100:120], rows[120:], task)
    assert (kinship(splits).test != NONE).any()
    made = redivided(task, splits, "by_cluster", 0, None)
    assert (kinship(made).test == NONE).all() and (kinship(made).val == NONE).all()
    key = lambda row: (row.sequence, row.label)  # noqa: E731
    assert sorted((*made.train, *made.val, *made.test), key=key) == sorted(rows, key=key)
    # Of 15 families a class, those that begin below 52.5 and 60 of its 75 rows.
    assert [len(made.train), len(made.val), len(made.test)] == [110, 10, 30]
    assert "relatives kept together" in made.origin
    assert redivided(task, splits, "by_cluster", 0, None).sha256 == made.sha256
    assert redivided(task, splits, "by_cluster", 1, None).sha256 != made.sha256


def test_one_family_cannot_be_divided_by_cluster():
    place = dna(1, 2000, seed=4)[0]
    rows = [Example(place[i * 20 : i * 20 + 60], i % 2) for i in range(60)]
    splits = splits_of(rows[:40], rows[40:50], rows[50:])
    with pytest.raises(InputError, match="60 of 60 rows"):
        redivided(task_of(), splits, "by_cluster", 0, None)


@pytest.fixture
def placed(tmp_path):
    """A task of sixty rows on five chromosomes, and its splits."""
    rows = labelled(ROWS[:60])
    lines = ["sequence\tlabel\tid"]
    lines += [f"{r.sequence}\t{r.label}\tCHR{i // 12 + 1}_{i}00_{i}60" for i, r in enumerate(rows)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    source = Given(rows[:40], rows[40:48], rows[48:], [tmp_path / "t.tsv"])
    task = task_of(source=source)
    return task, task.splits(0)


def test_by_chromosome_puts_each_into_one_split(placed):
    task, splits = placed
    chromosome = {row.sequence: i // 12 for i, row in enumerate(labelled(ROWS[:60]))}
    made = redivided(task, splits, "by_chromosome", 0, None)
    parts = [{chromosome[r.sequence] for r in part} for part in (made.train, made.val, made.test)]
    assert [len(part) for part in parts] == [3, 1, 1]
    assert set.union(*parts) == set(range(5))
    assert "validation" in made.origin and "chromosomes kept together" in made.origin


def test_unknown_coordinates_are_an_error_with_the_number(placed):
    task, splits = placed
    more = splits_of(splits.train, splits.val, (*splits.test, *labelled(ROWS[70:73])), task)
    with pytest.raises(InputError, match="coordinates of 3 of 63 rows"):
        redivided(task, more, "by_chromosome", 0, None)


def test_chromosomes_fewer_than_splits_are_an_error():
    with pytest.raises(InputError, match=r"2 chromosomes \(1, 2\); 3 are needed"):
        divide_by_chromosome(["1", "2", "2"], (0.7, 0.1, 0.2), 0)


def test_chromosomes_by_hand():
    names = ["a"] * 70 + ["b"] * 20 + ["c"] * 10
    parts = divide_by_chromosome(names, (0.7, 0.1, 0.2), 0)
    assert [part.tolist() for part in parts] == [
        list(range(70)),
        list(range(90, 100)),
        list(range(70, 90)),
    ]


@given(st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=50), st.integers(0, 3))
def test_no_chromosome_is_torn_and_no_part_is_empty(names, seed):
    if len(set(names)) < 3:
        return
    parts = divide_by_chromosome(names, (0.7, 0.1, 0.2), seed)
    found = [{names[row] for row in part} for part in parts]
    assert all(found) and sum(map(len, found)) == len(set(names))
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
