"""Parse and check the command line of a sweep, which overrides its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from optuna.distributions import CategoricalDistribution

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import not_an_option, option, read_options
from experiments.common.recipe import read_recipe
from experiments.sweep.plan import (
    MODES,
    OBJECTIVES,
    PATH_OPTIONS,
    PRUNERS,
    Plan,
    Settings,
    corners,
    grid,
    read_values,
)
from icl.config import options as run_options
from icl.config.options import RunConfig

SPACE = "space."
"""Prefix of an option that differs between the runs."""

TARGETS = tuple(name for name in OBJECTIVES if name.startswith("validation_"))
COSTS = tuple(name for name in OBJECTIVES if name not in TARGETS)


@dataclass
class Options:
    """Options of a sweep, besides those of `python -m icl.run`."""

    recipe: str | None = option(None, "command line saved in a file; other options override it")
    mode: str = option("grid", "run every cell of a grid, or search", choices=MODES)
    study: str | None = option(None, "name of the study; by default derived from the settings")
    storage: str | None = option(
        None, "database URL; else the variable ICL_STORAGE, else SQLite in out"
    )
    workers: int = option(
        1, "worker processes on this machine; 0 leaves the work to others", least=0
    )
    trials: int = option(40, "number of search trials", least=1)
    budget_seconds: float | None = option(
        None, "stop starting new runs after this many seconds", above=0
    )
    objective: str = option(
        "validation_accuracy",
        "metric to optimise",
        choices=TARGETS,
    )
    against: str | None = option(None, "second objective, for a Pareto front", choices=COSTS)
    pruner: str | None = option(
        None,
        "how poor trials are stopped early; by default median, if there is one objective",
        choices=PRUNERS,
    )
    test_seeds: int = option(
        3, "number of seeds with which the chosen settings are run on test rows", least=0
    )
    search_seed: int = option(0, "random seed of the search", least=0)


@dataclass(frozen=True)
class Request:
    """A sweep as it was asked for.

    Attributes:
        options: Of the sweep itself.
        plan: What all who take part must agree on.
        places: Arguments that say where data are and where runs are written.
    """

    options: Options
    plan: Plan
    places: Sequence[str]


def read_request(arguments: Sequence[str]) -> Request:
    """Return the sweep that a command line asks for.

    Raises:
        InputError: If a recipe or an option is unknown, or there can be no such sweep.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise not_an_option(argument)
        given[name] = text
    recipe = read_recipe(given["recipe"]) if "recipe" in given else {}
    # A value replaces the recipe's values to search, and the other way round.
    words = {name: text for name, text in recipe.items() if _twin(name) not in given} | given
    own = [f.name for f in fields(Options)]
    options = read_options(Options, [f"{n}={t}" for n, t in words.items() if n in own])
    space = {n.removeprefix(SPACE): t for n, t in words.items() if n.startswith(SPACE)}
    rest = {n: t for n, t in words.items() if n not in own and not n.startswith(SPACE)}
    of_run = [f.name for f in fields(RunConfig)]
    for name in rest:
        if "." not in name and name not in of_run:  # a dotted name is checked with the run's
            raise unknown("option", name, [*own, *of_run])
        if name in space:
            raise InputError(f"{name}= is given and {SPACE}{name}= too; give one of them")
    return _request(options, rest, space)


def _twin(name: str) -> str:
    return name.removeprefix(SPACE) if name.startswith(SPACE) else SPACE + name


def _request(options: Options, rest: dict[str, str], space: dict[str, str]) -> Request:
    values = {name: read_values(name, text) for name, text in space.items()}
    is_search, pruner = options.mode != "grid", options.pruner
    if is_search:
        if rest.get("evaluate", "val") != "val":
            raise InputError("evaluate=test: a search sees validation rows only; drop it")
        if "seed" in values or not values:
            raise InputError("a search needs options to choose, as space.method.lr=log(0.01,0.3)")
        if options.against is not None and pruner not in (None, "none"):
            raise InputError(f"pruner={pruner}: a search with two objectives cannot prune; drop it")
        rest = rest | {"evaluate": "val"}
    else:
        if options.against is not None:
            raise InputError("against= is for a search: give mode=tpe or mode=random")
        if pruner not in (None, "none"):
            raise InputError(f"pruner={pruner}: a grid cannot prune; drop it")
        first, count = _integer(rest, "seed", 0), _integer(rest, "seeds", 1)
        if count > 1 and "seed" not in values:  # each seed a cell of its own
            rest = {n: t for n, t in rest.items() if n not in ("seed", "seeds")}
            values = {"seed": CategoricalDistribution(range(first, first + count)), **values}
    plan = Plan(
        mode=options.mode,
        words=tuple(f"{n}={t}" for n, t in rest.items() if n not in PATH_OPTIONS),
        space=values,
        objectives=tuple(n for n in (options.objective, options.against) if n is not None),
        pruner=pruner or ("median" if is_search and options.against is None else "none"),
        seed=options.search_seed,
    )
    return Request(options, plan, [f"{n}={rest[n]}" for n in PATH_OPTIONS if n in rest])


def _integer(rest: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(rest.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}={rest[name]}: must be an integer") from error


def cells_of(request: Request) -> tuple[Mapping[int, Settings], RunConfig]:
    """Return the cells of a sweep, without values where these are drawn, and one's configuration.

    Cells that are the same run, as of a method without the budget that differs, are one.

    Raises:
        InputError: If one of them, or an end of what is searched, is no configuration of a run.
    """
    plan = request.plan
    if plan.mode != "grid":
        configs = [plan.config(cell, request.places) for cell in corners(plan.space)]
        return {number: {} for number in range(request.options.trials)}, configs[0]
    unique: dict[str, Settings] = {}
    for cell in grid(plan.space):
        config = plan.config(cell, request.places)
        identity = [run_options.identity(config), config.backbone, config.seeds, config.controls]
        unique.setdefault(json.dumps(identity, sort_keys=True), cell)
    return dict(enumerate(unique.values())), config
