"""The palette: looks differ without their colours, and text in them can be read on white."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from backbone.common.errors import InputError
from experiments.page.data import SHAPES
from experiments.pictures.style import (
    BASELINES,
    CHANCE,
    LINES,
    baseline,
    doubling_axis,
    look,
    save,
)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("looks", [LINES, BASELINES], ids=["lines", "baselines"])
def test_looks_differ_in_greyscale_by_dashes_and_by_markers(looks):
    for one, other in combinations(looks, 2):
        assert one.dash != other.dash and one.marker != other.marker


@pytest.mark.parametrize("color", [one.color for one in (*LINES, *BASELINES, CHANCE)])
def test_text_can_be_read_on_white(color):
    assert 1.05 / (luminance(color) + 0.05) >= 3


@pytest.mark.parametrize(("of", "count"), [(look, len(LINES)), (baseline, len(BASELINES))])
def test_a_colour_that_comes_again_has_another_dash_and_marker(of, count):
    looks = [of(number) for number in range(count**2)]
    assert len({(one.color, one.dash) for one in looks}) == count**2
    assert len({(one.color, one.marker) for one in looks}) == count**2


def test_the_page_has_a_shape_for_every_marker():
    assert {one.marker for one in LINES} <= set(SHAPES)


def test_a_doubling_axis_has_equal_steps_for_equal_ratios():
    axes = Figure().add_subplot()
    doubling_axis(axes, [8, 16, 32])
    axes.set_xlim(8, 32)
    places = axes.transData.transform([(x, 0) for x in (8, 16, 32)])[:, 0]
    assert np.diff(places)[0] == pytest.approx(np.diff(places)[1])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["8", "16", "32"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    import pandas as pd

    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        save(Figure(), pd.DataFrame(), "picture", tmp_path / "file")
