from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from experiments.pictures.curve import Facts, draw, line_name, looks
from experiments.pictures.style import BASELINES, LINES, spread


def point(
    method, tokens, mean, *, shots=None, tuning_samples=None, variant="", n_seeds=3, half=0.01
):
    return {
        "task": "made_up",
        "method": method,
        "prompt_tokens": tokens,
        "shots": shots,
        "tuning_samples": tuning_samples,
        "metric": "accuracy",
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "val_mean": mean,
        "n_seeds": n_seeds,
        "variant": variant,
        "trainable_parameters": 128 * (tokens or 0) + 2,
    }


def table(*rows):
    whole = ("prompt_tokens", "shots", "tuning_samples", "trainable_parameters")
    return pd.DataFrame(rows).astype(dict.fromkeys(whole, "Int64"))


FACTS = Facts(task="made_up", backbone="bundled", rows="1,000", best=0.95, chance=0.5)
CURVE = table(
    point("soft_prompt", 0, 0.60),
    point("soft_prompt", 4, 0.70),
    point("soft_prompt", 16, 0.80),
    point("gc_only", None, 0.66),
    point("majority", None, 0.50),
)


def texts(of):
    return [text.get_text() for text in of.texts]


def test_the_line_goes_through_every_point_and_shows_zero_tokens():
    axes = draw(CURVE, FACTS).axes[0]
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert line.get_xydata().tolist() == [[0, 0.60], [4, 0.70], [16, 0.80]]
    assert list(axes.get_xticks()) == [0, 4, 16]
    assert axes.get_xlim()[0] < 0 < axes.transData.transform((4, 0))[0]


def test_steps_from_zero_on_are_visible_and_even_for_equal_ratios():
    axes = draw(CURVE, FACTS).axes[0]
    places = axes.transData.transform([(x, 0.6) for x in (0, 4, 8, 16)])[:, 0]
    steps = np.diff(places)
    assert steps[0] > 20
    assert steps[1] == pytest.approx(steps[2])


def test_a_second_axis_counts_the_trainable_parameters():
    figure = draw(CURVE, FACTS)
    figure.draw_without_rendering()
    below, above = figure.axes
    assert above.get_xlabel() == "trainable parameters"
    assert [text.get_text() for text in above.get_xticklabels()] == ["2", "514", "2.05k"]
    for tokens in (0, 4, 16):
        places = [ax.transData.transform((tokens, 0.6))[0] for ax in (below, above)]
        assert places[0] == pytest.approx(places[1])


def test_methods_that_learn_different_numbers_have_an_axis_each():
    deep = table(point("deep_prompt", 0, 0.6), point("deep_prompt", 4, 0.7))
    deep["trainable_parameters"] = [2, 2050]
    figure = draw(pd.concat([CURVE, deep]), FACTS)
    labels = [above.get_xlabel() for above in figure.axes[1:]]
    assert labels == [f"trainable parameters of {m}" for m in ("deep_prompt", "soft_prompt")]


def test_shots_can_be_the_axis():
    rows = [point("few_shot", None, 0.5 + s / 100, shots=s) for s in (0, 1, 4)]
    (axes,) = draw(table(*rows, point("gc_only", None, 0.66)), FACTS, against="shots").axes
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert line.get_xydata()[:, 0].tolist() == [0, 1, 4]
    assert axes.get_xlabel() == "shots (demonstrations per class)"
    assert {"few_shot 0.540", "gc_only 0.660"} <= set(texts(axes))


def test_baselines_and_references_are_labelled_with_their_values():
    labels = texts(draw(CURVE, FACTS).axes[0])
    for label in (
        "soft_prompt 0.800",
        "gc_only 0.660",
        "majority 0.500",
        "best possible 0.950",
        "chance 0.500",
    ):
        assert label in labels


def test_title_names_task_backbone_and_test_rows():
    title = " ".join(texts(draw(CURVE, FACTS)))
    assert "made_up" in title
    assert "backbone bundled" in title
    assert "1,000 test sequences" in title


def test_labels_do_not_touch_when_all_lines_end_alike():
    rows = [point(f"method_{i}", None, 0.7 + i / 1e4) for i in range(6)]
    figure = draw(table(point("soft_prompt", 0, 0.7), *rows), FACTS)
    figure.draw_without_rendering()  # places the annotations
    # The extent of an annotation holds its connecting line too; that of its text is meant.
    boxes = sorted(
        (Text.get_window_extent(t) for t in figure.axes[0].texts if " 0.7" in t.get_text()),
        key=lambda box: box.y0,
    )
    assert len(boxes) == 7
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))


def test_two_variants_are_two_lines():
    axes = draw(
        table(
            point("soft_prompt", 0, 0.6, variant="bundled"),
            point("soft_prompt", 8, 0.7, variant="bundled"),
            point("soft_prompt", 0, 0.5, variant="random:bundled"),
            point("soft_prompt", 8, 0.5, variant="random:bundled"),
        ),
        FACTS,
    ).axes[0]
    markers = [line.get_marker() for line in axes.lines if line.get_marker() not in ("None", "")]
    assert sorted(markers) == ["o", "s"]
    assert "soft_prompt (random:bundled) 0.500" in texts(axes)


def test_a_table_of_baselines_alone_is_drawn_without_an_axis_of_budgets():
    figure = draw(table(point("gc_only", None, 0.66)), FACTS)
    (axes,) = figure.axes
    assert "gc_only 0.660" in texts(axes)
    assert axes.get_xlabel() == "" and len(axes.get_xticks()) == 0
    assert "prompt tokens" not in " ".join(texts(figure))


def test_a_line_looks_alike_in_the_pictures_of_all_tasks():
    other = table(point("deep_prompt", 4, 0.7), point("length_only", None, 0.6))
    styles = looks(pd.concat([CURVE, other.assign(task="other")]))
    assert list(styles.lines) == ["deep_prompt", "soft_prompt"]
    assert list(styles.flat) == ["gc_only", "length_only", "majority"]
    axes = draw(CURVE, FACTS, styles=styles).axes[0]
    colors = {text.get_text().split()[0]: text.get_color() for text in axes.texts}
    assert colors["soft_prompt"] == styles.lines["soft_prompt"].color == LINES[1].color
    assert colors["majority"] == styles.flat["majority"].color == BASELINES[2].color


def test_shots_stand_in_the_name_of_a_line():
    row = table(point("few_shot", None, 0.6, shots=4)).iloc[0]
    assert line_name(row) == "few_shot, 4 shots"
    ((_, row),) = table(point("tuned", None, 0.6, shots=2, tuning_samples=64)).iterrows()
    assert line_name(row) == "tuned, 2 shots, 64 tuning samples"


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0.001, 0.08),
)
def test_spread_keeps_order_and_distance_inside_the_limits(heights, gap):
    wanted = np.array(heights)
    moved = spread(wanted, gap, 0.0, 1.0)
    order = np.argsort(wanted, kind="stable")
    assert np.all(np.diff(moved[order]) >= gap - 1e-9)
    assert moved.min() >= -1e-9 and moved.max() <= 1 + 1e-9


def test_spread_leaves_labels_alone_that_have_room_and_centres_those_that_have_not():
    assert spread(np.array([0.8, 0.2]), 0.1, 0, 1).tolist() == pytest.approx([0.8, 0.2])
    assert spread(np.array([0.5, 0.5]), 0.1, 0, 1).tolist() == pytest.approx([0.45, 0.55])


def test_spread_shares_the_room_when_there_is_too_little():
    assert spread(np.array([0.5] * 5), 0.9, 0, 1).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
