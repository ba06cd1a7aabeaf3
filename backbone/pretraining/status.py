"""Where a training run stands after a step."""

import math
from typing import NamedTuple


class Status(NamedTuple):
    """Where a run stands, after a step."""

    step: int
    tokens: int
    progress: float
    stage: int
    stages: int
    length: int
    lr: float
    loss: float
    tokens_per_second: float
    seconds_left: float

    @property
    def perplexity(self) -> float:
        """The loss as perplexity."""
        return perplexity_of(self.loss)


def perplexity_of(loss: float) -> float:
    """Returns exp(loss), or the largest number there is."""
    return math.exp(min(loss, 700.0))
