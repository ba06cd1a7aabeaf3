"""The registry of methods, complete: each module of this package registers its own.

Another package adds its methods through the entry point group `icl.methods`, which names the module
that registers them when imported:

    [project.entry-points."icl.methods"]
    mine = "my_package.methods"
"""

import pkgutil
from importlib import import_module

import icl.methods
from backbone.common.plugins import load_entry_points
from icl.method import METHODS

for _module in pkgutil.iter_modules(icl.methods.__path__):
    if _module.name != "catalog":
        import_module(f"icl.methods.{_module.name}")

load_entry_points("icl.methods", lambda module: None)

__all__ = ["METHODS"]
