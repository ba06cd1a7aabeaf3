"""Command lines of `key=value` arguments, read into a dataclass that documents itself."""

from collections.abc import Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from backbone.errors import InputError

T = TypeVar("T")


def option(default: Any, text: str) -> Any:
    """Declares an option: its default (omegaconf's MISSING if it must be given) and its help."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class Sources:
    """Options that say which bases are for training and which are held out."""

    fasta: list[str] = option([], "files, folders or globs to train on (required)")
    valid_fasta: list[str] = option([], "files, folders or globs held out for validation")
    holdout: list[str] = option([], "names of records in fasta held out for validation")
    bed: str | None = option(None, "intervals with train, valid or test in the fourth column")


def read_options(options: type[T], arguments: Sequence[str]) -> T:
    """Makes an instance of a dataclass of options from `key=value` arguments.

    Raises:
        InputError: for unknown options, values of the wrong kind, or a missing one.
    """
    known = {option.name: option for option in fields(options)}  # type: ignore[arg-type]
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no option; write key=value (--help lists them)")
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"unknown option {key!r}{hint} (--help lists all)")
    try:
        given = OmegaConf.from_cli(list(arguments))
        for key, declared in known.items():
            if declared.type == list[str] and isinstance(given.get(key), str):
                given[key] = [given[key]]
        result = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given))
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}= is missing; it must be given") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    except YAMLError as error:
        raise InputError(f"cannot read the options: {str(error).splitlines()[0]}") from error
    assert isinstance(result, options)
    return result


def help_text(options: type, command: str) -> str:
    """Returns the help of a command: one line an option."""
    lines = [f"{command} key=value ...", ""]
    for declared in fields(options):
        default = declared.default
        if declared.default_factory is not NO_DEFAULT:
            default = declared.default_factory()
        shown = "" if default in (MISSING, None, []) else str(default)
        lines.append(f"  {declared.name + '=' + shown:<32} {declared.metadata['help']}")
    return "\n".join(lines)
