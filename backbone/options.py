"""Command lines of `key=value` arguments, read into a dataclass that documents itself."""

from collections.abc import Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

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

    Values of text options are taken as they are, whatever signs they hold; all others are read as
    YAML, a list of texts as `[one,two]` or as one text alone.

    Raises:
        InputError: for unknown options, values of the wrong kind, or a missing one.
    """
    kinds = get_type_hints(options)
    given: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no option; write key=value (--help lists them)")
        if key not in kinds:
            near = get_close_matches(key, kinds, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"unknown option {key!r}{hint} (--help lists all)")
        given[key] = _value(kinds[key], argument)
    try:
        result = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given))
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}= is missing; it must be given") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(result, options)
    return result


def _value(kind: Any, argument: str) -> Any:
    """The value of a `key=value` argument, for an option of that type."""
    key, _, text = argument.partition("=")
    if kind == str | None and text in ("", "null"):
        return None
    is_text = kind in (str, str | None)
    if is_text or (kind in (list[str], list[int]) and not text.startswith("[")):
        # A backslash keeps a dollar sign from being read as a reference to another option.
        plain = text.replace("${", r"\${")
        return plain if is_text else [plain]
    try:
        return OmegaConf.from_cli([argument])[key]
    except YAMLError as error:
        raise InputError(f"cannot read {argument}: {str(error).splitlines()[0]}") from error


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
