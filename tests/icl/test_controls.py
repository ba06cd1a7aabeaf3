"""What each control changes, and to which methods it applies."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from icl.controls import (
    CONTROLS,
    applicable,
    check_control,
    controlled_backbone,
    controlled_demonstrations,
    controlled_words,
    shuffled_labels,
)
from prompts.demonstrations import Demonstration
from tasks.task import Example

SHOWN = tuple(
    Demonstration(sequence, label, row)
    for sequence, label, row in [("ACGTA", 0, 7), ("GGG", 1, 3), ("TTAACC", 2, 9), ("CA", 0, 1)]
)
OTHER = [Example(f"{'ACG'[label]}{'T' * 10}{'ACG'[label]}", label) for label in (0, 1, 2, 0)]


def controlled(control, seed=0, shown=SHOWN, other=OTHER):
    generator = np.random.default_rng(seed)
    return controlled_demonstrations(shown, control, 3, generator, lambda: other)


@pytest.mark.parametrize("control", [None, "words_swapped", "train_labels_shuffled"])
def test_controls_of_something_else_leave_demonstrations_alone(control):
    assert controlled(control) == SHOWN


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_a_function_of_its_generator_and_moves_no_place(control):
    assert controlled(control, 5) == controlled(control, 5)
    shown = controlled(control, 5)
    assert [one.row for one in shown] == ([] if control == "query_alone" else [7, 3, 9, 1])


def test_the_query_alone_has_no_demonstrations():
    assert controlled("query_alone") == ()


@given(st.integers(0, 10_000))
def test_shuffled_labels_are_the_same_labels_elsewhere(seed):
    shown = controlled("demo_labels_shuffled", seed)
    assert Counter(one.label for one in shown) == {0: 2, 1: 1, 2: 1}
    assert [one.sequence for one in shown] == [one.sequence for one in SHOWN]


@pytest.mark.parametrize("control", ["demo_labels_shuffled", "demo_labels_random"])
def test_a_drawn_label_says_nothing_about_the_one_that_was_there(control):
    pair = (Demonstration("AC", 0, 0), Demonstration("GT", 1, 1))
    kept = [
        controlled_demonstrations(pair, control, 2, np.random.default_rng([seed]), None)[0].label
        for seed in range(1000)
    ]
    assert abs(np.mean(kept) - 0.5) < 4 * np.sqrt(0.25 / 1000)


def test_flipped_labels_are_those_of_the_next_class():
    assert [one.label for one in controlled("demo_labels_flipped")] == [1, 2, 0, 1]


def test_random_dna_has_the_lengths_and_the_labels():
    shown = controlled("demos_random_dna")
    assert [len(one.sequence) for one in shown] == [5, 3, 6, 2]
    assert [one.label for one in shown] == [0, 1, 2, 0]
    assert set("".join(one.sequence for one in shown)) <= set("ACGT")
    long = controlled("demos_random_dna", shown=(Demonstration("N" * 40_000, 0, 0),))[0].sequence
    assert all(abs(long.count(letter) / 40_000 - 0.25) < 0.01 for letter in "ACGT")


def test_rows_of_another_task_take_the_places_of_their_label_cut_to_the_length():
    other = [Example(f"{'ACG'[label]}T{'ACG'[label]}", label) for label in (0, 1, 2)]
    other.append(Example("AATTTTAA", 0))
    shown = controlled("demos_other_task", other=other)
    assert [one.label for one in shown] == [0, 1, 2, 0]
    assert [one.sequence for one in shown[1:3]] == ["CTC", "GTG"]  # the second is cut from 3 to 3
    # Both rows of class 0 are used, once each; 8 to 5 around the centre, 3 to 2.
    assert (shown[0].sequence, shown[3].sequence) in [("ATTTT", "AT"), ("ATA", "TT")]


def test_another_task_with_too_few_rows_of_a_class_is_refused():
    with pytest.raises(InputError, match="1 rows of class 0, and 2 demonstrations"):
        controlled("demos_other_task", other=OTHER[:3])


def test_training_labels_are_permuted_among_the_rows():
    rows = [Example("A" * n, n % 2) for n in range(1, 101)]
    shuffled = shuffled_labels(rows, np.random.default_rng(0))
    assert [row.sequence for row in shuffled] == [row.sequence for row in rows]
    assert sum(row.label for row in shuffled) == 50
    assert 30 < sum(a.label == b.label for a, b in zip(rows, shuffled, strict=True)) < 70


def test_swapped_words_are_those_of_the_next_class_the_default_ones_too():
    assert controlled_words(["A", "C", "G"], "words_swapped", 3) == ("C", "G", "A")
    assert controlled_words(None, "words_swapped", 2) == ("N", "A")
    assert controlled_words(None, None, 2) is None
    assert controlled_words(["A", "N"], "random_backbone", 2) == ("A", "N")


def test_a_random_backbone_has_the_shape_of_the_one_that_is_named():
    assert controlled_backbone("bundled", "random_backbone") == "random:bundled"
    assert controlled_backbone("bundled", None) == "bundled"
    with pytest.raises(InputError, match="random already"):
        controlled_backbone("random:bundled", "random_backbone")


@pytest.mark.parametrize(
    ("uses_backbone", "label_words", "shots", "expected"),
    [
        (True, True, 2, list(CONTROLS)),
        (True, True, 0, ["words_swapped", "train_labels_shuffled", "random_backbone"]),
        (True, True, None, ["words_swapped", "train_labels_shuffled", "random_backbone"]),
        (True, False, None, ["train_labels_shuffled", "random_backbone"]),
        (False, False, 2, ["train_labels_shuffled"]),
    ],
)
def test_controls_apply_where_there_is_something_to_change(
    uses_backbone, label_words, shots, expected
):
    method = SimpleNamespace(uses_backbone=uses_backbone, label_words=label_words)
    assert applicable(method, shots) == expected


def test_a_control_that_changes_nothing_is_refused_with_those_that_apply():
    fitting = ["train_labels_shuffled", "random_backbone"]
    check_control("random_backbone", "m", fitting)
    with pytest.raises(InputError, match="no demonstrations; those that apply: train_labels"):
        check_control("query_alone", "m", fitting)
    with pytest.raises(InputError, match="about label words"):
        check_control("words_swapped", "m", fitting)
    with pytest.raises(InputError, match="unknown control 'words'"):
        check_control("words", "m", fitting)


def test_every_control_says_what_it_does_and_what_survival_means():
    for control in CONTROLS.values():
        assert all(dataclasses.astuple(control))
        assert control.survival.endswith(".")
