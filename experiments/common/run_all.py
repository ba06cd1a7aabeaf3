"""Many runs one after the other, each with what it found and an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from icl.config.options import RunConfig
from icl.run import Finished, run
from tasks.kinds import TASK_KINDS


@dataclass(frozen=True)
class Planned:
    """A run that is to be done.

    Attributes:
        name: Runs of one name take about as long as each other.
        title: What is shown about it.
        config: Its resolved options, of one seed.
    """

    name: str
    title: str
    config: RunConfig


def run_planned(
    planned: Sequence[Planned],
    show: Callable[[str], None] = print,
    minutes: float | None = None,
) -> list[Finished]:
    """Does all runs in their order; finished ones are not repeated.

    Args:
        planned: The runs.
        show: Receives two lines about every run.
        minutes: None begins every run; else none is begun after so long, and the rest is named.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    finished: list[Finished] = []
    seconds: dict[str, float] = {}
    for number, one in enumerate(planned, start=1):
        if end is not None and time.monotonic() > end:
            show(f"{len(planned) - len(finished)} runs are left; the same command goes on")
            break
        left = seconds_left(seconds, [later.name for later in planned[number - 1 :]])
        rest = "" if left is None else f"; at most about {left / 60:.0f} min left"
        show(f"[{number}/{len(planned)}] {one.title}{rest}")
        (done,) = run(one.config)
        known = " (finished before)" if done.was_there else ""
        metric = TASK_KINDS[done.report.setup.kind].metrics[0]
        show(f"    {metric} {done.report.outcome.metrics[metric].value:.4f}{known}")
        finished.append(done)
        seconds[one.name] = done.report.environment.seconds
    return finished


def seconds_left(known: Mapping[str, float], remaining: Sequence[str]) -> float | None:
    """How long the remaining runs will take, from the last run of each name.

    Names that have not run yet count as the mean of those that have; None if there is none.
    """
    if not known:
        return None
    mean = sum(known.values()) / len(known)
    return sum(known.get(name, mean) for name in remaining)
