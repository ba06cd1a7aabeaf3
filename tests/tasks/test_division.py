import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from tasks.division import apportion, divide, same_sequence, stratified_sample
from tasks.task import Example, subset

POOL = (0.7, 0.1, 0.2)


def test_apportion_gives_remainders_to_the_largest():
    assert apportion(3474, POOL) == [2432, 347, 695]  # 2431.8, 347.4, 694.8
    assert apportion(10, POOL) == [7, 1, 2]
    assert apportion(1, (1, 1)) == [1, 0]
    assert apportion(0, (1, 1)) == [0, 0]


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_apportion_sums_to_the_total_and_is_within_one_of_the_share(total, weights):
    counts = apportion(total, weights)
    assert sum(counts) == total
    exact = total * np.array(weights) / sum(weights)
    assert np.all(np.abs(np.array(counts) - exact) < 1 + 1e-6)


def test_both_strands_of_a_sequence_are_the_same_sequence():
    groups = same_sequence(["AACC", "GGTT", "AACC", "ACGT", "AAAA"])
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 3


@given(st.lists(st.integers(10, 60), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_division_keeps_the_proportions_of_the_classes(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = divide(labels, np.arange(len(labels)), POOL, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, POOL, strict=True):
        for label, size in enumerate(sizes):
            assert abs(np.sum(labels[part] == label) - share * size) < 1


@given(st.data())
def test_division_does_not_depend_on_row_order_and_never_tears_equal_sequences(data):
    sequences = data.draw(st.lists(st.text("ACGT", min_size=1, max_size=4), min_size=1))
    rows = [(s, data.draw(st.integers(0, 1))) for s in sequences]
    shuffled = data.draw(st.permutations(rows))

    def divided(rows):
        groups = same_sequence([sequence for sequence, _ in rows])
        parts = divide([label for _, label in rows], groups, POOL, 3)
        return [sorted(rows[i] for i in part) for part in parts]

    parts = divided(rows)
    assert parts == divided(shuffled)
    strands = [{min(s, reverse_complement(s)) for s, _ in part} for part in parts]
    assert not (strands[0] & strands[1] or strands[0] & strands[2] or strands[1] & strands[2])


def test_seed_moves_the_division_and_nothing_else_does():
    labels, groups = [0, 1] * 50, np.arange(100)
    first, again, other = (divide(labels, groups, POOL, seed)[2] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.data())
def test_sample_has_the_size_asked_for_and_the_proportions(sizes, data):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    n = data.draw(st.integers(len(sizes), len(labels)))
    rows = stratified_sample(labels, n, seed=1)
    assert len(set(rows.tolist())) == n
    counts = np.bincount(labels[rows], minlength=len(sizes))
    # One row a class, and of the other rows a share in proportion, rounded up or down.
    others = np.array(sizes) - 1
    exact = 1 + (n - len(sizes)) * others / max(1, others.sum())
    assert np.all(counts >= 1)
    assert np.all(np.abs(counts - exact) < 1)


def test_sample_keeps_a_rare_class_and_the_rest_in_proportion():
    labels = np.repeat([0, 1, 2], [1, 31, 61])
    counts = np.bincount(labels[stratified_sample(labels, 12, seed=3)])
    assert counts.tolist() == [1, 4, 7]


def test_subset_keeps_order_and_refuses_impossible_sizes():
    examples = [Example("A" * (i + 1), i % 2) for i in range(10)]
    chosen = subset(examples, 4, seed=0)
    assert [e.label for e in chosen].count(0) == 2
    assert list(chosen) == sorted(chosen, key=lambda e: len(e.sequence))
    assert chosen == subset(examples, 4, seed=0) != subset(examples, 4, seed=1)
    for n in (0, 1, 11):
        with pytest.raises(InputError, match="choose a number from 2 to 10"):
            subset(examples, n, seed=0)
