"""One registry for everything that is chosen by name: tasks here, methods in `icl`."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Generic, TypeVar

from backbone.common.errors import InputError

if TYPE_CHECKING:
    from tasks.family import TaskFamily
    from tasks.task import Task

T = TypeVar("T")

FEW = 20
"""So many names a message may list; of more, those that are most like what was given."""


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
        """The value registered under a name or an alias.

        Raises:
            InputError: If the name is unknown, with the nearest one and the list of all.
        """
        name = self._aliases.get(name, name)
        if name in self._values:
            return self._values[name]
        near = get_close_matches(name, [*self._values, *self._aliases], n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        known = list(self.names())
        if near and len(known) > FEW:  # the nearest one is enough, and all would be a wall of text
            known = get_close_matches(name, known, n=FEW, cutoff=0.3) + ["..."]
        raise InputError(f"unknown {self.kind} {name!r}{hint} Known: {', '.join(known)}")

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
