"""Labelled DNA: tasks, their sources, their metrics and their audit; no torch.

In Python, `load_task` builds a task and `audit_task` audits one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.audit.command import audit_task
    from tasks.catalog import load_task

__all__ = ["audit_task", "load_task"]

_HOMES = {"audit_task": "tasks.audit.command", "load_task": "tasks.catalog"}


def __getattr__(name: str) -> Any:
    """Import a function of the package when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tasks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
