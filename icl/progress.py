"""What a run shows while it learns: a live bar on a terminal, a few plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import rich.progress
from rich.console import Console

from icl.method import Progress, silent

LINES = 10
"""Plain lines in a run, about."""


@dataclass(frozen=True)
class Watch:
    """What a process that has many runs to do sees of one.

    Attributes:
        progress: Called after each epoch; what it raises ends the run.
        claim: Holds the run's hash until its report is there, so that no other process does the
            same run meanwhile.
    """

    progress: Callable[[Progress], None] = silent
    claim: Callable[[str], AbstractContextManager[object]] = nullcontext


ALONE = Watch()
"""Of a run that nobody else does or watches."""


@contextmanager
def shown(
    title: str, console: Console, watch: Watch = ALONE
) -> Iterator[Callable[[Progress], None]]:
    """Shows progress under a title; gives what a method calls after each epoch."""
    if console.is_terminal:
        with _bar(console) as bar:
            yield _seen_by(_live(bar, title), watch)
    else:
        console.print(title, highlight=False, soft_wrap=True)
        yield _seen_by(_plain(console), watch)


def describe(progress: Progress) -> str:
    """One epoch in words."""
    return (
        f"loss {progress.loss:.4f}  validation loss {progress.validation_loss:.4f}, "
        f"{progress.figure} {progress.validation:.4f} "
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


def _live(bar: rich.progress.Progress, title: str) -> Callable[[Progress], None]:
    task = bar.add_task(title, total=None, words="")

    def show(progress: Progress) -> None:
        bar.update(task, total=progress.epochs, completed=progress.epoch, words=describe(progress))

    return show


def _plain(console: Console) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        every = max(1, progress.epochs // LINES)
        if progress.epoch % every == 0 or progress.epoch == progress.epochs:
            console.print(
                f"epoch {progress.epoch}/{progress.epochs}  {describe(progress)}",
                highlight=False,
                soft_wrap=True,
            )

    return show
