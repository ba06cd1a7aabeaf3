"""Command lines with options of the experiment, of its task and of its methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from backbone.common.options import help_text, read_options
from experiments.common.recipe import read_recipe


class WithMethods(Protocol):
    """Options that name the methods of an experiment."""

    methods: list[str]


OptionsT = TypeVar("OptionsT", bound=WithMethods)


def read_words(
    schema: type[OptionsT], words: Sequence[str]
) -> tuple[OptionsT, dict[str, list[str]]]:
    """The options of a command line and those of the task and the methods, a recipe's behind them.

    Args:
        schema: Dataclass of the experiment's own options.
        words: The command line; `recipe=NAME` names a kept one.

    Raises:
        InputError: For an unknown option or recipe.
    """
    given = dict(word.partition("=")[::2] for word in words)
    recipe = read_recipe(given["recipe"]) if "recipe" in given else {}
    rest: list[str] = []
    own: dict[str, list[str]] = {}
    for name, value in (recipe | given).items():
        owner, dot, option_name = name.partition(".")
        if not dot:
            rest.append(f"{name}={value}")
        else:
            own.setdefault(owner, []).append(f"{option_name}={value}")
    options = read_options(schema, rest)
    asked = {name.partition(".")[0] for name in given}
    # Of a recipe's methods those that are not run have no say.
    used = {"task", *options.methods, *asked}
    return options, {owner: words for owner, words in own.items() if owner in used}


def print_help(schema: type, command: str, examples: Sequence[tuple[str, str]]) -> None:
    """Shows all options, and the forms of those of tasks and methods."""
    print(help_text(schema, command))
    for form, text in examples:
        print(f"  {form:<32} {text}")
