"""The registries of tasks and probes, filled: importing a module of tasks registers its own."""

from typing import Any

import tasks.own.intervals
import tasks.own.table
import tasks.probes.boolean
import tasks.probes.copying
import tasks.probes.recall
import tasks.sets.biotype
import tasks.sets.chromatin
import tasks.sets.genomic_benchmarks
import tasks.sets.gue
import tasks.sets.nucleotide_transformer
import tasks.sets.single_tables
import tasks.sets.species
import tasks.sets.synthetic  # noqa: F401
from tasks.own.packages import load_packages
from tasks.probes.probe import PROBES
from tasks.registry import TASKS, build_task, task_options
from tasks.task import Task

load_packages()

__all__ = ["PROBES", "TASKS", "load_task"]


def load_task(name: str, **options: Any) -> Task:
    """Build a registered task: `load_task("table", train="mine.csv", label="y").splits(0)`.

    Args:
        name: Name or alias of the task, as `python -m tasks list` shows it.
        **options: The task's own options, which the command line calls `task.OPTION`; a path may be
            text or a `Path`.

    Raises:
        InputError: If the name or an option is unknown, with the nearest one, or the options make
            no task.
    """
    return build_task(task_options(name, options))
