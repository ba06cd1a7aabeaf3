"""Command lines of `key=value` arguments, read into a dataclass that documents itself."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from backbone.common.errors import InputError
from backbone.common.names import unknown

T = TypeVar("T")


def option(default: Any, text: str) -> Any:
    """Declares an option: its default (omegaconf's MISSING if it must be given) and its help."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
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
    YAML, a list of texts as `[one,two]` or as one text alone. An option that is a dictionary of
    dataclasses is given part by part, as `option.NAME.key=value`.

    Raises:
        InputError: for unknown options, values of the wrong kind, or a missing one.
    """
    given: dict[str, Any] = {}
    for argument in arguments:
        path, equals, _ = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no option; write key=value (--help lists them)")
        _put(given, options, path.split("."), argument)
    try:
        result = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(options), given))
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}= is missing; it must be given") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(result, options)
    return result


def _put(given: dict[str, Any], options: type, path: list[str], argument: str) -> None:
    """Puts the value of a `key=value` argument where its key says."""
    key, *rest = path
    kinds = get_type_hints(options)
    if key not in kinds:
        raise unknown("option", key, kinds)
    part = part_of(kinds[key])
    if part and len(rest) > 1 and rest[0]:
        _put(given.setdefault(key, {}).setdefault(rest[0], {}), part, rest[1:], argument)
    elif part:
        raise InputError(f"write {key}.NAME.KEY=value in place of {argument!r} (--help lists all)")
    elif rest:
        raise InputError(f"unknown option {'.'.join(path)!r} (--help lists all)")
    else:
        given[key] = _value(kinds[key], f"{key}={argument.partition('=')[2]}")


def part_of(kind: Any) -> type | None:
    """Returns the dataclass of which an option of this type holds several by name, if it does."""
    if get_origin(kind) is not dict:
        return None
    held = get_args(kind)[1]
    return held if isinstance(held, type) and is_dataclass(held) else None


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
    return "\n".join([f"{command} key=value ...", "", *_help_lines(options, "")])


def _help_lines(options: type, prefix: str) -> Iterator[str]:
    kinds = get_type_hints(options)
    for declared in fields(options):
        default = declared.default
        if declared.default_factory is not NO_DEFAULT:
            default = declared.default_factory()
        shown = "" if default in (MISSING, None, [], {}) else str(default)
        if isinstance(default, list) and default:
            shown = f"[{','.join(map(str, default))}]"  # as it is typed
        part = part_of(kinds[declared.name])
        key = f"{prefix}{declared.name}" + ("" if part else f"={shown}")
        yield f"  {key:<32} {declared.metadata['help']}"
        if part:
            yield from _help_lines(part, f"{prefix}{declared.name}.NAME.")
