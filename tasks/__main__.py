"""The command `python -m tasks`: list all tasks, show the card of one, or audit it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backbone.common.command import entry_point, exit_code, fail
from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import aligned, option, option_lines, read_options
from backbone.common.plugins import load_plugins
from tasks.card import card
from tasks.catalog import TASKS
from tasks.kinds import kind_of
from tasks.registry import TaskFamily, build_task, options_class
from tasks.task import Task, data_folder

HELP = """python -m tasks list                     list all tasks, one per line
python -m tasks show NAME [data=DIR]     show a task's card, its own options, and its rows
python -m tasks check NAME [data=DIR]    audit a task: leaks, shortcuts, and a summary

Give a task's own options as task.OPTION=VALUE:
python -m tasks show table task.train=mine.csv task.label=y
python -m tasks check --help             list the options of the audit

--json prints the result as one JSON object on standard output."""


@dataclass
class Show:
    """Options of `show`; a task's own options are given as task.OPTION=VALUE."""

    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    split_seed: int = option(0, "seed of the random split, if the task has no split of its own")


def show_list(words: Sequence[str]) -> list[str]:
    """Return a line per task: name, description, kind and number of classes, metric.

    Raises:
        InputError: If there are further words.
    """
    if words:
        raise InputError(f"{words[0]!r}: list takes no options; show NAME is the card of a task")
    rows = []
    for name in TASKS.names():
        entry = TASKS.get(name)
        rows.append((name, entry.description, *_size(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(f"{t:<{w}}" for t, w in zip(row, [*widths, 0], strict=True)).rstrip()
            for row in rows]  # fmt: skip


def _size(entry: Task | TaskFamily) -> tuple[str, str]:
    """Return the number of classes or labels and the metric; a family may need options first."""
    if isinstance(entry, TaskFamily):
        try:
            entry = entry.build(entry.config(name=entry.name))
        except InputError:
            return "options", ""
    if entry.kind == "regression":
        return entry.kind, entry.metric
    return f"{len(entry.labels)} {kind_of(entry).noun}", entry.metric


def show(words: Sequence[str]) -> list[str]:
    """Return the card of the task that the words name.

    Raises:
        InputError: If the name or an option is wrong.
    """
    if not words or "=" in words[0]:
        raise InputError("show needs the name of a task: python -m tasks show NAME")
    name, *rest = words
    own = [word.removeprefix("task.") for word in rest if word.startswith("task.")]
    options = read_options(Show, [word for word in rest if not word.startswith("task.")])
    chosen = read_options(options_class(name), [f"name={TASKS.get(name).name}", *own])
    lines = card(build_task(chosen), options.split_seed, data_folder(options.data))
    own_options = aligned(option_lines(type(chosen), "task."))
    return [*lines, *(["", "  Options", *own_options] if own_options else [])]


COMMANDS: dict[str, Callable[[Sequence[str]], list[str]]] = {"list": show_list, "show": show}


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    if not words or {"-h", "--help"} & {words[0]}:
        print(HELP)
        return 0
    command, *rest = words
    if command == "check":
        from tasks.audit.command import main as check  # rich is not needed elsewhere

        return check(rest)
    if command not in COMMANDS:
        return fail(str(unknown("command", command, [*COMMANDS, "check"])))
    return exit_code(lambda: COMMANDS[command](load_plugins(rest)))


if __name__ == "__main__":
    sys.exit(main())
