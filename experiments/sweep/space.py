"""What a sweep searches: options of `python -m icl.run`, and the values each of them may have.

On the command line and in recipes an option's values are one of

    [0,4,16]             these; any values that the option knows, lists too: [[A,N],[C,T]]
    uniform(low,high)    a real number
    log(low,high)        a positive real number, drawn evenly in its logarithm
    int(low,high)        a whole number, both ends included; int(low,high,step) leaves some out
    logint(low,high)     a positive whole number, drawn evenly in its logarithm
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from yaml import YAMLError

from backbone.common.errors import InputError
from backbone.common.options import as_text

Value = None | bool | int | float | str
Space = Mapping[str, BaseDistribution]

_RANGE = re.compile(r"(uniform|log|int|logint)\((.*)\)")
_GRAMMAR = "give a list as [0,4,16], or uniform, log, int or logint with (low,high)"


def read_values(name: str, text: str) -> BaseDistribution:
    """What an option may be, from its text.

    Args:
        name: The option's.
        text: As in the head of this module.

    Raises:
        InputError: If it cannot be read, or holds no value.
    """
    shape = _RANGE.fullmatch(text.strip())
    if shape is not None:
        return _range(name, text, *shape.groups())
    try:
        values = OmegaConf.to_object(OmegaConf.create(f"values: {text}"))["values"]  # type: ignore[index,call-overload]
    except (YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"space.{name}={text}: cannot be read; {_GRAMMAR}") from error
    if not isinstance(values, list):
        raise InputError(f"space.{name}={text}: is one value; {_GRAMMAR}")
    if not values:
        raise InputError(f"space.{name}={text}: the grid is empty; {_GRAMMAR}")
    choices = [_flat(value) for value in values]
    if len({as_text(choice) for choice in choices}) < len(choices):
        raise InputError(f"space.{name}={text}: holds a value twice")
    return CategoricalDistribution(choices)


def _range(name: str, text: str, kind: str, inside: str) -> BaseDistribution:
    number = int if kind.endswith("int") else float
    try:
        low, high, *step = [number(one) for one in inside.split(",")]
        if number is int:
            if len(step) > 1 or (step and kind == "logint"):
                raise ValueError("has too many numbers")
            return IntDistribution(int(low), int(high), kind == "logint", *map(int, step or [1]))
        if step:
            raise ValueError("has too many numbers")
        return FloatDistribution(low, high, log=kind == "log")
    except ValueError as error:
        said = " ".join(str(error).split())
        raise InputError(f"space.{name}={text}: cannot be read ({said}); {_GRAMMAR}") from error


def _flat(value: Any) -> Value:
    """A value as Optuna keeps it: lists as the text that a command line has for them."""
    return as_text(value) if isinstance(value, list | dict) else value


def values_as_text(values: BaseDistribution) -> str:
    """What an option may be, as `read_values` reads it."""
    if isinstance(values, CategoricalDistribution):
        return f"[{','.join(map(as_text, values.choices))}]"
    assert isinstance(values, IntDistribution | FloatDistribution)
    ends = f"{as_text(values.low)},{as_text(values.high)}"
    if isinstance(values, FloatDistribution):
        return f"{'log' if values.log else 'uniform'}({ends})"
    step = "" if values.step == 1 else f",{values.step}"
    return f"{'logint' if values.log else 'int'}({ends}{step})"


def grid(space: Space) -> list[dict[str, Value]]:
    """Every cell of a grid: a value for each option; the first option changes last.

    Raises:
        InputError: If it is empty, or an option may be any number of a range.
    """
    if not space:
        raise InputError("the grid is empty; give values to an option, as space.shots=[1,2,4]")
    axes = [_points(name, values) for name, values in space.items()]
    return [dict(zip(space, cell, strict=True)) for cell in itertools.product(*axes)]


def _points(name: str, values: BaseDistribution) -> Sequence[Value]:
    if isinstance(values, CategoricalDistribution):
        return values.choices
    if isinstance(values, IntDistribution) and not values.log:
        return range(values.low, values.high + 1, values.step)
    raise InputError(f"space.{name}: mode=grid needs a list of values, as space.{name}=[0.01,0.1]")


def corners(space: Space) -> list[dict[str, Value]]:
    """Few points that name every listed value and both ends of every range."""
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
