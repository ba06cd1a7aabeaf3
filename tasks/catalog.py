"""The registries of tasks and probes, filled: importing a module of tasks registers its own."""

import tasks.biotype
import tasks.boolean
import tasks.copying
import tasks.genomic_benchmarks
import tasks.gue
import tasks.recall
import tasks.species
import tasks.synthetic  # noqa: F401
from tasks.episode import PROBES
from tasks.registry import TASKS

__all__ = ["PROBES", "TASKS"]
