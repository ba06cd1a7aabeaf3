"""The registry of tasks, and tasks with their own options."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import check_options
from tasks.task import Task

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by name; a value may have aliases, which are names that are not listed.

    Args:
        kind: What is registered, as one word for messages: "task", "method".
    """

    def __init__(self, kind: str) -> None:
        """Start empty."""
        self.kind = kind
        self._values: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, value: T, aliases: Iterable[str] = ()) -> None:
        """Register `value` under `name` and its aliases.

        Raises:
            ValueError: If one of the names is taken; nothing is registered then.
        """
        names = [name, *aliases]
        for number, one in enumerate(names):
            if one in self or one in names[:number]:
                raise ValueError(f"{self.kind} {one!r} is registered twice")
        self._values[name] = value
        self._aliases.update(dict.fromkeys(names[1:], name))

    def get(self, name: str) -> T:
        """Return the value registered under a name or an alias.

        Raises:
            InputError: If the name is unknown, with the nearest one.
        """
        name = self._aliases.get(name, name)
        if name in self._values:
            return self._values[name]
        raise unknown(self.kind, name, [*self._values, *self._aliases])

    def names(self) -> tuple[str, ...]:
        """Return the registered names without aliases, in the order of registration."""
        return tuple(self._values)

    def __contains__(self, name: object) -> bool:
        """Whether a name or alias is registered."""
        return name in self._values or name in self._aliases


@dataclass
class TaskConfig:
    """The options of a task; on the command line each is `task.OPTION=VALUE`.

    A fixed task has only its name. The options of a family derive from this class: plain
    dataclasses (not frozen, as the command line fills them) in which every field has a default and
    a type that OmegaConf knows: bool, int, float, str, list, enumeration, or one of them `| None`.
    Options are declared by `backbone.common.options.option` and `path_option`.
    """

    name: str = ""


@dataclass(frozen=True)
class TaskFamily:
    """Tasks that differ only in their options, registered under one name.

    Attributes:
        name: Name in the registry.
        config: Class of the options, derived from `TaskConfig`.
        build: Build the task from its options; the task's own name is the one in reports. Raises
            InputError for options that make no task.
        description: One line for the help.
    """

    name: str
    config: type[TaskConfig]
    build: Callable[[Any], Task]
    description: str = ""


TASKS: Registry[Task | TaskFamily] = Registry("task")
"""All tasks and families of tasks. Import it from `tasks.catalog`, which fills it."""


def path_option(help: str) -> Any:
    """Declare the path of a file or folder as an option, None by default.

    Where rows are stored does not change a result: their hash names the run, the path does not.
    """
    return field(default=None, metadata={"help": help, "path": True})


def options_class(name: str) -> type[TaskConfig]:
    """Return the class of a task's options, by a registered name or alias.

    Raises:
        InputError: If the name is unknown.
    """
    entry = TASKS.get(name)
    return entry.config if isinstance(entry, TaskFamily) else TaskConfig


def default_options(name: str) -> TaskConfig:
    """Return a task's options with their defaults.

    Raises:
        InputError: If the name is unknown.
    """
    return options_class(name)(name=TASKS.get(name).name)


def build_task(options: TaskConfig) -> Task:
    """Build the task that a name and its options ask for.

    Raises:
        InputError: If the name is unknown, or the options make no task.
    """
    entry = TASKS.get(options.name)
    if not isinstance(entry, TaskFamily):
        return entry
    check_options(options, "task.")
    return entry.build(options)


def task_options(name: str, values: Mapping[str, Any]) -> TaskConfig:
    """Return a task's options from Python values, by the names of the command line.

    Args:
        name: A registered name or alias.
        values: The options that are not left at their defaults; a path may be text or a `Path`.

    Raises:
        InputError: If the name or an option is unknown, or a value is of the wrong type.
    """
    schema = options_class(name)
    known = [declared.name for declared in fields(schema) if declared.name != "name"]
    for option in values:
        if option not in known:
            raise unknown(f"option of task {name}", option, known)
    given = {"name": TASKS.get(name).name} | {key: _escaped(one) for key, one in values.items()}
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), given))
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(options, schema)
    return options


def _escaped(value: Any) -> Any:
    """A value as OmegaConf takes it: a dollar sign does not refer to another option."""
    if isinstance(value, str | Path):
        return str(value).replace("${", r"\${")
    if isinstance(value, list | tuple):
        return [_escaped(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _escaped(one) for key, one in value.items()}
    return value


def result_options(options: TaskConfig) -> dict[str, Any]:
    """Return the options that can change a result, with the name: all except paths."""
    return {f.name: getattr(options, f.name) for f in fields(options) if "path" not in f.metadata}
