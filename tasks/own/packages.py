"""Tasks of other packages, through the entry point group `icl.tasks`.

In its pyproject.toml a package names either a module that registers its tasks when imported, or a
`Task` or `TaskFamily`:

    [project.entry-points."icl.tasks"]
    mine = "my_package.tasks"
"""

from backbone.common.plugins import load_entry_points
from tasks.registry import TASKS, TaskFamily
from tasks.task import Task

GROUP = "icl.tasks"


def load_packages() -> None:
    """Register the tasks of every installed package; see `load_entry_points`."""
    load_entry_points(GROUP, _register)


def _register(found: object) -> None:
    if isinstance(found, Task | TaskFamily):
        TASKS.add(found.name, found)
