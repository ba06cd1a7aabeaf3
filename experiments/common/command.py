"""The command line of every experiment: help, options, one line for a mistake.

Commands that run methods also take the options of their task as `task.NAME=VALUE`, those of all
methods that have an option as `method.NAME=VALUE`, and those of one method as
`method.METHOD.NAME=VALUE`; a recipe may hold any of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Protocol, TypeVar

from backbone.common.command import exit_code, fail
from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import aligned, as_text, help_text, not_an_option, read_options
from backbone.common.plugins import load_plugins
from experiments.common.recipe import read_recipe
from icl.methods.catalog import METHODS

T = TypeVar("T")

Work = Callable[[T], Iterable[object] | None]
MethodOptions = Mapping[str, Sequence[str]]
"""Options of the task ("task") and of methods (by their names), as `NAME=VALUE`."""

FORMS = {
    "task.NAME=VALUE": "an option of the task, as task.train_rows=200",
    "method.NAME=VALUE": "an option of all methods that have it, as method.epochs=10",
    "method.METHOD.NAME=VALUE": "an option of one method, as method.soft_prompt.lr=0.1",
}
"""Options besides a command's own, with their help; every command also takes `plugins=[...]`."""

LOCAL_OPTIONS = ("recipe", "data", "runs", "out", "minutes")
"""Options for paths and time limits, left out of the command line that a table quotes."""


class WithMethods(Protocol):
    """Options that name the methods of an experiment."""

    @property
    def methods(self) -> Sequence[str]:
        """Names of methods."""


MethodsT = TypeVar("MethodsT", bound=WithMethods)


def run_command(
    command: str,
    options: type[T],
    work: Work[T],
    arguments: Sequence[str] | None = None,
    *,
    without_arguments: Literal["help", "work"] = "help",
) -> int:
    """Read the options of a command, do its work and print what that returns, line by line.

    Args:
        command: How the command is called, for its help.
        options: Dataclass of its options, as `backbone.common.options` reads them.
        work: What to do; returns paths of what was written, or None.
        arguments: Arguments of the command line; by default those of this process.
        without_arguments: What a call without arguments does: show the help, or the work where
            the defaults alone make sense.

    Returns:
        0, or 2 after one line about a mistake of the user's.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if wants_help(words) or (not words and without_arguments == "help"):
        print(help_text(options, command))
        return 0
    return exit_code(lambda: work(read_options(options, load_plugins(words))))


def run_with_methods(
    command: str,
    options: type[MethodsT],
    work: Callable[[MethodsT, MethodOptions], Iterable[object] | None],
    arguments: Sequence[str] | None = None,
    *,
    forms: Sequence[str] = tuple(FORMS),
) -> int:
    """Do as `run_command` for a command that takes options of its task and its methods too.

    Args:
        command: As there.
        options: As there.
        work: What to do with the options and with those of the task and of each method.
        arguments: As there.
        forms: Which of FORMS the command takes.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if wants_help(words) or not words:
        print(help_text(options, command))
        print("\n".join(aligned({form: FORMS[form] for form in forms})))
        return 0
    return exit_code(lambda: work(*read_words(options, load_plugins(words))))


def run_one_of(
    command: str,
    help: str | None,
    commands: Mapping[str, tuple[type, Work]],
    arguments: Sequence[str] | None = None,
    *,
    without_arguments: Literal["help", "work"] = "help",
) -> int:
    """Run the subcommand that comes first among the arguments, as `run_command` does.

    Args:
        command: How the command is called, for its help.
        help: Printed without arguments, and for --help.
        commands: Options and work of each subcommand.
        arguments: Arguments of the command line; by default those of this process.
        without_arguments: What a subcommand without arguments does.

    Returns:
        0, or 2 after one line about a mistake of the user's.
    """
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if wants_help([name]):
        print(help)
        return 0
    if name not in commands:
        return fail(str(unknown("command", name, commands)))
    options, work = commands[name]
    return run_command(
        f"{command} {name}", options, work, rest, without_arguments=without_arguments
    )


def wants_help(words: Sequence[str]) -> bool:
    """Return whether the help is asked for."""
    return bool({"-h", "--help"} & set(words))


def read_words(
    options: type[MethodsT], words: Sequence[str]
) -> tuple[MethodsT, dict[str, list[str]]]:
    """Return the options of a command line, and those of its task and of each method.

    Options given here override those of `recipe=NAME`. A recipe's options of methods that are not
    run are dropped.

    Raises:
        InputError: If an option, a method or the recipe is unknown.
    """
    for word in words:
        if "=" not in word:
            raise not_an_option(word)
    given = dict(word.partition("=")[::2] for word in words)
    recipe = read_recipe(given["recipe"]) if "recipe" in given else {}
    both = recipe | given
    nested = [name for name in both if name.split(".")[0] in ("task", "method") and "." in name]
    own = [f"{name}={value}" for name, value in both.items() if name not in nested]
    read = read_options(options, own)
    found: dict[str, list[str]] = {}
    # Options of one method come last, because the last of two equal options counts.
    for name in sorted(nested, key=lambda one: one.count(".")):
        owner, _, option = name.partition(".")
        for one, inner in [("task", option)] if owner == "task" else _of_methods(option, read):
            if one == "task" or one in read.methods:
                found.setdefault(one, []).append(f"{inner}={both[name]}")
            elif name in given:
                methods = ", ".join(read.methods)
                raise InputError(f"{name}: {one} is not run; the methods are {methods}")
    return read, found


def _of_methods(option: str, options: WithMethods) -> list[tuple[str, str]]:
    """Return the methods that an option after `method.` belongs to, with its name there."""
    head, dot, rest = option.partition(".")
    if dot and head in METHODS.names():
        return [(head, rest)]
    known = {name: {f.name for f in fields(METHODS.get(name).config)} for name in options.methods}
    having = [(name, option) for name, names in known.items() if head in names]
    if not having:
        raise unknown("option", f"method.{option}", [
            f"method.{name}" for name in dict.fromkeys(sum(map(sorted, known.values()), []))
        ])  # fmt: skip
    return having


def command_line(command: str, options: Any, nested: MethodOptions) -> str:
    """Return the line that repeats a command, wherever its data and runs are.

    Args:
        command: How the command is called.
        options: Instance of its options.
        nested: Options of its task and methods.
    """
    given = {
        f.name: getattr(options, f.name) for f in fields(options) if f.name not in LOCAL_OPTIONS
    }
    for name, group in [(name, one) for name, one in given.items() if is_dataclass(one)]:
        del given[name]
        given |= {f"{name}.{f.name}": getattr(group, f.name) for f in fields(group)}
    words = [f"{name}={as_text(value)}" for name, value in given.items() if value is not None]
    for owner, inner in nested.items():
        prefix = "task" if owner == "task" else f"method.{owner}"
        words += [f"{prefix}.{word}" for word in inner]
    return " ".join([f"{command} data=$ICL_DATA", *words])
