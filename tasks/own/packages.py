"""Tasks of other packages, through the entry point group `icl.tasks`.

In its pyproject.toml a package names either a module that registers its tasks when imported, or a
`Task` or `TaskFamily`:

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
    """Register the tasks of every installed package.

    A package that cannot be loaded is left out with a warning: it must not keep the other tasks
    from being used.
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
