"""Labels as a table's text or the Hub's numbers give them."""

import pytest

from backbone.common.errors import InputError
from tasks.sources.rows import label_reader
from tasks.task import Task

SEVERAL = Task("several", ("a", "b", "c"), None, kind="multi_label")


@pytest.mark.parametrize("given", ["101", [1, 0, 1], [1.0, 0.0, 1.0], [True, False, True]])
def test_signs_of_a_table_and_numbers_of_the_hub_say_the_same(given):
    assert label_reader(SEVERAL)(given) == (1, 0, 1)


@pytest.mark.parametrize("given", ["10", "102", [1, 0], [1, 0, 2], [0.5, 0, 1], 101, None])
def test_anything_else_is_refused_in_one_line(given):
    with pytest.raises(InputError, match="the task has 3 labels, each 0 or 1"):
        label_reader(SEVERAL)(given)
