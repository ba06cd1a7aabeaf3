import pytest

from backbone.common.errors import InputError
from backbone.common.options import as_text
from experiments.common.recipe import read_recipe


def test_values_are_written_as_the_command_line_reads_them():
    values = (None, True, 0.1, [1, 2], ("a", None), {"a": ["x", "y"]}, "x")
    assert [as_text(value) for value in values] == [
        *("null", "true", "0.1", "[1,2]", "[a,null]", "{a:[x,y]}", "x")
    ]


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(InputError, match="unknown recipe 'spezies'; did you mean species"):
        read_recipe("spezies")
