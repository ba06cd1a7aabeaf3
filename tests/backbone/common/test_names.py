import pytest

from backbone.common.names import suggestion, unknown


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("stesp", ["rate", "steps"], "did you mean steps?"),
        ("lr", ["method.lr", "task.lag"], "did you mean method.lr?"),
        ("soft_prompt.lr", ["method.lr", "k"], "did you mean method.lr?"),
        ("zzz", ["one", "two"], "known: one, two"),
        ("zzz", [], "there are none"),
    ],
)
def test_the_nearest_name_is_suggested(name, known, said):
    assert suggestion(name, known) == said


def test_where_nothing_is_near_a_long_list_is_cut():
    said = suggestion("zzz", (f"number_{i}" for i in range(100)))
    assert said.startswith("known: number_0, ") and said.endswith("number_11, ...")


def test_the_error_says_what_is_unknown():
    assert str(unknown("task", "esy", ["easy"])) == "unknown task 'esy'; did you mean easy?"
