"""Labels as tables, the Hub and functions give them."""

import numpy as np
import pytest

from backbone.common.errors import InputError
from tasks.sources.labels import LabelReader, as_number, check_labels, find_labels, is_missing
from tasks.task import Task

MANY = Task("many", ("a", "b", "c"), None, kind="multi_label")
NUMBERS = Task("numbers", ("y",), None, kind="regression")


def classes(*labels: str, order="found") -> LabelReader:
    return LabelReader(Task("mine", labels, None, label_order=order))


@pytest.mark.parametrize(
    "given",
    ["101", "1,0,1", "1;0;1", "1 0 1", "1, 0, 1", "[1, 0, 1]", "1.0,0.0,1.0", "1|0|1", " 101 ",
     [1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], ["1", "0", "1"], np.array([1, 0, 1]),
     np.array([1.0, 0.0, 1.0])],
)  # fmt: skip
def test_several_labels_are_read_in_every_form(given):
    assert LabelReader(MANY)(given) == (1, 0, 1)


@pytest.mark.parametrize(
    "given",
    ["10", "102", [1, 0], [1, 0, 2], [0.5, 0, 1], 101, None, "1,0;1", "1,,1", "1,0", "a,b,c", "",
     "1_0_1", "\u0661\u0660\u0661", [[1], 0, 1], {"a": 1}],
)  # fmt: skip
def test_what_is_not_that_many_zeros_and_ones_is_refused(given):
    with pytest.raises(InputError, match="the task has 3 labels, each 0 or 1"):
        LabelReader(MANY)(given)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("-2", -2), ("+3", 3), ("1.50", 1.5), (".5", 0.5), ("2.", 2), ("1e3", 1000),
     ("1E-2", 0.01), ("007", 7)],
)  # fmt: skip
def test_numbers_are_written_in_ascii_digits(text, number):
    assert float(as_number(text)) == number
    assert LabelReader(NUMBERS)(text) == number


@pytest.mark.parametrize(
    "text",
    ["1_0", "\u0661", "inf", "nan", "NaN", "1,5", "0x10", "1e", ".", "-", "1 0", "--1", "1e5000",
     "\u22121", "true", "1j"],
)  # fmt: skip
def test_what_only_a_programming_language_takes_for_a_number_is_none(text):
    assert as_number(text) is None
    with pytest.raises(InputError, match="which is not a number"):
        LabelReader(NUMBERS)(text)


def test_a_number_beyond_all_floats_is_refused():
    with pytest.raises(InputError, match="must be finite"):
        LabelReader(NUMBERS)("1e999")


@pytest.mark.parametrize(
    ("value", "missing"),
    [("", True), ("  ", True), (None, True), (float("nan"), True), (np.nan, True), ("NA", False),
     ("nan", False), (0, False), ([], False), (False, False)],
)  # fmt: skip
def test_only_an_empty_cell_is_missing(value, missing):
    assert is_missing(value) is missing


def found(*values: str, kind="classes") -> tuple[str, ...]:
    return find_labels(
        kind, list(values), "y", "t.csv", [f"line {i + 2}" for i in range(99)][: len(values)]
    )


def test_classes_are_the_values_by_number_or_by_alphabet():
    assert found("10", "2", "-1", "2") == ("-1", "2", "10")
    assert found("2.0", "10.0") == ("2.0", "10.0")
    assert found("b", "a", "", "B") == ("B", "a", "b")
    assert found("1_0", "x") == ("1_0", "x")  # no number, so a name
    assert found("", "0,1", kind="multi_label") == ("y_1", "y_2")
    assert found("0.5", kind="regression") == ("y",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["01", "02", "1"], "line 2 has the label '01' and line 4 '1', one number written in two"),
        (["1", "2", "1.0"], "line 2 has the label '1' and line 4 '1.0', one number"),
        (["a", "1", "b"], "line 3 has the number '1' as its label and line 2 the name 'a'; give "),
        (["1", "2", "1_0"], "the name '1_0'"),
        (["1", "2", "\u0661"], "the name '\u0661'"),
        (["a", "NA", "b", "NA"], r"2 rows have the label 'NA' \(first: line 3\), which often stan"),
        (["a", "nan", "b"], r"1 row has the label 'nan' \(first: line 3\)"),
        (["a", "a"], "all rows have the label 'a'; give two classes"),
        (["", ""], "no labels in the table"),
        ([], "no rows below the header"),
    ],
)  # fmt: skip
def test_values_that_are_ambiguous_as_classes_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        found(*values)


def test_numbers_compare_by_value_and_never_by_place():
    read = classes("0.0", "2.0", "10.0")
    assert [read(text) for text in ("2", "10", "0", "2")] == [1, 2, 0, 1]
    assert read.summary() == ("3 classes, numbers compared by value (0 = 0.0, 2 = 2.0, 10 = 10.0)")
    with pytest.raises(InputError, match="'1', which no row of train has"):
        read("1")
    with pytest.raises(InputError, match="'2.00' where another row has '2', one number written"):
        read("2.00")


def test_leading_zeros_are_no_other_spelling_of_a_number():
    with pytest.raises(InputError, match="'1' and the task the class '01', one number written"):
        classes("01", "02")("1")
    with pytest.raises(InputError, match="'01' and the task the class '1', one number written"):
        classes("1", "2")("01")
    assert classes("01", "02")("02") == 1


def test_numbers_stand_for_names_only_where_their_order_was_declared():
    with pytest.raises(InputError, match="'0', a number, where the classes of train are names"):
        classes("leaf", "root", "stem")("0")
    read = classes("stem", "leaf", "root", order="declared")
    assert [read(given) for given in ("0", 2, "1.0", "root", 0)] == [0, 2, 1, 2, 0]
    assert read.summary() == (
        "numbers are positions in the task's labels (0 = stem, 1.0 = leaf, 2 = root)"
    )
    for wrong in ("3", "-1", "0.5", "00"):
        with pytest.raises(InputError, match=r"does not declare; its labels are 0 \(stem\), 1 "):
            classes("stem", "leaf", "root", order="declared")(wrong)


def test_names_that_differ_only_in_case_are_classes_of_their_own_and_said():
    said = classes("Enh", "ctrl", "enh").summary()
    assert said == "3 classes, names as written (Enh, ctrl, enh); Enh, enh differ only in case"


def test_a_name_among_numbers_is_refused():
    with pytest.raises(InputError, match="'enh', a name, where the classes of train are numbers"):
        classes("0", "1")("enh")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="'Leaf', which no row of train has .did you mean leaf?"):
        classes("leaf", "root")("Leaf")


def test_declared_labels_are_checked():
    assert check_labels([" b", "a "], "classes") == ("b", "a")
    for labels, kind, message in (
        (["a"], "classes", "give two classes"),
        (["a", " a"], "classes", "given twice"),
        (["1", "1.0"], "classes", "given twice"),
        (["a", " "], "multi_label", "a label is empty"),
        (["a", "b"], "regression", "has no classes"),
    ):
        with pytest.raises(InputError, match=message):
            check_labels(labels, kind)
