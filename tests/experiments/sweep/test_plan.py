"""What an option may be: read from a command line, written as it was read, made into a grid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from backbone.common.errors import InputError
from experiments.sweep.plan import Plan, corners, grid, read_values, values_as_text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[0,4,16]", CategoricalDistribution([0, 4, 16])),
        ("[before, after]", CategoricalDistribution(["before", "after"])),
        ("[true,null,1.5]", CategoricalDistribution([True, None, 1.5])),
        ("[[A,N],[C,T]]", CategoricalDistribution(["[A,N]", "[C,T]"])),
        ("uniform(0,0.5)", FloatDistribution(0, 0.5)),
        ("log(0.01, 0.5)", FloatDistribution(0.01, 0.5, log=True)),
        ("int(1,7,2)", IntDistribution(1, 7, step=2)),
        ("logint(1,64)", IntDistribution(1, 64, log=True)),
    ],
)
def test_values_are_read_and_written_as_they_are_read(text, values):
    assert read_values("x", text) == values
    assert read_values("x", values_as_text(values)) == values


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.sampled_from(["uniform", "log"]))
def test_the_ends_of_a_range_are_kept_to_the_last_digit(one, other, kind):
    low, high = sorted((one, other))
    values = FloatDistribution(low, high, log=kind == "log")
    assert read_values("x", values_as_text(values)) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4", "is one value"),
        ("[1,1]", "contains a value twice"),
        ("[1,", "cannot be read"),
        ("int(5,1)", "cannot be read"),
        ("int(1,9,2,3)", "cannot be read .4 numbers.; give"),
        ("logint(1,9,2)", "cannot be read .3 numbers.; give"),
        ("log(0,1)", "cannot be read"),
    ],
)
def test_what_holds_no_values_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        read_values("x", text)


def test_the_first_option_of_a_grid_changes_last():
    space = {"shots": read_values("shots", "[1,2]"), "k": read_values("k", "int(0,4,2)")}
    assert [tuple(cell.values()) for cell in grid(space)] == [
        *((1, 0), (1, 2), (1, 4)),
        *((2, 0), (2, 2), (2, 4)),
    ]


def test_corners_name_every_listed_value_and_both_ends_of_a_range():
    space = {"a": read_values("a", "[x,y,z]"), "lr": read_values("lr", "log(0.01,0.5)")}
    found = corners(space)
    assert [cell["a"] for cell in found] == ["x", "y", "z"]
    assert {cell["lr"] for cell in found} == {0.01, 0.5}


def test_plans_say_in_which_options_they_differ():
    space = {"k": read_values("k", "[0,4]")}
    one = Plan("grid", ("task=a", "threads=1"), space)
    other = Plan("tpe", ("task=a",), {**space, "shots": read_values("shots", "[1]")})
    assert one.differences(one) == []
    assert one.differences(other) == [
        "mode is grid there and tpe here",
        "threads is 1 there and not here",
        "space.shots is not there and [1] here",
    ]
