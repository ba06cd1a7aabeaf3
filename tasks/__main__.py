"""python -m tasks list | show NAME | check NAME: the tasks, one task's card, its audit."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import option, read_options
from tasks.card import card
from tasks.catalog import TASKS
from tasks.kinds import kind_of
from tasks.registry import TaskFamily, build_task, options_class
from tasks.task import Task, data_folder

HELP = """python -m tasks list                       all tasks, a line each
python -m tasks show NAME [data=DIR]      one task's card; its rows where the data are
python -m tasks check NAME [data=DIR]     what a classifier could exploit, and a verdict

Options of a task are given as task.OPTION=VALUE, as in
python -m tasks show table task.train=mine.csv task.label=y"""


@dataclass
class Show:
    """Options of `show`; a task's own are given as task.OPTION=VALUE."""

    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    split_seed: int = option(0, "moves the division of the rows, where the task leaves it open")


def show_list(words: Sequence[str]) -> list[str]:
    """All tasks in a line each: name, what it asks, kind and classes, metric.

    Raises:
        InputError: If there are further words.
    """
    if words:
        raise InputError(f"{words[0]!r}: list takes no options")
    rows = []
    for name in TASKS.names():
        entry = TASKS.get(name)
        rows.append((name, entry.description, *_size(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(f"{t:<{w}}" for t, w in zip(row, [*widths, 0], strict=True)).rstrip()
            for row in rows]  # fmt: skip


def _size(entry: Task | TaskFamily) -> tuple[str, str]:
    """Classes or labels, and the metric, of a task that can be built without options."""
    if isinstance(entry, TaskFamily):
        try:
            entry = entry.build(entry.config(name=entry.name))
        except InputError:
            return "options", ""
    if entry.kind == "regression":
        return entry.kind, entry.metric
    return f"{len(entry.labels)} {kind_of(entry).noun}", entry.metric


def show(words: Sequence[str]) -> list[str]:
    """The card of the task that the words name.

    Raises:
        InputError: If the name or an option is wrong.
    """
    if not words or "=" in words[0]:
        raise InputError("show needs the name of a task: python -m tasks show NAME")
    name, *rest = words
    own = [word.removeprefix("task.") for word in rest if word.startswith("task.")]
    options = read_options(Show, [word for word in rest if not word.startswith("task.")])
    chosen = read_options(options_class(name), [f"name={TASKS.get(name).name}", *own])
    data = data_folder(options.data)
    return card(build_task(chosen), options.split_seed, data)


COMMANDS: dict[str, Callable[[Sequence[str]], list[str]]] = {"list": show_list, "show": show}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or {"-h", "--help"} & {words[0]}:
        print(HELP)
        return 0
    command, *rest = words
    if command == "check":
        from tasks.audit.command import main as check  # rich is not needed elsewhere

        return check(rest)
    try:
        if command not in COMMANDS:
            raise unknown("command", command, [*COMMANDS, "check"])
        print("\n".join(COMMANDS[command](rest)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
