"""The options of a run, from its report: which of them matter, and the command that repeats it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import as_text
from icl.config.options import RunConfig
from icl.methods.catalog import METHODS
from tasks.registry import default_options

WITHOUT_EFFECT = {"k", "seeds", "controls", "out", "force", "data"}
"""Options that do not change what one run finds, or that repeat another option."""

IN_COLUMNS = {
    *("prompt_tokens", "shots", "method.tuning_samples"),
    *("seed", "split_seed", "backbone", "control", "other_task"),
}
"""Options that a table of runs has in columns of its own, weights and data by their sha256."""

WITHOUT_RESULT = {"keep_gb", "disk_gb", "audit", "batch_size", "plugins", "threads"}
"""Options that change how long a run takes, but not what it finds."""

OF_BACKBONE = {"device", "precision", "verbalizer.words"}
"""Options without effect on a method that reads the sequence alone."""


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options that can change what a run finds, by their names on the command line.

    Args:
        config: As `icl.reporting.report.Report.config` has it.
    """
    names = {"task.name", "method.name"} | WITHOUT_EFFECT
    return {name: value for name, value in _flat(config) if name not in names}


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield options, then those of groups, as `method.lr`; a mapping in a group is a value."""
    for name, value in sorted(config.items(), key=lambda item: isinstance(item[1], Mapping)):
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def compared_options(run: pd.Series) -> dict[str, Any]:
    """Return the options that runs must have in common to be averaged over their seeds.

    Args:
        run: A row of `icl.results.load_results`.
    """
    ignored = IN_COLUMNS | WITHOUT_RESULT
    if pd.isna(run["weights_sha256"]):
        ignored = ignored | OF_BACKBONE
    options = options_of({name: v for name, v in run["config"].items() if name != "task"})
    return {name: value for name, value in options.items() if name not in ignored}


def changed_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not at their defaults, by their names on the command line.

    Args:
        config: As `icl.reporting.report.Report.config` has it. An option that this version does
            not know counts as changed.
    """
    defaults = dict(_flat(asdict(RunConfig(task={}, method={}))))
    budget = None
    try:
        entry = METHODS.get(config["method"]["name"])
    except InputError:  # a method of another version
        pass
    else:
        budget = entry.budget
        defaults |= _flat({"method": asdict(entry.config())})
    with contextlib.suppress(InputError):  # a task of another version
        defaults |= _flat({"task": asdict(default_options(config["task"]["name"]))})
    changed = {
        name: value
        for name, value in options_of(config).items()
        if name not in defaults or value != defaults[name]
    }
    if changed.get("shots") == 0 and budget != "shots":
        del changed["shots"]  # none beside the prompt tokens: the default
    return changed


def settings(config: Mapping[str, Any]) -> str:
    """Return the changed options in one line, without budgets, as `seed=1 method.lr=0.01`."""
    return _words({
        name: value
        for name, value in changed_options(config).items()
        if name not in ("prompt_tokens", "shots")
    })  # fmt: skip


def told_apart(
    configs: Sequence[Mapping[str, Any]], elsewhere: Collection[str] = ()
) -> tuple[str, list[str]]:
    """Return the changed options that all runs share, and for each run those that they do not.

    Args:
        configs: As `icl.reporting.report.Report.config` has them.
        elsewhere: Options that are said elsewhere; those without effect on a result are left out.
    """
    changed = [
        {
            name: value
            for name, value in changed_options(config).items()
            if name not in WITHOUT_RESULT and name not in elsewhere
        }
        for config in configs
    ]
    shared = {
        name: value
        for name, value in changed[0].items()
        if all(name in one and one[name] == value for one in changed)
    }
    return _words(shared), [
        _words({name: value for name, value in one.items() if name not in shared})
        for one in changed
    ]


def _words(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={as_text(value)}" for name, value in options.items())


def command(config: Mapping[str, Any]) -> str:
    """Return the shell command that repeats a run, wherever its data are.

    Args:
        config: As `icl.reporting.report.Report.config` has it.
    """
    words = [f"task={config['task']['name']}", f"method={config['method']['name']}"]
    words += [f"{name}={as_text(value)}" for name, value in changed_options(config).items()]
    data = [] if config.get("data") is None else ["data=$ICL_DATA"]
    return " ".join(["python -m icl.run", *map(shlex.quote, words), *data])
