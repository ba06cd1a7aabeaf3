"""Heat map, Pareto picture and importance of options: their numbers, and what the pictures say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.common.errors import InputError
from experiments import curve
from experiments.common.points import aggregate
from experiments.pictures.heat import grids, heat_map
from experiments.pictures.importance import draw_importance, importance, study_of
from experiments.pictures.pareto import draw_pareto, front, pareto
from icl.reporting.report import write_report
from icl.results import load_results
from tests.experiments.made_up import report


@pytest.fixture
def frame(tmp_path):
    """A grid of 3 prompt lengths, 2 numbers of shots and 2 learning rates, which alone matter."""
    for number, (tokens, shots, lr) in enumerate(np.ndindex(3, 2, 2)):
        one = report(
            tokens=(0, 4, 16)[tokens],
            shots=shots,
            accuracy=0.6 + 0.2 * lr + 0.001 * tokens,
            seconds=10.0 * (tokens + 1),
            options={"lr": (0.01, 0.1)[lr]},
        )
        folder = tmp_path / "made_up" / f"{number:012x}"
        folder.mkdir(parents=True)
        write_report(folder, one)
    return load_results(tmp_path)


def test_a_grid_is_found_for_every_variant_with_two_values_of_each_budget(frame):
    found = list(grids(aggregate(frame)))
    assert [(name, across, upwards) for name, _, across, upwards in found] == [
        ("soft_prompt, lr=0.01", "prompt_tokens", "shots"),
        ("soft_prompt, lr=0.1", "prompt_tokens", "shots"),
    ]
    assert all(len(rows) == 6 for _, rows, _, _ in found)
    assert list(grids(aggregate(frame[frame["shots"] == 0]))) == []


def test_every_cell_of_the_heat_map_stands_at_its_budgets_and_missing_ones_are_empty(frame):
    (_, rows, across, upwards), _ = grids(aggregate(frame))
    axes = heat_map(rows.iloc[1:], across, upwards).axes[0]
    said = {t.get_position(): t.get_text().split("\n")[0] for t in axes.texts}
    assert (0, 0) not in said and said[(2, 1)] == "0.602" and len(said) == 5
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "4", "16"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0", "1"]


def test_the_front_of_points_by_hand():
    cost = np.array([1.0, 2.0, 2.0, 3.0, 3.0])
    value = np.array([0.5, 0.7, 0.6, 0.7, 0.9])
    assert front(cost, value).tolist() == [True, True, False, False, True]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_a_point_is_on_the_front_unless_another_beats_it(points):
    cost, value = np.array(points, dtype=float).T
    slow = [not any(c <= x and v >= y and (c, v) != (x, y) for c, v in points) for x, y in points]
    assert front(cost, value).tolist() == slow


def test_the_pareto_picture_names_what_nothing_beats(frame):
    points = pareto(aggregate(frame), "seconds")
    on = points[points["on_front"]]
    assert on["mean"].tolist() == sorted(on["mean"]) and set(on["variant"]) == {"lr=0.1"}
    names = [text.get_text() for text in draw_pareto(points, "seconds").axes[0].texts]
    assert len(names) == len(on) and names[-1].startswith("0.802 soft_prompt, 16 prompt tokens")


def test_the_option_that_mattered_comes_first(frame):
    table = importance(study_of(frame))
    assert table["option"][0] == "method.lr" and table["mean"][0] > 0.8
    assert set(table["option"]) == {"method.lr"}  # made-up configurations hold no budgets
    axes = draw_importance(table).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == table["option"].tolist()


def test_too_few_runs_say_nothing_about_options(frame):
    with pytest.raises(InputError, match="at least 10"):
        importance(study_of(frame.iloc[:9]))
    with pytest.raises(InputError, match="no option differs"):
        study_of(frame.iloc[:1])


def test_all_pictures_of_a_folder(frame, tmp_path, capsys):
    assert curve.main([f"runs={tmp_path}", "pictures=[all]", f"out={tmp_path / 'drawn'}"]) == 0
    drawn = {path.name for path in (tmp_path / "drawn").glob("*.csv")}
    assert drawn == {
        "curve_made_up_accuracy.csv",
        "heat_made_up_accuracy_soft_prompt_0.csv",
        "heat_made_up_accuracy_soft_prompt_1.csv",
        "pareto_made_up_accuracy_seconds.csv",
        "importance_made_up_accuracy_soft_prompt.csv",
    }
    assert len(list((tmp_path / "drawn").iterdir())) == 15


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("pictures=[heart]", "must be one of curve, heat"),
        ("against=shot", "must be one of prompt_tokens, shots"),
        ("cost=second", "must be one of seconds"),
    ],
)
def test_an_unknown_choice_is_one_line_with_the_choices(frame, tmp_path, capsys, argument, words):
    assert curve.main([f"runs={tmp_path}", argument]) == 2
    assert words in capsys.readouterr().err
