"""Families of tasks: tasks with options, and how a name with its options becomes a task."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from tasks.registry import TASKS
from tasks.task import Task


@dataclass
class TaskConfig:
    """The options of a task: each becomes `task.OPTION=VALUE` on the command line.

    A fixed task has its name alone; the options of a family derive from this. They are plain
    dataclasses (not frozen: the command line fills them) in which every field has a default and a
    type that OmegaConf knows: bool, int, float, str, list, enumeration, or one of them `| None`.
    An option's line of help is `field(metadata={"help": ...})`; see also `path_option`.
    """

    name: str = ""


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that differ in options, under one name of the registry.

    Attributes:
        name: Name in the registry.
        config: Class of the options, derived from `TaskConfig`.
        build: Makes the task; its name is the one that reports carry. Raises InputError for
            options that make no task.
        description: One line for the help.
    """

    name: str
    config: type[TaskConfig]
    build: Callable[[Any], Task]
    description: str = ""


def path_option(help: str) -> Any:
    """A field for the path of a file or folder, not given by default.

    Where rows lie does not change a result: their hash names the run, and the path does not.
    """
    return field(default=None, metadata={"help": help, "path": True})


def options_class(name: str) -> type[TaskConfig]:
    """The class of a task's options, by a registered name or alias.

    Raises:
        InputError: If the name is unknown.
    """
    entry = TASKS.get(name)
    return entry.config if isinstance(entry, TaskFamily) else TaskConfig


def default_options(name: str) -> TaskConfig:
    """The options of a task where none is given.

    Raises:
        InputError: If the name is unknown.
    """
    return options_class(name)(name=TASKS.get(name).name)


def build_task(options: TaskConfig) -> Task:
    """The task that a name and its options ask for.

    Raises:
        InputError: If the name is unknown, or the options make no task.
    """
    entry = TASKS.get(options.name)
    return entry.build(options) if isinstance(entry, TaskFamily) else entry


def result_options(options: TaskConfig) -> dict[str, Any]:
    """The options that can change a result, with the name: all but paths."""
    return {f.name: getattr(options, f.name) for f in fields(options) if "path" not in f.metadata}
