"""The learning-rate schedule of pretraining and tuning: linear warm-up, then a cosine decay."""

import math


def learning_rate(progress: float, peak: float, warmup: float, floor: float = 0.0) -> float:
    """Return the learning rate: linear from 0 to `peak`, then a cosine down to `floor * peak`.

    Args:
        progress: Share of the training budget used, 0 to 1.
        peak: Highest learning rate.
        warmup: Share of the budget over which the rate rises, below 1.
        floor: Final learning rate as a share of `peak`.
    """
    if progress < warmup:
        return peak * (progress / warmup)
    decay = min(1.0, (progress - warmup) / (1.0 - warmup))
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * decay)))
