import pytest

from backbone.common.errors import InputError
from experiments.common.cells import CellOptions, Forecast
from experiments.common.command import command_line, read_words
from experiments.headline import Options as Headline
from experiments.lengths import Options


def test_time_left_goes_by_the_last_run_of_each_key():
    a, b, new = ("a", 1), ("b", 1), ("new", 1)
    forecast = Forecast([a, b, new, a, a, b])
    assert forecast.seconds is None and str(forecast) == ""
    forecast.ran(a, 3.0)
    forecast.ran(a, 2.0)
    assert forecast.seconds == 2 + 2 * 3  # of b and new nothing is known yet
    forecast.ran(b, 4.0)
    assert forecast.seconds == 2 + 4 + 3
    assert str(forecast) == "; at most about 0 min left"


@pytest.mark.parametrize(
    ("given", "runs", "out"),
    [
        ({}, "runs", "runs"),
        ({"runs": "r"}, "r", "r"),
        ({"out": "o"}, "o", "o"),
        ({"runs": "r", "out": "o"}, "r", "o"),
    ],
)
def test_one_folder_serves_for_both_where_one_is_given(given, runs, out):
    options = CellOptions(**given)
    assert (str(options.run_folder), str(options.out_folder)) == (runs, out)


def test_an_option_of_methods_goes_to_all_that_have_it_and_one_method_s_own_overrides_it():
    words = [
        "method.soft_prompt.lr=0.5",
        "method.lr=0.1",
        "methods=[gc_only,soft_prompt,deep_prompt]",
        "task.length=4",
    ]
    _, found = read_words(Options, words)
    assert found == {
        "task": ["length=4"],
        "soft_prompt": ["lr=0.1", "lr=0.5"],
        "deep_prompt": ["lr=0.1"],
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method.epoch=1", "unknown option 'method.epoch'; did you mean method.epochs"),
        ("method.few_shot.shots=1", "method.few_shot.shots: few_shot is not run; the methods are"),
        ("soft_prompt.lr=1", "unknown option 'soft_prompt.lr'"),
        ("lengths", "'lengths': options are given as NAME=VALUE"),
    ],
)
def test_an_option_of_no_method_is_refused(word, message):
    with pytest.raises(InputError, match=message):
        read_words(Options, [word])


def test_a_command_line_is_quoted_without_places_and_read_back():
    words = ["method.lr=0.5", "verbalizer.words=[A,N]", "k=3", "out=somewhere", "data=/a"]
    options, nested = read_words(Headline, words)
    line = command_line("python -m x", options, nested)
    assert line.startswith("python -m x data=$ICL_DATA ") and "somewhere" not in line
    again, nested_again = read_words(Headline, line.split()[4:])
    assert (again.k, again.verbalizer, nested_again) == (3, options.verbalizer, nested)
