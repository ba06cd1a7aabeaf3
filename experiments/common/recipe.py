"""Recipes: command lines saved in files.

The recipe NAME is `experiments/recipes/NAME.yaml`, a mapping from options of a command to their
values. Options given on the command line override those of the recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import as_text

RECIPES = Path(__file__).parents[1] / "recipes"


def read_recipe(name: str) -> dict[str, str]:
    """Return the options of a recipe, each with its value as text.

    Raises:
        InputError: If there is no such recipe, with the nearest name, or it cannot be read.
    """
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    if name not in known:
        raise unknown("recipe", name, known)
    try:
        values: Any = OmegaConf.to_object(OmegaConf.load(RECIPES / f"{name}.yaml"))
    except (YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"recipe={name}: its file cannot be read ({reason})") from error
    if not isinstance(values, dict) or "recipe" in values:
        raise InputError(f"recipe={name}: its file must be a mapping of options to values")
    return {str(option): as_text(value) for option, value in values.items()}
