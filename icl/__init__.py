"""Runs: one method on one task, scored once, with a report.

report = icl.evaluate(task="enhancer_cohn", method="soft_prompt", k=16, data="DIR")
table = icl.load_results("runs")
model = icl.load_backbone("bundled")
scores = icl.load_run("runs/enhancer_cohn/soft_prompt/HASH").predict_proba(sequences)
classifier = icl.PromptClassifier(method="soft_prompt", k=16).fit(sequences, labels)
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbone.models import load as load_backbone
    from icl.classifier import PromptClassifier
    from icl.evaluation import evaluate
    from icl.predict import load_run
    from icl.results import load_results

__all__ = ["PromptClassifier", "evaluate", "load_backbone", "load_results", "load_run"]

_ROOT = Path(__file__).resolve().parents[1]


def _import_siblings() -> None:
    """Import our other packages from the folder of this one, before others of the same names.

    `python -m icl.run` looks for modules in the working directory first, where a folder or file may
    be called `tasks`.
    """
    for name in ("backbone", "tasks", "prompts", "experiments"):
        if name in sys.modules:
            found = getattr(sys.modules[name], "__file__", None)
            if found is None or Path(found).resolve().parents[1] != _ROOT:
                raise ImportError(
                    f"{name} is another module ({found}); icl needs its own package of that name: "
                    f"import icl first, or rename the other one"
                )
            continue
        spec = PathFinder.find_spec(name, [str(_ROOT)])
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)


_import_siblings()

_SOURCES = {
    "PromptClassifier": ("icl.classifier", "PromptClassifier"),
    "evaluate": ("icl.evaluation", "evaluate"),
    "load_backbone": ("backbone.models", "load"),
    "load_results": ("icl.results", "load_results"),
    "load_run": ("icl.predict", "load_run"),
}
_MODULES = ("predict", "results", "run")


def __getattr__(name: str) -> Any:
    """Import a function when it is first used, so that torch and pandas load only if needed."""
    if name in _SOURCES:
        module, function = _SOURCES[name]
        return getattr(import_module(module), function)
    if name in _MODULES:
        return import_module(f"icl.{name}")
    raise AttributeError(f"module 'icl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazily imported functions as well."""
    return sorted({*globals(), *__all__})
