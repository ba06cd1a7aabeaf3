"""What a run shows and writes down: a table on a terminal, plain lines elsewhere, TensorBoard."""

import io
import math
import sys
import types

import pytest
from rich.console import Console

from backbone.common.errors import InputError
from backbone.pretraining.metrics_log import Journal
from backbone.pretraining.progress import Status, View, duration, perplexity_of

STATUS = Status(
    step=1234,
    tokens=5_000_000,
    progress=0.25,
    stage=2,
    stages=5,
    length=4096,
    lr=6e-4,
    loss=math.log(3.5),
    tokens_per_second=20_480.4,
    seconds_left=3725.0,
)


def shown(terminal, *statuses):
    text = io.StringIO()
    with View(Console(file=text, force_terminal=terminal, width=100)) as view:
        for status in statuses:
            view.show(status)
    return text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_says_stage_length_speed_perplexity_and_time_left(terminal):
    said = shown(terminal, STATUS)
    for words in ("25.0%", "3 of 5", "4,096" if terminal else "length 4096"):
        assert words in said
    for words in ("20,480 tokens/s", "3.500", "1:02:05"):
        assert words in said
    assert ("\x1b[" in said) == terminal


def test_a_terminal_shows_the_newest_and_a_file_gets_few_lines():
    later = STATUS._replace(step=1235)
    assert "1,235" in shown(True, STATUS, later)
    assert shown(False, STATUS, later).count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (61, "0:01:01"), (math.inf, "99:59:59")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_perplexity_of_a_loss_beyond_all_measure_is_a_number():
    assert perplexity_of(0.0) == 1.0
    assert math.isfinite(perplexity_of(1e6))


def test_tensorboard_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package tensorboard: pip install"):
        Journal(tmp_path, 0, tensorboard=True)


def test_tensorboard_gets_what_the_lines_say_from_the_step_that_a_run_goes_on_from(
    tmp_path, monkeypatch
):
    made = []

    class Writer:
        def __init__(self, folder, purge_step):
            made.append((folder, purge_step))

        def add_scalar(self, key, value, step):
            made.append((key, value, step))

        def flush(self):
            pass

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    fake = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    Journal(tmp_path, 7, tensorboard=True).write(8, loss=1.5, seconds=2.0)
    assert made == [(str(tmp_path / "tensorboard"), 8), ("loss", 1.5, 8), ("seconds", 2.0, 8)]
