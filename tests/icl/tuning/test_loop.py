"""The tuning loop on a parabola whose every step is known."""

import math

import pytest
import torch
from torch import nn

from backbone.common.errors import InputError
from icl.method import silent
from icl.tuning.config import TuningConfig
from icl.tuning.loop import STATE, Step, tune
from tests.devices import put

TARGET = put(torch.tensor([2.0, -1.0, 0.5]))


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(put(torch.zeros(3)))
        self.nothing = nn.Parameter(put(torch.zeros(0)))


def tuned(config, folder=None, losses=None, stop_after=None):
    """Tunes a point; validation says `losses` in turn, else the distance; may be interrupted."""
    point, said, visited = Point(), iter(losses or ()), []

    def batches(epoch):
        random = torch.Generator().manual_seed(epoch)
        for noise in put(torch.randn(4, 3, generator=random)):
            yield Step(1, lambda noise=noise: ((point.at - TARGET + 0.1 * noise) ** 2).sum())

    def validate():
        visited.append(point.at.detach().clone())
        distance = ((point.at - TARGET) ** 2).sum().item()
        return (next(said) if losses else distance), -distance

    def show(progress):
        if progress.epoch == stop_after:
            raise KeyboardInterrupt

    best = tune(point, batches, validate, config, show if stop_after else silent, folder)
    return best, point.at.detach(), visited


@pytest.mark.parametrize("stop_after", [2, 3, 5])
def test_going_on_after_an_interruption_gives_exactly_the_undisturbed_parameters(
    tmp_path, stop_after, recwarn
):
    config = TuningConfig(lr=0.3, epochs=6, weight_decay=0.01)
    undisturbed = tuned(config)
    with pytest.raises(KeyboardInterrupt):
        tuned(config, tmp_path, stop_after=stop_after)
    assert (tmp_path / STATE).is_file()
    best, at, visited = tuned(config, tmp_path)
    assert best == undisturbed[0] and torch.equal(at, undisturbed[1])
    # An epoch is kept once it has been shown: the interrupted one is done anew.
    assert len(visited) == 6 - (stop_after - 1)
    assert not [str(warning.message) for warning in recwarn]


def test_a_finished_state_is_not_tuned_further(tmp_path):
    config = TuningConfig(lr=0.3, epochs=3)
    first = tuned(config, tmp_path)
    again = tuned(config, tmp_path)
    assert again[0] == first[0] and torch.equal(again[1], first[1]) and again[2] == []


def test_a_damaged_state_is_an_error_that_names_it(tmp_path):
    (tmp_path / STATE).write_bytes(b"cut off")
    with pytest.raises(InputError, match="force=true"):
        tuned(TuningConfig(), tmp_path)


def test_the_best_epoch_is_kept_not_the_last():
    best, at, visited = tuned(TuningConfig(epochs=4), losses=[9, 5, 2, 3, 4])
    assert (best.loss, best.epoch) == (2, 2) and torch.equal(at, visited[2])


def test_the_module_as_it_came_may_be_the_best():
    best, at, visited = tuned(TuningConfig(epochs=3), losses=[1, 5, 2, 3])
    assert (best.loss, best.epoch) == (1, 0) and not at.any() and len(visited) == 4


def test_tuning_stops_after_patience_epochs_without_a_better_loss():
    _, _, visited = tuned(TuningConfig(epochs=20, patience=2), losses=[9, 5, 6, 4, 4, 7, 0])
    assert len(visited) == 6  # epoch 3 was the best, 4 and 5 were no better


def test_the_loss_that_is_shown_is_the_mean_over_rows():
    point, seen = Point(), []

    def batches(epoch):
        for rows, loss in ((3, 1.0), (1, 5.0)):
            yield Step(rows, lambda loss=loss: loss + 0 * point.at.sum())

    tune(point, batches, lambda: (1.0, 0.5), TuningConfig(epochs=1), seen.append, None)
    assert seen[0].loss == pytest.approx((3 * 1.0 + 1 * 5.0) / 4)


def test_the_best_that_is_shown_is_the_epoch_of_lowest_validation_loss():
    losses, accuracies, seen = iter([9, 5, 6, 4]), iter([0.1, 0.7, 0.9, 0.6]), []
    point = Point()
    tune(
        point,
        lambda epoch: [Step(1, lambda: (point.at**2).sum())],
        lambda: (next(losses), next(accuracies)),
        TuningConfig(epochs=3),
        seen.append,
        None,
    )
    best = [(one.best_epoch, one.best_loss, one.best) for one in seen]
    assert best == [(1, 5, 0.7), (1, 5, 0.7), (3, 4, 0.6)]


def test_the_learning_rate_counts_the_steps_that_are_taken(monkeypatch):
    rates, point = [], Point()
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: rates.append(self.param_groups[0]["lr"])
    )
    tune(
        point,
        lambda epoch: [Step(1, lambda: (point.at**2).sum())] * (1 if epoch == 1 else 3),
        lambda: (1.0, 0.5),
        TuningConfig(lr=2.0, epochs=2, warmup=0.0),
        silent,
        None,
    )
    # Halfway after epoch 1, then a third of the other half at a time.
    expected = [1 + math.cos(math.pi * share) for share in (1 / 2, 4 / 6, 5 / 6, 1)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_tuning_with_its_step(value):
    point = Point()

    def batches(epoch):
        yield Step(1, lambda: (point.at**2).sum())
        yield Step(1, lambda: point.at.sum() + value)

    with pytest.raises(InputError, match="epoch 1, step 2 is .*lower method.lr"):
        tune(point, batches, lambda: (1.0, 0.5), TuningConfig(), silent, None)


def test_a_validation_loss_that_is_not_finite_ends_tuning_before_the_first_step():
    with pytest.raises(InputError, match="before tuning is nan"):
        tune(Point(), lambda epoch: [], lambda: (math.nan, 0.5), TuningConfig(), silent, None)


def test_tuning_finds_the_target():
    _, at, _ = tuned(TuningConfig(lr=0.5, epochs=30, patience=30))
    assert (at - TARGET).abs().max() < 0.1
