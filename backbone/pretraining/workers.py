"""Processes that draw the batches of coming steps while the current one is computed.

A draw is a function of its arguments alone, so who draws it, and when, changes nothing.
"""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from backbone.common.errors import InputError

STEPS_AHEAD = 2
"""Steps that wait or are drawn, for each process."""

Draw = Callable[..., Any]


class Workers:
    """Draws by name and step, in this process or ahead of time in others."""

    def __init__(self, draws: Mapping[str, Draw], count: int) -> None:
        """Start the processes.

        Args:
            draws: Functions that take `step` and further keyword arguments, by a name.
            count: Processes; 0 draws in this one, when asked.
        """
        self.draws, self.count = dict(draws), count
        self._waiting: dict[tuple[Any, ...], Future[Any]] = {}
        self._pool: ProcessPoolExecutor | None = None
        if count:
            # Forked processes would inherit locks of torch's threads, and an accelerator's state.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, spawn, _receive, (self.draws,))

    def draw(self, name: str, step: int, **arguments: int) -> Any:
        """Return what `name` draws for a step, and have later steps drawn with like arguments.

        Raises:
            InputError: If a process has died, for want of memory perhaps.
        """
        if self._pool is None:
            return self.draws[name](step=step, **arguments)
        for coming in range(step, step + 1 + STEPS_AHEAD * self.count):
            key = (name, coming, *arguments.items())
            if key not in self._waiting:
                self._waiting[key] = self._pool.submit(_drawn, name, coming, arguments)
        wanted = self._waiting.pop((name, step, *arguments.items()))
        for key in [k for k in self._waiting if k[0] == name and k[1] <= step]:
            self._waiting.pop(key).cancel()  # drawn for a stage that is over
        try:
            return wanted.result()
        except BrokenProcessPool as error:
            raise InputError("a process that draws batches has died; lower workers=") from error

    def close(self) -> None:
        """End the processes; what they draw is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


_draws: dict[str, Draw] = {}
"""In a worker: the functions that draw."""


def _receive(draws: dict[str, Draw]) -> None:
    _draws.update(draws)


def _drawn(name: str, step: int, arguments: Mapping[str, int]) -> Any:
    return _draws[name](step=step, **arguments)
