"""The registries of tasks and probes, filled: importing a module of tasks registers its own."""

import tasks.biotype
import tasks.boolean
import tasks.chromatin
import tasks.copying
import tasks.genomic_benchmarks
import tasks.gue
import tasks.nucleotide_transformer
import tasks.own_intervals
import tasks.own_table
import tasks.recall
import tasks.single_tables
import tasks.species
import tasks.synthetic  # noqa: F401
from tasks.episode import PROBES
from tasks.packages import load_packages
from tasks.registry import TASKS

load_packages()

__all__ = ["PROBES", "TASKS"]
