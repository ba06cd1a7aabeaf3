"""Scores of explanations against a planted motif, by hand."""

import numpy as np
import pytest

from icl.explain import planted
from icl.explain.attribution import Attribution
from icl.explain.planted import mean_over_rows, planted_scores


def explained(importance: list[float]) -> Attribution:
    """A row of A whose bases have these importances."""
    effects = np.zeros((len(importance), 4))
    effects[:, 1:] = -np.array(importance)[:, None]
    return Attribution("A" * len(importance), 1, 0.0, effects, None)


def test_scores_by_hand(monkeypatch):
    monkeypatch.setattr(planted, "MOST_IMPORTANT", 2)
    rows = [explained([9, 8, 0, 1]), explained([5, 0, 0, 6]), explained([0, 0, 3, 1])]
    motif = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    control = [explained([0, 1, 2, 3])]  # 95 % of these are at most 2.85
    found = planted_scores(rows, motif, control)
    assert (found["rows_with"], found["rows_without"]) == (2, 1)
    assert found["top_ten_with"].value == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert found["top_ten_without"].value == 0
    assert found["chance"].value == pytest.approx(0.5)
    # Called important are 9, 8 (both right), 5 and 6 (one right).
    assert found["precision"].value == pytest.approx(3 / 4)
    assert found["recall"].value == pytest.approx(3 / 4)
    # Row 2: ranked 6, 5, then two bases at 0 together: 1/2 at recall 1/2, 2/4 at recall 1.
    assert found["average_precision"].value == pytest.approx((1 + 0.5) / 2)


def test_without_a_control_nothing_is_called_important():
    found = planted_scores([explained([1, 0])], np.array([[True, False]]), [])
    assert "precision" not in found and not found["top_ten_without"].is_defined


def test_a_mean_over_rows_leaves_out_what_is_not_defined():
    found = mean_over_rows(np.array([1.0, np.nan, 2.0]))
    assert found.value == 1.5 and found.low >= 1 and found.high <= 2
    assert not mean_over_rows(np.array([np.nan])).is_defined
