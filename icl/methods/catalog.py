"""The registry of methods with every method in it: each file of this package registers its own."""

import pkgutil
from importlib import import_module

import icl.methods
from icl.method import METHODS

for _module in pkgutil.iter_modules(icl.methods.__path__):
    if _module.name != "catalog":
        import_module(f"icl.methods.{_module.name}")

__all__ = ["METHODS"]
