"""A task from one function that yields rows, registered by a decorator."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tasks.registry import TASKS
from tasks.sources.published import assemble
from tasks.sources.rows import clean
from tasks.task import Kind, Splits, Task

RowFunction = Callable[[], Iterable[tuple[str, Any]]]
RowFunctionT = TypeVar("RowFunctionT", bound=RowFunction)


@dataclass(frozen=True)
class FunctionSource:
    """Rows that a function yields, divided 70/10/20.

    Attributes:
        rows: Yields the same pairs of sequence and label at every call.
        origin: A description of the rows that fits into the middle of a sentence.
    """

    rows: RowFunction
    origin: str

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Call the function and divide its rows; `data` is not used."""
        pool = clean(self.rows(), task, self.origin, self.origin)
        return assemble(task, {"pool": pool}, split_seed)


def task(
    name: str, labels: tuple[str, ...], kind: Kind = "classes", **about: str
) -> Callable[[RowFunctionT], RowFunctionT]:
    """Register the decorated function as `task=NAME`, with its docstring as the help.

    Args:
        name: Name on the command line.
        labels: As in `Task`, in order; the function yields one of them with each sequence, or
            its number.
        kind: What a row's label is.
        **about: Further fields of `Task`: metric, citation, licence.

    Raises:
        ValueError: If the name is taken.
        TypeError: If `about` names no field of `Task`.
    """

    def register(rows: RowFunctionT) -> RowFunctionT:
        description = (rows.__doc__ or "").strip().partition("\n")[0]
        source = FunctionSource(rows, f"the rows of {rows.__name__}")
        made: dict[str, Any] = {"description": description, **about}
        TASKS.add(name, Task(name, tuple(labels), source, kind=kind, **made))
        return rows

    return register
