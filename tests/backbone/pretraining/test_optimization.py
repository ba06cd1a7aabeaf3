"""Schedules, by hand."""

import pytest

from backbone.common.schedule import learning_rate
from backbone.pretraining.optimization import rows_of_stages, stage_at, stage_lengths


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0.0, 0.0), (0.1, 1.0), (0.2, 2.0), (0.6, 1.1), (1.0, 0.2), (0.4, 0.2 + 1.8 * 0.8535534)],
)
def test_learning_rate(progress: float, rate: float) -> None:
    assert learning_rate(progress, peak=2.0, warmup=0.2, floor=0.1) == pytest.approx(rate)


def test_learning_rate_without_warmup_starts_at_the_peak() -> None:
    assert learning_rate(0.0, peak=2.0, warmup=0.0, floor=0.0) == 2.0


def test_stages_double_up_to_the_last_length() -> None:
    assert stage_lengths(2048, 256) == [256, 512, 1024, 2048]
    assert stage_lengths(10240, 256) == [320, 640, 1280, 2560, 5120, 10240]
    assert stage_lengths(128, 256) == [128]


def test_short_stages_share_the_length_warmup() -> None:
    at = [stage_at(p, stages=4, length_warmup=0.3) for p in (0, 0.09, 0.11, 0.19, 0.21, 0.3, 1)]
    assert at == [0, 0, 1, 1, 2, 3, 3]
    assert stage_at(0.0, stages=4, length_warmup=0.0) == 3


def test_rows_double_when_lengths_halve() -> None:
    assert rows_of_stages(4, 3) == [24, 12, 6, 3]
