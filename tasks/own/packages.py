"""Tasks of other packages, through the entry point group `icl.tasks`.

A package names in its pyproject.toml either a module, which registers what it has when it is
imported, or a `Task` or `TaskFamily`:

    [project.entry-points."icl.tasks"]
    mine = "my_package.tasks"
"""

import warnings
from importlib import metadata

from backbone.common.errors import InputError
from tasks.registry import TASKS, TaskFamily
from tasks.task import Task

GROUP = "icl.tasks"


def load_packages() -> None:
    """Register the tasks of every installed package; one that cannot be loaded is named and left.

    A broken package of somebody else's must not keep the other tasks from being used.
    """
    for point in metadata.entry_points(group=GROUP):
        try:
            found = point.load()
            if isinstance(found, Task | TaskFamily):
                TASKS.add(found.name, found)
        except (ImportError, AttributeError, ValueError, InputError) as error:
            reason = " ".join(str(error).split())
            warnings.warn(
                f"tasks of {point.name} ({point.value}) are left out: {reason}", stacklevel=2
            )
