"""Runs: one method on one task, scored once, reported."""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Gives `icl.results` without an import of its own, and pandas only when it is asked for."""
    if name == "results":
        return import_module("icl.results")
    raise AttributeError(f"module 'icl' has no attribute {name!r}")
