"""The registry of tasks with every task in it: importing a module of tasks registers them."""

import tasks.genomic_benchmarks
import tasks.synthetic  # noqa: F401
from tasks.registry import TASKS

__all__ = ["TASKS"]
