import errno
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.audit.kinship as module
from backbone.sequence.dna import reverse_complement
from tasks.audit.kinship import NEAR, NONE, OPPOSITE, SAME, counted, find_kinship, kinship
from tests.tasks.rows import dna, labelled, splits_of

A, B, C, D, E, F = dna(6, 60)


def near(sequence):
    """One letter of sixty is another one."""
    return sequence[:30] + ("A" if sequence[30] != "A" else "C") + sequence[31:]


def test_the_closest_relative_of_each_row_by_hand():
    train = labelled([A, B, A, reverse_complement(B), near(A), C])
    val = labelled([near(C), D, A])
    test = labelled([A, reverse_complement(A), near(C), reverse_complement(near(B)), E, D, near(D)])
    found = find_kinship(train, val, test)
    assert found.train.tolist() == [NONE, NONE, SAME, OPPOSITE, NEAR, NONE]
    assert found.val.tolist() == [NEAR, NONE, SAME]
    # near(C) and D stand in validation alone.
    assert found.test.tolist() == [SAME, OPPOSITE, SAME, NEAR, NONE, SAME, NEAR]
    assert found.test_in_train.tolist() == [SAME, OPPOSITE, NEAR, NEAR, NONE, NONE, NONE]
    assert counted(found.test) == {"rows": 7, "same": 3, "reverse_complement": 1, "near": 2}


def test_relatives_of_relatives_share_a_cluster():
    place = dna(1, 150, seed=1)[0]
    train, val, test = [place[:60], D], [place[25:85], E], [place[50:110], reverse_complement(D)]
    clusters = find_kinship(labelled(train), labelled(val), labelled(test)).clusters
    assert clusters[0] == clusters[2] == clusters[4]
    assert clusters[1] == clusters[5]
    assert len(set(clusters)) == 3


def test_a_palindrome_is_the_same_and_not_its_own_reverse_complement():
    palindrome = A + reverse_complement(A)
    found = find_kinship(labelled([palindrome, B]), labelled([C]), labelled([palindrome]))
    assert found.test.tolist() == [SAME]


POOL = [A, B, C, near(A), near(B), reverse_complement(A), reverse_complement(C), D, E]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(POOL), min_size=2, max_size=8),
    st.lists(st.sampled_from(POOL), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_depends_on_neither_order_nor_strand(train, test, random):
    val = labelled([F])
    found = find_kinship(labelled(train), val, labelled(test))
    order = random.sample(range(len(test)), len(test))
    shuffled = random.sample(train, len(train))
    again = find_kinship(labelled(shuffled), val, labelled([test[i] for i in order]))
    assert again.test.tolist() == found.test[order].tolist()
    assert counted(again.train) == counted(found.train)
    turned = find_kinship(
        labelled([reverse_complement(s) for s in train]),
        labelled([reverse_complement(F)]),
        labelled([reverse_complement(s) for s in test]),
    )
    for name in ("train", "val", "test", "test_in_train"):
        assert getattr(turned, name).tolist() == getattr(found, name).tolist()
    assert len(set(turned.clusters)) == len(set(found.clusters))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache on disk and in memory; gives the folder and counts what is computed."""
    computed = []
    find = module.find_kinship
    monkeypatch.setattr(module, "find_kinship", lambda *rows: computed.append(1) or find(*rows))
    monkeypatch.setattr("tasks.audit.kinship.cache_folder", lambda kind: tmp_path)
    module._kept.cache_clear()
    yield tmp_path, computed
    module._kept.cache_clear()


def test_one_division_is_compared_once_in_a_process_and_once_on_a_machine(cache):
    folder, computed = cache
    rows = labelled([A, B]), labelled([C, D]), labelled([A, E])
    one = kinship(splits_of(*rows))
    assert kinship(splits_of(*rows)) is one and len(computed) == 1
    module._kept.cache_clear()  # as in another process
    again = kinship(splits_of(*rows))
    assert len(computed) == 1 and len(list(folder.iterdir())) == 1
    for name, array in vars(one).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    kinship(splits_of(rows[0], rows[1], labelled([B, E])))
    assert len(computed) == 2


def test_a_long_search_says_that_it_works_and_how_long(cache, monkeypatch, capsys):
    splits = splits_of(labelled([A, B]), labelled([C, D]), labelled([A, E]))
    kinship(splits)
    assert capsys.readouterr().err == ""
    module._kept.cache_clear()
    monkeypatch.setattr(module, "_read", lambda *_: None)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    kinship(splits)
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"searching for relatives among 6 rows: \d+\.\d s, kept for later runs", line
    )


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_a_damaged_cache_is_found_again(cache, damage):
    folder, computed = cache
    splits = splits_of(labelled([A, B]), labelled([C, D]), labelled([A, E]))
    kinship(splits)
    (file,) = folder.iterdir()
    if damage is None:
        np.savez(file.open("wb"), train=np.zeros(2))
    else:
        file.write_bytes(damage)
    module._kept.cache_clear()
    assert kinship(splits).test.tolist() == [SAME, NONE]
    assert len(computed) == 2


def test_a_full_disk_costs_the_cache_alone(cache, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, _ = cache
    monkeypatch.setattr(np, "savez_compressed", full)
    splits = splits_of(labelled([A, B]), labelled([C, D]), labelled([A, E]))
    assert kinship(splits).test.tolist() == [SAME, NONE]
    assert not list(folder.iterdir())
