"""One registry for everything that is chosen by name: tasks here, methods in `icl`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from backbone.common.names import unknown

if TYPE_CHECKING:
    from tasks.family import TaskFamily
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
        """The registered names without aliases, in the order of registration."""
        return tuple(self._values)

    def __contains__(self, name: object) -> bool:
        """Whether a name or alias is registered."""
        return name in self._values or name in self._aliases


TASKS: "Registry[Task | TaskFamily]" = Registry("task")
"""All tasks and families of tasks. Import it from `tasks.catalog`, which fills it.

`tasks.family.build_task` makes a task of a name and its options.
"""
