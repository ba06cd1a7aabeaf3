"""What a sweep is: the options all its runs share, the space it searches, and what for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from backbone.common.errors import InputError
from backbone.common.options import as_text
from experiments.sweep.space import Value, values_as_text
from icl.config import options
from icl.config.hydra_cli import composed
from icl.config.options import RunConfig
from icl.run import COMMAND

Mode = Literal["grid", "tpe", "random"]
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
"""What can be looked for, and which way."""

PLACES = ("data", "out")
"""Options that say where things are on one machine; they are no part of a plan."""


@dataclass(frozen=True)
class Plan:
    """A sweep that any process can take part in.

    Attributes:
        mode: How the cells come about: all of a grid, or drawn, as a search goes on.
        words: What all runs have in common, as words of `python -m icl.run`.
        space: The options that differ, and what they may be.
        objectives: Names of OBJECTIVES; two give a Pareto front.
        pruner: Of PRUNERS: what ends a run whose validation score falls behind.
        seed: Of what is drawn.
    """

    mode: Mode
    words: tuple[str, ...]
    space: Mapping[str, BaseDistribution]
    objectives: tuple[str, ...] = ("validation_accuracy",)
    pruner: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be searched.

        Raises:
            InputError: Naming the option and what it may be.
        """
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode}: must be one of {', '.join(MODES)}")
        if self.pruner not in PRUNERS:
            raise InputError(f"pruner={self.pruner}: must be one of {', '.join(PRUNERS)}")
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise InputError(f"{name}: no objective; choose of {', '.join(OBJECTIVES)}")
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError(f"against={self.objectives[0]} is the objective itself")
        if len(self.objectives) > 1 and self.pruner != "none":
            raise InputError(
                f"pruner={self.pruner}: a search with two objectives ends no run early; drop it"
            )

    def config(self, cell: Mapping[str, Any], places: Sequence[str] = ()) -> RunConfig:
        """The resolved configuration of a cell.

        Args:
            cell: A value for each option of the space.
            places: Words that say where data are and where runs go.

        Raises:
            InputError: For an option that is unknown or cannot have its value.
        """
        chosen = [f"{name}={as_text(value)}" for name, value in cell.items()]
        options.register()
        return options.from_hydra(composed(COMMAND, [*self.words, *chosen, *places]))

    def command(self, cell: Mapping[str, Any]) -> str:
        """The command line that repeats a cell."""
        chosen = [f"{name}={as_text(value)}" for name, value in cell.items()]
        return " ".join(["python -m icl.run", *self.words, *chosen])

    def suggested(self, trial: optuna.Trial) -> dict[str, Value]:
        """A trial's cell."""
        return {name: _suggest(trial, name, values) for name, values in self.space.items()}

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """What draws the trial of a number; a function of the plan, the number and the trials."""
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {number}".encode()).digest()[:4])
        if self.mode == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def made_pruner(self) -> optuna.pruners.BasePruner:
        """What ends a run whose validation score falls behind."""
        if self.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        if self.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner()
        return optuna.pruners.NopPruner()

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        space = {name: json.loads(distribution_to_json(d)) for name, d in self.space.items()}
        # A tuple would come back from the storage as a list, and differ.
        return cast(dict[str, Any], json.loads(json.dumps(asdict(self) | {"space": space})))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        space = {n: json_to_distribution(json.dumps(d)) for n, d in values["space"].items()}
        lists = {name: tuple(values[name]) for name in ("words", "objectives")}
        return cls(**{**values, **lists, "space": space})

    def digest(self) -> str:
        """Eight hexadecimal digits that name the plan."""
        text = json.dumps(self.to_json(), sort_keys=False)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def differences(self, other: Plan) -> list[str]:
        """What another plan has otherwise, an option each: `seed is [0] there and [0,1] here`."""
        mine, others = self._in_words(), other._in_words()
        return [
            f"{name} is {mine.get(name, 'not')} there and {others.get(name, 'not')} here"
            for name in dict.fromkeys([*mine, *others])
            if mine.get(name) != others.get(name)
        ]

    def _in_words(self) -> dict[str, str]:
        """Everything in the plan, by the names of the command line."""
        return {
            "mode": self.mode,
            "objective": " and ".join(self.objectives),
            "pruner": self.pruner,
            "search_seed": str(self.seed),
            **{name: text for name, _, text in (word.partition("=") for word in self.words)},
            **{f"space.{name}": values_as_text(values) for name, values in self.space.items()},
        }

    def measured(self) -> Plan:
        """The plan of the runs on test rows that follow a search, each cell with its own seed."""
        own = ("evaluate=", "seed=", "seeds=")
        words = tuple(word for word in self.words if not word.startswith(own))
        return Plan(
            mode="grid",
            words=(*words, "evaluate=test"),
            space={**self.space, "seed": IntDistribution(0, 2**31 - 1)},
        )


def _suggest(trial: optuna.Trial, name: str, values: BaseDistribution) -> Value:
    if isinstance(values, FloatDistribution):
        return trial.suggest_float(name, values.low, values.high, log=values.log)
    if isinstance(values, IntDistribution):
        low, high, step = values.low, values.high, values.step
        return trial.suggest_int(name, low, high, step=step, log=values.log)
    assert isinstance(values, CategoricalDistribution)
    return trial.suggest_categorical(name, values.choices)
