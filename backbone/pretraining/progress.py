"""The progress of a pretraining run: a live table on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

SHOW_SECONDS = 10.0
"""Seconds between plain lines."""


class Status(NamedTuple):
    """The state of a run after a step."""

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
        """The perplexity of the loss."""
        return perplexity_of(self.loss)


def perplexity_of(loss: float) -> float:
    """Return exp(loss), or a very large number where that overflows."""
    return math.exp(min(loss, 700.0))


class View:
    """A context whose `show` is called after every step."""

    def __init__(self, console: Console) -> None:
        """Start with an empty screen."""
        self.console = console
        self._live: Live | None = None
        self._last = -math.inf

    def __enter__(self) -> "View":
        """Return the view."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status) -> None:
        """Show the state of the run."""
        if not self.console.is_terminal:
            if time.monotonic() - self._last >= SHOW_SECONDS:
                self.console.print(line_of(status), highlight=False, soft_wrap=True)
                self._last = time.monotonic()
        elif self._live is None:
            self._live = Live(table_of(status), console=self.console, refresh_per_second=4)
            self._live.start()
        else:
            self._live.update(table_of(status))


def words_of(status: Status) -> dict[str, str]:
    """Return the state of a run as texts, by their names."""
    return {
        "step": f"{status.step:,}",
        "stage": f"{status.stage + 1} of {status.stages}",
        "length": f"{status.length:,} tokens",
        "speed": f"{status.tokens_per_second:,.0f} tokens/s",
        "loss": f"{status.loss:.4f}",
        "perplexity": f"{status.perplexity:.3f}",
        "time left": duration(status.seconds_left),
    }


def line_of(status: Status) -> str:
    """Return the state of a run as a line."""
    words = words_of(status)
    return "  ".join(
        [
            f"{status.progress:6.1%}",
            f"step {status.step}",
            f"stage {words['stage']}",
            f"length {status.length}",
            words["speed"],
            f"loss {words['loss']}",
            f"perplexity {words['perplexity']}",
            f"{words['time left']} left",
        ]
    )


def table_of(status: Status) -> Table:
    """Return the state of a run as a table under a bar."""
    table = Table.grid(padding=(0, 2))
    table.add_row(f"{status.progress:.1%}", ProgressBar(total=1.0, completed=status.progress))
    for name, text in words_of(status).items():
        table.add_row(name, text)
    return table


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds; at most 99:59:59."""
    minutes, rest = divmod(int(min(seconds, 359_999)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
