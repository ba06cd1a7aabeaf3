"""The progress of a run: a live bar on a terminal, a few plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import rich.progress
from rich.console import Console

from icl.method import Progress, silent

LINES = 10
"""Plain lines in a run, about."""

MANY_ROWS = 10_000
"""Rows from which plain lines tell how far encoding and scoring are."""


@dataclass(frozen=True)
class Watch:
    """Callbacks through which a process that does many runs follows one of them.

    Attributes:
        progress: Called after each epoch; an exception that it raises ends the run.
        claim: Holds the run's hash until its report is there, so that no other process does the
            same run meanwhile.
        start: Called before an unfinished run starts; an exception that it raises ends the run.
    """

    progress: Callable[[Progress], None] = silent
    claim: Callable[[str], AbstractContextManager[object]] = nullcontext
    start: Callable[[], None] = lambda: None


ALONE = Watch()
"""Of a run that nobody else does or watches."""


@dataclass(frozen=True)
class Display:
    """How a run shows its work.

    Attributes:
        epoch: Called after each epoch.
        rows: Called while rows are encoded or scored; see `icl.method.Context.rows_done`.
    """

    epoch: Callable[[Progress], None]
    rows: Callable[[str, int, int], None]


@contextmanager
def shown(title: str, console: Console, watch: Watch = ALONE) -> Iterator[Display]:
    """Show progress under a title, for as long as the block lasts."""
    if console.is_terminal:
        with _bar(console) as bar:
            live = _live(bar, title)
            yield Display(_seen_by(live.epoch, watch), live.rows)
    else:
        console.print(title, highlight=False, soft_wrap=True)
        plain = _plain(console)
        yield Display(_seen_by(plain.epoch, watch), plain.rows)


def describe(progress: Progress) -> str:
    """Return one epoch as text."""
    return (
        f"loss {progress.loss:.4f}  validation loss {progress.validation_loss:.4f}, "
        f"{progress.metric} {progress.validation:.4f} "
        f"(best epoch {progress.best_epoch}: {progress.best_loss:.4f}, {progress.best:.4f})"
    )


def _seen_by(show: Callable[[Progress], None], watch: Watch) -> Callable[[Progress], None]:
    def both(progress: Progress) -> None:
        show(progress)
        watch.progress(progress)

    return both


def _bar(console: Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[words]}"),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _live(bar: rich.progress.Progress, title: str) -> Display:
    task = bar.add_task(title, total=None, words="")

    def epoch(progress: Progress) -> None:
        bar.update(task, total=progress.epochs, completed=progress.epoch, words=describe(progress))

    def rows(work: str, done: int, total: int) -> None:
        bar.update(task, words=f"{work} {done:,} of {total:,} rows")

    return Display(epoch, rows)


def _plain(console: Console) -> Display:
    tenth = 0

    def rows(work: str, done: int, total: int) -> None:
        nonlocal tenth
        if total >= MANY_ROWS and LINES * done // total != tenth:
            tenth = LINES * done // total
            console.print(f"{work} {done:,} of {total:,} rows", highlight=False, soft_wrap=True)

    def epoch(progress: Progress) -> None:
        every = max(1, progress.epochs // LINES)
        if progress.epoch % every == 0 or progress.epoch == progress.epochs:
            console.print(
                f"epoch {progress.epoch}/{progress.epochs}  {describe(progress)}",
                highlight=False,
                soft_wrap=True,
            )

    return Display(epoch, rows)
