"""The command line that every experiment has: help, options, one line about what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import help_text, read_options

T = TypeVar("T")

Work = Callable[[T], Iterable[object] | None]


def run_command(
    command: str, options: type[T], work: Work[T], arguments: Sequence[str] | None = None
) -> int:
    """Reads the options, does the work and prints what it gives, line by line.

    Args:
        command: As it is called, for the help.
        options: Dataclass of its options, as `backbone.common.options` reads them.
        work: What to do with them; gives the paths of what was written, or None.
        arguments: Of the command line; those of this process if not given.

    Returns:
        0, or 2 after one line about what is wrong with the input.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(words):
        print(help_text(options, command))
        return 0
    return exit_code(lambda: work(read_options(options, words)))


def run_one_of(
    command: str,
    help: str | None,
    commands: Mapping[str, tuple[type, Work]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs the subcommand that comes first among the arguments, as `run_command` does.

    Args:
        command: As it is called, for the help.
        help: Shown without arguments, and for --help.
        commands: Of each subcommand its options and its work.
        arguments: Of the command line; those of this process if not given.

    Returns:
        0, or 2 after one line about what is wrong with the input.
    """
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in ("-h", "--help"):
        print(help)
        return 0
    if name not in commands:
        print(f"error: {unknown('command', name, commands)}", file=sys.stderr)
        return 2
    options, work = commands[name]
    return run_command(f"{command} {name}", options, work, rest)


def exit_code(work: Callable[[], Iterable[object] | None]) -> int:
    """Does the work and prints what it gives: 0, or 2 after one line about a mistake."""
    try:
        for line in work() or ():
            print(line)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
