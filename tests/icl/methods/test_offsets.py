"""Offsets of label words: fitted in closed form before tuning, and again after it."""

import numpy as np
import pytest

from icl.tuning.loop import TuningResult
from tasks.task import Example
from tests.icl.methods.test_tuned_methods import build, rows, shaped

FORMS = ["lora", "ia3", "instruction_tuning", "instruction_tuning_lora", "soft_prompt"]


@pytest.fixture(scope="module")
def model():
    return shaped()


def uneven(n, seed):
    """Three rows in four are of class 0."""
    return [Example(row.sequence, int(i % 4 == 0)) for i, row in enumerate(rows(n, seed))]


def built(model, form, **options):
    return build(model, form, strands="forward", **options)


def share_of_rare_class(method, examples):
    return np.exp(method.scores(examples))[:, 1].mean()


@pytest.fixture
def starts(monkeypatch):
    """Tuning that takes no step, and notes what each method predicts when it begins."""
    seen = []

    def tune(module, batches, *, validate, **rest):
        seen.append(validate())
        return TuningResult(*seen[-1], epoch=0)

    monkeypatch.setattr("icl.tuning.loop.tune", tune)
    return seen


@pytest.mark.parametrize("form", ["lora", "ia3", "soft_prompt"])
def test_before_tuning_mean_probabilities_are_the_frequencies_of_the_training_rows(
    model, form, starts
):
    train = uneven(64, seed=4)
    method = built(model, form)
    method.fit(train, train)
    # With the training rows as validation rows, fitting again after tuning changes nothing.
    assert share_of_rare_class(method, train) == pytest.approx(1 / 4, abs=1e-4)
    loss = -np.mean([method.scores([e])[0, e.label] for e in train])
    assert starts[0][0] == pytest.approx(loss, abs=1e-4)
    assert loss < np.log(2)


@pytest.mark.parametrize("form", FORMS)
def test_after_tuning_mean_probabilities_are_the_frequencies_of_the_validation_rows(model, form):
    val = uneven(32, seed=5)
    method = built(model, form, epochs=1)
    method.fit(rows(64, seed=4), val)
    assert share_of_rare_class(method, val) == pytest.approx(1 / 4, abs=1e-4)
    loss = -np.mean([method.scores([e])[0, e.label] for e in val])
    assert method.validation["loss"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("form", ["lora", "instruction_tuning"])
def test_states_of_earlier_versions_have_no_offset(model, form):
    method = built(model, form, epochs=1)
    method.fit(rows(64, seed=4), rows(24, seed=5))
    state = method.state()
    without = {name: array for name, array in state.items() if name != "offset"}
    old = built(model, form)
    old.load_state(without)
    examples = rows(6, seed=7)
    shifted = old.scores(examples) + state["offset"]
    expected = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(method.scores(examples), expected, atol=1e-5)


def test_a_run_that_gives_all_rows_one_class_says_what_to_do(model, starts):
    method = built(model, "soft_prompt")
    method.fit(rows(32, seed=4), rows(12, seed=5))
    method.load_state(method.state() | {"offset": np.array([50.0, -50.0], dtype=np.float32)})
    method.scores(rows(6, seed=7))
    assert "all 6 rows were given the class poor; give more training" in method.details["advice"]
    assert "advice" not in _details_of_one_row(method)


def _details_of_one_row(method):
    method.scores(rows(1, seed=7))
    return method.details
