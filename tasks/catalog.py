"""The registries of tasks and probes, filled: importing a module of tasks registers its own."""

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
from tasks.registry import TASKS

load_packages()

__all__ = ["PROBES", "TASKS"]
