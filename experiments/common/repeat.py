"""The command that repeats a run, from the options that its report carries."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from backbone.common.errors import InputError
from backbone.common.options import as_text
from icl.config.options import RunConfig
from icl.methods.catalog import METHODS
from tasks.registry import default_options

WITHOUT_EFFECT = {"k", "seeds", "controls", "out", "force", "data"}
"""Options that do not change what one run finds, or that another option says as well."""


def changed_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are not at their defaults, by their names on the command line.

    Args:
        config: As `icl.reporting.report.Report.config` has it. An option of a method that this
            version does not know counts as changed.
    """
    plain = {name: value for name, value in config.items() if name not in ("task", "method")}
    found = dict(_changed(plain, asdict(RunConfig()), ""))
    for name in WITHOUT_EFFECT:
        found.pop(name, None)
    own = {name: value for name, value in config["method"].items() if name != "name"}
    budget, defaults = None, {}
    try:
        entry = METHODS.get(config["method"]["name"])
    except InputError:  # a method of another version
        pass
    else:
        budget, defaults = entry.budget, asdict(entry.config())
    if found.get("shots") == 0 and budget != "shots":
        del found["shots"]  # none beside the prompt tokens: the default
    return found | _changed_of_task(config["task"]) | dict(_changed(own, defaults, "method."))


def _changed_of_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """The task's own options; all of them for a task of another version."""
    try:
        defaults = asdict(default_options(values["name"]))
    except InputError:
        defaults = {"name": values["name"]}
    return dict(_changed(values, defaults, "task."))


def _changed(
    values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _changed(value, defaults.get(name) or {}, f"{prefix}{name}.")
        elif name not in defaults or value != defaults[name]:
            yield f"{prefix}{name}", value


def settings(config: Mapping[str, Any]) -> str:
    """The changed options in one line, without the budgets, as `seed=1 method.lr=0.01`."""
    left_out = ("prompt_tokens", "shots")
    changed = changed_options(config).items()
    return " ".join(f"{name}={as_text(v)}" for name, v in changed if name not in left_out)


def command(config: Mapping[str, Any]) -> str:
    """The line for a shell that does the run again, wherever its data lie.

    Args:
        config: As `icl.reporting.report.Report.config` has it.
    """
    words = [f"task={config['task']['name']}", f"method={config['method']['name']}"]
    words += [f"{name}={as_text(value)}" for name, value in changed_options(config).items()]
    data = [] if config.get("data") is None else ["data=$ICL_DATA"]
    return " ".join(["python -m icl.run", *map(shlex.quote, words), *data])
