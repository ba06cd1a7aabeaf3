"""Options as dataclasses: declared once, read from `key=value`, checked, and listed in the help.

An option is a field made by `option`: its default, its help and what values it may have. Every
command reads, checks and lists its options by the functions of this module. An option whose name is
a keyword of Python has an underscore after it in the dataclass, and none on the command line:
`class_` is given as `class=NAME`.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from backbone.common.errors import InputError
from backbone.common.json_output import JSON, JSON_HELP
from backbone.common.names import unknown

T = TypeVar("T")


def option(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare an option of a command: a field of a dataclass.

    Args:
        default: Its default; omegaconf's MISSING if it must be given, None if it may be left out.
        text: Its line of help.
        choices: The values it may have; each element of a list must be one of them.
        least: The smallest value it may have.
        above: A bound that it must exceed.
        most: The largest value it may have.
        below: A bound that it must stay under.
    """
    limits = {"choices": choices, "least": least, "above": above, "most": most, "below": below}
    metadata = {"help": text} | {key: value for key, value in limits.items() if value is not None}
    if is_dataclass(default) and isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Sources:
    """The bases to train on and those held out."""

    fasta: list[str] = option([], "files, folders or globs to train on (required)")
    valid_fasta: list[str] = option([], "files, folders or globs held out for validation")
    holdout: list[str] = option([], "names of records in fasta held out for validation")
    bed: str | None = option(None, "intervals with train, valid or test in the fourth column")


def read_options(options: type[T], arguments: Sequence[str]) -> T:
    """Return an instance of a dataclass of options, read from `key=value` arguments and checked.

    Values of text options are taken as they are, whatever characters they contain; all others are
    read as YAML, a list of texts as `[one,two]` or as a single text. An option that is a dictionary
    of dataclasses is given part by part, as `option.NAME.key=value`.

    Raises:
        InputError: If an option is unknown or missing, or its value is of the wrong type or out of
            range.
    """
    given: dict[str, Any] = {}
    for argument in arguments:
        path, equals, _ = argument.partition("=")
        if not equals:
            raise not_an_option(argument)
        _put(given, options, path.split("."), argument)
    try:
        result = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given))
    except MissingMandatoryValue as error:
        raise InputError(f"{_shown(str(error.full_key))}= is missing; it must be given") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(result, options)
    check_options(result)
    return result


def not_an_option(argument: str) -> InputError:
    """Return the error for an argument without an equals sign."""
    return InputError(f"{argument!r}: options are given as NAME=VALUE (--help lists them)")


def check_options(options: Any, prefix: str = "") -> None:
    """Check every option of a dataclass, and of those nested in it, against its declaration.

    Args:
        options: An instance; of an option that is a list every element is checked.
        prefix: Text before a name in messages, such as "method.".

    Raises:
        InputError: If a value is none of the choices, or out of range; an option with bounds must
            also be finite.
    """
    for declared in fields(options):
        name, value = prefix + _shown(declared.name), getattr(options, declared.name)
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        for part, one in parts:
            if is_dataclass(one):
                check_options(one, f"{name}." if part is None else f"{name}.{part}.")
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and one != MISSING and (mistake := _mistake(declared, one)):
                raise InputError(f"{name}={as_text(value)}: must be {mistake}")


def _mistake(declared: "Field[Any]", value: Any) -> str | None:
    """Return what a value must be, if it is not that."""
    limits = declared.metadata
    if "choices" in limits and value not in limits["choices"]:
        return f"one of {', '.join(map(str, limits['choices']))}"
    given = [key for key in BOUNDS if key in limits]
    if isinstance(value, str) and given:
        return "a number"
    if given and isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if all(BOUNDS[key][0](value, limits[key]) for key in given):
        return None
    return _bounds(declared)


BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "least": (operator.ge, "{} or more"),
    "above": (operator.gt, "more than {}"),
    "most": (operator.le, "at most {}"),
    "below": (operator.lt, "less than {}"),
}
"""Bounds of an option: whether a value keeps to one, and how it is written."""


def _bounds(declared: "Field[Any]") -> str:
    """Return the bounds of an option in words; an empty text if it has none."""
    limits = declared.metadata
    return " and ".join(BOUNDS[key][1].format(limits[key]) for key in BOUNDS if key in limits)


def _shown(name: str) -> str:
    """Return an option's name on the command line, without the underscore after a keyword."""
    return name.removesuffix("_")


def _put(given: dict[str, Any], options: type, path: list[str], argument: str) -> None:
    """Store the value of a `key=value` argument under its key."""
    key, *rest = path
    kinds = get_type_hints(options)
    known = {_shown(name): name for name in kinds}
    if key not in known:
        raise unknown("option", ".".join(path), [name for name in known if name != "name"])
    key = known[key]
    part = part_of(kinds[key])
    if part and len(rest) > 1 and rest[0]:
        _put(given.setdefault(key, {}).setdefault(rest[0], {}), part, rest[1:], argument)
    elif part:
        raise InputError(f"write {key}.NAME.KEY=value in place of {argument!r} (--help lists all)")
    elif rest and is_dataclass(kinds[key]):
        _put(given.setdefault(key, {}), kinds[key], rest, argument)
    elif rest:
        raise unknown("option", ".".join(path), kinds)
    else:
        given[key] = _value(kinds[key], f"{key}={argument.partition('=')[2]}")


def part_of(kind: Any) -> type | None:
    """Return the dataclass of which an option of this type holds several by name, if it does."""
    if get_origin(kind) is not dict:
        return None
    held = get_args(kind)[1]
    return held if isinstance(held, type) and is_dataclass(held) else None


def _value(kind: Any, argument: str) -> Any:
    """Return the value of a `key=value` argument, for an option of that type."""
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


def as_text(value: Any) -> str:
    """Return a value as it is written on a command line, such as `[0.1,null]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{as_text(one)}' for name, one in value.items())}}}"
    return repr(value) if isinstance(value, float) else str(value)


def help_text(options: type, command: str) -> str:
    """Return the help of a command: one line per option."""
    lines = aligned(option_lines(options) | {JSON: JSON_HELP})
    return "\n".join([f"{command} key=value ...", "", *lines])


def option_lines(options: type, prefix: str = "") -> dict[str, str]:
    """Return the help of a dataclass of options: {"name=default": text with the choices}."""
    lines = {}
    for one in described(options, prefix):
        text = f"{one.text} ({', '.join(one.choices)})" if one.choices else one.text
        lines[one.name if one.default is None else f"{one.name}={one.default}"] = text
    return lines


@dataclass(frozen=True)
class Description:
    """An option as its declaration describes it, for help and documentation.

    Attributes:
        name: Its name on the command line, such as "method.lr".
        default: Its default as written there, empty if it must be given; None for an option of
            several parts, which has none.
        text: Its line of help.
        choices: The values it may have; empty if there are others.
        bounds: Its bounds in words, such as "0 or more"; empty if there are none.
    """

    name: str
    default: str | None
    text: str
    choices: tuple[str, ...]
    bounds: str


def described(options: type, prefix: str = "") -> Iterator[Description]:
    """Yield every option of a dataclass, those of nested dataclasses by their dotted names."""
    kinds = get_type_hints(options)
    for declared in fields(options):
        name, kind = prefix + _shown(declared.name), kinds[declared.name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from described(kind, f"{name}.")
        elif "help" in declared.metadata:
            part = part_of(kind)
            default = None if part else _default(declared)
            choices = tuple(map(str, declared.metadata.get("choices", ())))
            yield Description(name, default, declared.metadata["help"], choices, _bounds(declared))
            if part:
                yield from described(part, f"{name}.NAME.")


def _default(declared: "Field[Any]") -> str:
    default = declared.default
    if declared.default_factory is not NO_DEFAULT:
        default = declared.default_factory()
    return "" if default == MISSING else as_text(default)


def aligned(rows: dict[str, str], most: int = 32) -> list[str]:
    """Return two columns of text as indented lines."""
    width = min(max((len(left) for left in rows), default=0), most)
    return [f"  {left:<{width}}  {right}".rstrip() for left, right in rows.items()]
