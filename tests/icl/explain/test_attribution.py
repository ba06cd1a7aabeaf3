"""Contributions of bases, by a method whose log-odds are known by hand."""

import numpy as np
import pytest
import torch

from icl.explain import attribution
from icl.explain.attribution import attributions, mean_effect, one_hot
from icl.method import Context, Method, MethodConfig
from tasks.task import Example
from tests.devices import device, put

WEIGHTS = {"A": 1.0, "C": -2.0, "G": 0.5, "T": 0.25, "N": 0.0}


class Weighted(Method[MethodConfig]):
    """The log-odds of the last class are the sum of position * weight, from position 1 on."""

    classes = 2

    def fit(self, train, val):
        raise NotImplementedError

    def scores(self, examples):
        sums = np.array(
            [sum((i + 1) * WEIGHTS[b] for i, b in enumerate(e.sequence)) for e in examples]
        )
        odds = np.stack([np.zeros_like(sums)] * (self.classes - 1) + [sums], axis=1)
        return odds - np.logaddexp.reduce(odds, axis=1, keepdims=True)

    @property
    def trainable_parameters(self):
        return 0

    def state(self):
        return {}

    def load_state(self, state):
        pass


class Differentiable(Weighted):
    classes = 3

    def relaxed_scores(self, letters):
        weights = put(torch.tensor([WEIGHTS[base] for base in "ACGTN"]))
        places = put(torch.arange(1, len(letters) + 1))
        last = ((letters @ weights) * places).sum()
        return torch.stack([torch.zeros_like(last), torch.zeros_like(last), last])


def method(kind=Weighted) -> Method:
    labels = ("a", "b", "c")[: kind.classes]
    return kind(MethodConfig(), Context(labels, 0, lambda: None, device=device()))


def test_effects_by_hand():
    (found,) = attributions(method(), ["CA"], [1])
    assert found.log_odds == pytest.approx(-2 + 2)
    # Position 1 has C (-2), position 2 has A (1), which counts twice.
    assert found.effects == pytest.approx(np.array([[3, 0, 2.5, 2.25], [0, -6, -1, -1.5]]))
    assert found.importance == pytest.approx(np.array([-7.75, 8.5]) / 3)
    assert found.gradients is None and found.slope is None and np.isnan(found.agreement)


def test_the_other_class_is_the_opposite():
    (one,), (other,) = (list(attributions(method(), ["GATC"], [c])) for c in (0, 1))
    assert one.effects == pytest.approx(-other.effects)


def test_gradients_of_a_linear_method_are_its_effects():
    (found,) = attributions(method(Differentiable), ["GATNC"], [2])
    assert found.gradients == pytest.approx(found.effects, abs=1e-5)
    assert found.slope == pytest.approx(found.importance, abs=1e-5)
    assert found.agreement == pytest.approx(1)


def test_the_likeliest_output_is_explained_by_default():
    found = list(attributions(method(), ["AAA", "CCC"], [None, None]))
    assert [one.output for one in found] == [1, 0]


def test_an_unknown_base_is_replaced_by_all_four():
    assert one_hot("AN").tolist() == [[True, False, False, False], [False] * 4]
    (found,) = attributions(method(), ["AN"], [1])
    assert found.effects[1] == pytest.approx(2 * np.array([1, -2, 0.5, 0.25]))
    assert mean_effect("AN", found.effects)[1] == pytest.approx(2 * (-0.25) / 4)


def test_rows_in_groups_are_rows_alone(monkeypatch):
    sequences = ["ACGT", "GG", "TTACA", "C", "GATTACA"]
    alone = [next(attributions(method(), [one], [1])) for one in sequences]
    for bases in (1, 5, 1000):
        monkeypatch.setattr(attribution, "BASES_AT_ONCE", bases)
        found = list(attributions(method(), sequences, [1] * 5))
        assert [one.sequence for one in found] == sequences
        for one, other in zip(found, alone, strict=True):
            assert np.array_equal(one.effects, other.effects)


def test_a_mutant_is_scored_as_a_row():
    sequence = "GATTACA"
    (found,) = attributions(method(), [sequence], [1])
    (mutant,) = method().scores([Example("GATGACA", 0)])
    assert found.effects[3, 2] == pytest.approx(mutant[1] - mutant[0] - found.log_odds)
