"""Learning rate and sequence length as pure functions of progress, the share of the budget used."""

import math


def learning_rate(progress: float, peak: float, warmup: float, floor: float) -> float:
    """Returns the learning rate: linear from 0 to `peak`, then a cosine down to `floor * peak`.

    Args:
        progress: share of the budget used, 0 to 1.
        peak: highest learning rate.
        warmup: share of the budget in which the rate rises.
        floor: where the cosine ends, as a share of `peak`.
    """
    if progress < warmup:
        return peak * progress / warmup
    fallen = min(1.0, (progress - warmup) / (1.0 - warmup))
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * fallen)))


def stage_lengths(last_length: int, first_length: int) -> list[int]:
    """Returns the window lengths of the stages: halvings of `last_length` down to `first_length`.

    Source: Nguyen et al. 2023 (arXiv 2306.15794), section 3.2, sequence length warm-up.
    """
    lengths = [last_length]
    while lengths[0] // 2 >= first_length:
        lengths.insert(0, lengths[0] // 2)
    return lengths


def stage_at(progress: float, stages: int, length_warmup: float) -> int:
    """Returns the stage: all but the last share `length_warmup` of the budget equally.

    Args:
        progress: share of the budget used, 0 to 1.
        stages: how many there are.
        length_warmup: share of the budget before the last stage.
    """
    if progress >= length_warmup:
        return stages - 1
    return int(progress / length_warmup * (stages - 1))


def rows_of_stages(stages: int, last_rows: int) -> list[int]:
    """Returns the windows a step of each stage: doubled for every halving of their length.

    Args:
        stages: how many there are.
        last_rows: windows a step in the last one.
    """
    return [last_rows << (stages - 1 - stage) for stage in range(stages)]
