"""The registries of tasks and probes, complete: each module of tasks registers its own.

All modules of `tasks.own`, `tasks.probes` and `tasks.sets` are imported here, so a new one needs no
further entry.
"""

import pkgutil
from importlib import import_module
from typing import Any

import tasks.own
import tasks.probes
import tasks.sets
from tasks.own.packages import load_packages
from tasks.probes.probe import PROBES
from tasks.registry import TASKS, build_task, task_options
from tasks.task import Task

for _package in (tasks.own, tasks.probes, tasks.sets):
    for _module in pkgutil.iter_modules(_package.__path__):
        import_module(f"{_package.__name__}.{_module.name}")

load_packages()

__all__ = ["PROBES", "TASKS", "load_task"]


def load_task(name: str, **options: Any) -> Task:
    """Build a registered task: `load_task("table", train="mine.csv", label="y").splits(0)`.

    Args:
        name: Name or alias of the task, as `python -m tasks list` shows it.
        **options: The task's own options, which the command line calls `task.OPTION`; a path may be
            text or a `Path`.

    Raises:
        InputError: If the name or an option is unknown, with the nearest known one, or the options
            do not make a task.
    """
    return build_task(task_options(name, options))
