"""The plan of a sweep: the options that all its runs share, and those that vary.

On the command line and in recipes the values of an option that differs are one of

    [0,4,16]             these; any values that the option takes, lists too: [[A,N],[C,T]]
    uniform(low,high)    a real number
    log(low,high)        a positive real number, drawn uniformly in its logarithm
    int(low,high)        an integer, both ends included; int(low,high,step) in steps
    logint(low,high)     a positive integer, drawn uniformly in its logarithm
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import optuna
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from yaml import YAMLError

from backbone.common.errors import InputError
from backbone.common.options import as_text
from backbone.common.streams import stream_seed
from icl.config import options
from icl.config.hydra_cli import composed
from icl.config.options import RunConfig
from icl.run import COMMAND

MODES = ("grid", "tpe", "random")
PRUNERS = ("median", "hyperband", "none")

OBJECTIVES = {
    "validation_accuracy": "maximize",
    "validation_auroc": "maximize",
    "validation_r2": "maximize",
    "validation_loss": "minimize",
    "prompt_tokens": "minimize",
    "shots": "minimize",
    "seconds": "minimize",
    "trainable_parameters": "minimize",
}
"""Objectives of a search, and their directions."""

PATH_OPTIONS = ("data", "out")
"""Options that name folders of one machine; they are not part of a plan."""

Value = None | bool | int | float | str
Space = Mapping[str, BaseDistribution]
Settings = Mapping[str, Any]
"""A value for each option of the space."""

_RANGE = re.compile(r"(uniform|log|int|logint)\((.*)\)")
_GRAMMAR = "give a list as [0,4,16], or uniform, log, int or logint with (low,high)"


@dataclass(frozen=True)
class Plan:
    """A sweep that any process can take part in.

    Attributes:
        mode: One of MODES: every cell of a grid, or cells drawn as a search goes on.
        words: Options that all runs share, as arguments of `python -m icl.run`.
        space: The options that differ, and their values.
        objectives: Names of OBJECTIVES; two give a Pareto front.
        pruner: One of PRUNERS: what ends a run whose objective falls behind.
        seed: Moves what a search draws.
    """

    mode: str
    words: tuple[str, ...]
    space: Space
    objectives: tuple[str, ...] = ("validation_accuracy",)
    pruner: str = "none"
    seed: int = 0

    def config(self, cell: Settings, places: Sequence[str] = ()) -> RunConfig:
        """Return the resolved configuration of a cell.

        Args:
            cell: Value of each option.
            places: Arguments for the folders of data and runs.

        Raises:
            InputError: If an option is unknown or cannot have its value.
        """
        options.register()
        return options.from_hydra(composed(COMMAND, [*self._arguments(cell), *places]))

    def command(self, cell: Settings) -> str:
        """Return the command line that repeats a cell."""
        return " ".join(["python -m icl.run", *self._arguments(cell)])

    def _arguments(self, cell: Settings) -> list[str]:
        return [*self.words, *(f"{name}={as_text(value)}" for name, value in cell.items())]

    def make_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return what draws a trial: a function of the plan, its number and earlier trials."""
        seed = stream_seed(self.seed, "search", number) % 2**32
        if self.mode == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def make_pruner(self) -> optuna.pruners.BasePruner:
        """Return what ends a run whose objective falls behind."""
        if self.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        if self.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner()
        return optuna.pruners.NopPruner()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        space = {name: json.loads(distribution_to_json(d)) for name, d in self.space.items()}
        # A tuple would come back from the storage as a list, and differ.
        return cast(dict[str, Any], json.loads(json.dumps(asdict(self) | {"space": space})))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_json` wrote."""
        space = {n: json_to_distribution(json.dumps(d)) for n, d in values["space"].items()}
        lists = {name: tuple(values[name]) for name in ("words", "objectives")}
        return cls(**{**values, **lists, "space": space})

    def digest(self) -> str:
        """Return eight hexadecimal digits that name the plan."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:8]

    def differences(self, other: Plan) -> list[str]:
        """Return where another plan differs, as `seed is [0] there and [0,1] here`."""
        mine, others = self._by_option(), other._by_option()
        return [
            f"{name} is {mine.get(name, 'not')} there and {others.get(name, 'not')} here"
            for name in dict.fromkeys([*mine, *others])
            if mine.get(name) != others.get(name)
        ]

    def _by_option(self) -> dict[str, str]:
        return {
            "mode": self.mode,
            "objective": " and ".join(self.objectives),
            "pruner": self.pruner,
            "search_seed": str(self.seed),
            **dict(word.partition("=")[::2] for word in self.words),
            **{f"space.{name}": values_as_text(values) for name, values in self.space.items()},
        }

    def for_test_rows(self) -> Plan:
        """Return the plan of the runs on test rows that follow a search, one cell per seed."""
        own = ("evaluate=", "seed=", "seeds=")
        return Plan(
            mode="grid",
            words=(*(word for word in self.words if not word.startswith(own)), "evaluate=test"),
            space={**self.space, "seed": IntDistribution(0, 2**31 - 1)},
        )


def read_values(name: str, text: str) -> BaseDistribution:
    """Return the values of an option, read from the grammar at the head of this module.

    Args:
        name: The option, for messages.
        text: Its values.

    Raises:
        InputError: If they cannot be read, or there are none.
    """
    shape = _RANGE.fullmatch(text.strip())
    try:
        if shape is not None:
            return _range(*shape.groups())
        values = OmegaConf.to_object(OmegaConf.create(f"values: {text}"))["values"]  # type: ignore[index,call-overload]
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        reason = " ".join(str(error).split()) if shape else "no list"
        raise InputError(f"space.{name}={text}: cannot be read ({reason}); {_GRAMMAR}") from error
    if not isinstance(values, list):
        raise InputError(f"space.{name}={text}: is one value; {_GRAMMAR}")
    if not values:
        raise InputError(f"space.{name}={text}: the grid is empty; {_GRAMMAR}")
    # Optuna keeps no lists; as text they are what a command line takes.
    choices = [as_text(value) if isinstance(value, list | dict) else value for value in values]
    if len(set(map(as_text, choices))) < len(choices):
        raise InputError(f"space.{name}={text}: contains a value twice")
    return CategoricalDistribution(choices)


def _range(kind: str, inside: str) -> BaseDistribution:
    """Return a range of numbers; raise a ValueError that describes a mistake."""
    texts = inside.split(",")
    if not 2 <= len(texts) <= (3 if kind == "int" else 2):
        raise ValueError(f"{len(texts)} numbers")
    if kind in ("int", "logint"):
        low, high, *step = map(int, texts)
        return IntDistribution(low, high, kind == "logint", *step)
    return FloatDistribution(float(texts[0]), float(texts[1]), log=kind == "log")


def values_as_text(values: BaseDistribution) -> str:
    """Return the values of an option as `read_values` reads them."""
    if isinstance(values, CategoricalDistribution):
        return as_text(list(values.choices))
    assert isinstance(values, IntDistribution | FloatDistribution)
    ends = f"{as_text(values.low)},{as_text(values.high)}"
    if isinstance(values, FloatDistribution):
        return f"{'log' if values.log else 'uniform'}({ends})"
    step = "" if values.step == 1 else f",{values.step}"
    return f"{'logint' if values.log else 'int'}({ends}{step})"


def grid(space: Space) -> list[dict[str, Value]]:
    """Return every cell of a grid; the first option changes last.

    Raises:
        InputError: If there is none, or an option may be any number of a range.
    """
    if not space:
        raise InputError("the grid is empty; give values to an option, as space.shots=[1,2,4]")
    axes: list[Sequence[Value]] = []
    for name, values in space.items():
        if isinstance(values, CategoricalDistribution):
            axes.append(values.choices)
        elif isinstance(values, IntDistribution) and not values.log:
            axes.append(range(values.low, values.high + 1, values.step))
        else:
            raise InputError(
                f"space.{name}: mode=grid needs a list of values, as space.{name}=[0.01,0.1]"
            )
    return [dict(zip(space, cell, strict=True)) for cell in itertools.product(*axes)]


def corners(space: Space) -> list[dict[str, Value]]:
    """Return a few cells that name every listed value and both ends of every range."""
    ends: dict[str, Sequence[Value]] = {
        name: values.choices
        if isinstance(values, CategoricalDistribution)
        else (values.low, values.high)  # type: ignore[attr-defined]
        for name, values in space.items()
    }
    longest = max(map(len, ends.values()), default=0)
    return [
        {name: choices[min(i, len(choices) - 1)] for name, choices in ends.items()}
        for i in range(longest)
    ]
