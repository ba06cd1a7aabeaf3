"""Plugins: modules named on the command line, and entry points of packages."""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path

from backbone.common.errors import InputError

OPTION = "plugins="
"""Option of every command that runs methods: `plugins=[my_lab.methods,my_lab.tasks]`."""


def load_plugins(words: Sequence[str]) -> list[str]:
    """Import the modules that `plugins=` names and return the other words of a command line.

    Importing a module registers the methods and tasks in it, so that this comes before any other
    option is read. Modules are also looked for in the working directory.

    Raises:
        InputError: If a module cannot be imported.
    """
    for word in words:
        if word.startswith(OPTION):
            names = word.removeprefix(OPTION).strip("[]").split(",")
            import_plugins([name.strip() for name in names if name.strip()])
    return [word for word in words if not word.startswith(OPTION)]


def import_plugins(names: Sequence[str]) -> None:
    """Import modules by their dotted names.

    Raises:
        InputError: If one of them cannot be imported.
    """
    here = str(Path.cwd())
    if names and here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    for name in names:
        try:
            import_module(name)
        except (ImportError, SyntaxError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{OPTION}[{name}]: cannot be imported ({reason})") from error


def load_entry_points(group: str, register: Callable[[object], None]) -> None:
    """Load what installed packages declare under an entry point group.

    A package that cannot be loaded is left out with a warning: it must not keep the others from
    being used.

    Args:
        group: Name of the group, such as "icl.tasks".
        register: Called with each object; a module has registered its own when it was imported.
    """
    for point in metadata.entry_points(group=group):
        try:
            register(point.load())
        except (ImportError, AttributeError, ValueError) as error:
            reason = " ".join(str(error).split())
            warnings.warn(
                f"{group}: {point.name} ({point.value}) is left out: {reason}", stacklevel=2
            )
