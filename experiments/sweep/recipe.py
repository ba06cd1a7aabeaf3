"""The command line of a sweep. What it gives overrides what its recipe says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import option, read_options
from experiments.common.recipe import read_recipe
from experiments.sweep.plan import PLACES, Plan
from experiments.sweep.space import read_values
from icl.config.options import RunConfig

SPACE = "space."
"""What stands before an option that differs between the runs."""


@dataclass
class Options:
    """What the command line can set, beside the options of `python -m icl.run`."""

    recipe: str | None = option(None, "a kept command line; what is given beside goes before it")
    mode: str = option("grid", "grid: every cell; tpe or random: a search on validation rows")
    study: str | None = option(None, "its name; by default one that the settings give")
    storage: str | None = option(
        None, "address of a database; the variable ICL_STORAGE, else SQLite in out"
    )
    workers: int = option(1, "processes on this machine; 0 leaves the work to others")
    trials: int = option(40, "of a search")
    budget_seconds: float | None = option(None, "takes no further trial after so long")
    objective: str = option("validation_accuracy", "what to look for: or validation_loss")
    against: str | None = option(
        None, "second objective, for a Pareto front: prompt_tokens, shots, seconds, ..."
    )
    pruner: str | None = option(
        None, "median (of a search with one objective by default), hyperband or none"
    )
    test_seeds: int = option(3, "fresh seeds at which chosen settings are run on test rows")
    search_seed: int = option(0, "moves what a search draws")
    heartbeat: int = option(15, "seconds between signs of life; a worker is dead after four")


@dataclass(frozen=True)
class Request:
    """A sweep as it was asked for.

    Attributes:
        options: Of the sweep itself.
        plan: What all who take part must agree on.
        places: Words that say where data are and where runs go.
        data: Folder of tables, or None.
        out: Folder of runs.
        seed: The first seed that the settings give.
        seeds: How many seeds they give.
    """

    options: Options
    plan: Plan
    places: list[str] = field(default_factory=list)
    data: str | None = None
    out: str = "runs"
    seed: int = 0
    seeds: int = 1


def read_request(arguments: Sequence[str]) -> Request:
    """The sweep that a command line asks for.

    Raises:
        InputError: For a recipe that is not there, an unknown option, or a sweep that cannot be.
    """
    given = _pairs(arguments)
    recipe = read_recipe(given["recipe"]) if "recipe" in given else {}
    # An option that is given has one value, and is no longer searched; and the other way round.
    hidden = {_other(name) for name in given}
    words = {name: text for name, text in recipe.items() if name not in hidden} | given
    own = {f.name for f in fields(Options)}
    options = read_options(Options, [f"{n}={t}" for n, t in words.items() if n in own])
    space = {n.removeprefix(SPACE): t for n, t in words.items() if n.startswith(SPACE)}
    rest = {n: t for n, t in words.items() if n not in own and not n.startswith(SPACE)}
    for name in rest:
        _known(name, own)
        if name in space:
            raise InputError(f"{name}= is given and {SPACE}{name}= too; give one of them")
    return _request(options, rest, space)


def _request(options: Options, rest: dict[str, str], space: dict[str, str]) -> Request:
    _check(options)
    seed, seeds = _whole(rest, "seed", 0), _whole(rest, "seeds", 1)
    values = {name: read_values(name, text) for name, text in space.items()}
    if options.mode == "grid":
        if options.against is not None:
            raise InputError("against= is for a search: give mode=tpe or mode=random")
        if seeds > 1 and "seed" not in values:  # each seed a cell of its own
            rest = {n: t for n, t in rest.items() if n not in ("seed", "seeds")}
            every = ",".join(str(one) for one in range(seed, seed + seeds))
            values = {"seed": read_values("seed", f"[{every}]"), **values}
    else:
        if rest.get("evaluate", "val") != "val":
            raise InputError("evaluate=test: a search looks at validation rows alone; drop it")
        if "seed" in values or not values:
            raise InputError("a search needs options to choose, as space.method.lr=log(0.01,0.3)")
        rest = rest | {"evaluate": "val"}
    pruner = options.pruner or (
        "none" if options.mode == "grid" or options.against is not None else "median"
    )
    if options.mode == "grid" and pruner != "none":
        raise InputError(f"pruner={pruner}: a grid ends no run early; drop it")
    plan = Plan(
        mode=options.mode,  # type: ignore[arg-type]
        words=tuple(f"{n}={t}" for n, t in rest.items() if n not in PLACES),
        space=values,
        objectives=tuple(n for n in (options.objective, options.against) if n is not None),
        pruner=pruner,
        seed=options.search_seed,
    )
    places = [f"{n}={rest[n]}" for n in PLACES if n in rest]
    return Request(
        options, plan, places, rest.get("data"), rest.get("out", "runs"), seed, max(1, seeds)
    )


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r}: options are given as NAME=VALUE (--help lists them)")
        pairs[name] = text
    return pairs


def _other(name: str) -> str:
    return name.removeprefix(SPACE) if name.startswith(SPACE) else SPACE + name


def _known(name: str, own: set[str]) -> None:
    """Refuses a name that is like one of the sweep's; what a run has, the run's options know."""
    of_run = {f.name for f in fields(RunConfig)}
    if "." in name or name in of_run:
        return
    raise unknown("option", name, [*own, *of_run])


def _whole(rest: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(rest.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}={rest[name]}: must be a whole number") from error


def _check(options: Options) -> None:
    least = {"workers": 0, "trials": 1, "test_seeds": 0, "search_seed": 0, "heartbeat": 1}
    for name, value in least.items():
        if getattr(options, name) < value:
            raise InputError(f"{name}={getattr(options, name)}: must be {value} or more")
    if options.budget_seconds is not None and not options.budget_seconds > 0:
        raise InputError(f"budget_seconds={options.budget_seconds}: must be more than 0")
    if not options.objective.startswith("validation_"):
        raise InputError(
            f"objective={options.objective}: a search looks for validation_accuracy (of several "
            "labels validation_auroc, of numbers validation_r2) or validation_loss; give what it "
            "costs as against="
        )
