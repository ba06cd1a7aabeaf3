"""The one wrapper around Hydra: `name=value` in, one line and exit code 2 for a user's mistake.

Hydra composes, sweeps (`-m`) and launches. This module changes the rest: values of text options
reach the program unchanged, whatever characters they contain; an unknown name is answered with the
nearest known one; Hydra's own errors, tracebacks with exit code 1, become one line.
"""

import argparse
import contextlib
import functools
import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_origin, get_type_hints

import hydra
from hydra import compose, initialize
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from backbone.common.command import exit_code
from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import not_an_option
from backbone.common.plugins import load_plugins


@dataclass(frozen=True)
class Group:
    """A choice between registered names, each with options of its own.

    Attributes:
        canonical: The registered name of a name or alias; raises InputError for an unknown one.
        schema: The dataclass of a registered name's options.
        names: All registered names.
    """

    canonical: Callable[[str], str]
    schema: Callable[[str], type[Any]]
    names: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Command:
    """A program on the command line.

    Attributes:
        config_name: Name under which its configuration is in Hydra's ConfigStore.
        schema: Dataclass of its options.
        groups: Its choices, by option; each must be given.
        required: Required options besides the groups.
        help_text: Help for the words of a command line; there are none in an empty call.
        job: What to do with the composed configuration.
        register: Tells Hydra's ConfigStore what there is, once plugins are loaded.
    """

    config_name: str
    schema: type[Any]
    groups: Mapping[str, Group]
    required: Sequence[str]
    help_text: Callable[[Sequence[str]], str]
    job: Callable[[DictConfig], None]
    register: Callable[[], None]


def launch(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command line to its end and return its exit code; see `backbone.common.command`."""
    words = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: _launch(command, words))


def _launch(command: Command, words: list[str]) -> Sequence[str]:
    if not words or {"--help", "--help=all", "-h"} & {*words}:
        return [command.help_text(load_plugins(words))]
    try:
        words = _prepare(command, words)
        with tempfile.TemporaryDirectory(prefix="icl-") as scratch:
            _run_hydra(command, [*_no_files(words, scratch), *words])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from error
    return []


def composed(command: Command, words: Sequence[str]) -> DictConfig:
    """Return the configuration of a command line, without running it.

    Raises:
        InputError: For a command line that could not be run.
    """
    running = GlobalHydra.instance().hydra  # of a job that Hydra has started, if this is in one
    GlobalHydra.instance().clear()
    try:
        with initialize(version_base="1.3", config_path=None):
            return compose(command.config_name, overrides=_prepare(command, list(words)))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(one_line(error)) from error
    finally:
        GlobalHydra.instance().hydra = running


def one_line(error: Exception) -> str:
    """Return the message of an error of Hydra or OmegaConf, in one line."""
    root: BaseException = error
    while isinstance(root.__cause__, OmegaConfBaseException):
        root = root.__cause__
    if isinstance(root, OmegaConfBaseException):  # its further lines are about its own types
        first = str(root).partition("\n")[0]
        return f"{root.full_key}: {first}" if root.full_key else first
    if isinstance(root, OverrideParseException):
        return f"cannot read {root.override}: {str(root).partition(chr(10))[0]}"
    return " ".join(str(root).split()) or repr(root)


def _run_hydra(command: Command, words: list[str]) -> None:
    failed: list[BaseException] = []

    @functools.wraps(command.job)
    def job(cfg: DictConfig) -> None:
        # An exception that passes through Hydra makes it print lines of its own.
        try:
            command.job(cfg)
        except (InputError, HydraException, OmegaConfBaseException, OSError) as error:
            failed.append(error)
            raise SystemExit from None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    argv = sys.argv
    sys.argv = [argv[0], *words]
    try:
        hydra.main(version_base="1.3", config_path=None, config_name=command.config_name)(job)()
    except SystemExit:
        if failed:
            raise failed[0] from None
        raise
    finally:
        sys.argv = argv


def _no_files(words: Sequence[str], scratch: str) -> list[str]:
    """Return overrides that suppress Hydra's own folders and log files, unless they are given.

    A sweep always writes its multirun.yaml; it goes to a folder that is then removed.
    """
    settings = {
        "hydra.output_subdir": "null",
        "hydra.run.dir": ".",
        "hydra.sweep.dir": QuotedString(scratch, Quote.single).with_quotes(),
        "hydra.sweep.subdir": ".",
        "hydra/job_logging": "none",
    }
    given = {word.partition("=")[0] for word in words}
    return [f"{key}={value}" for key, value in settings.items() if key not in given]


def _prepare(command: Command, words: list[str]) -> list[str]:
    """Return the words for Hydra: every `name=value` checked and in its grammar, then flags."""
    load_plugins(words)
    command.register()
    args = _parse(words)
    if args.shell_completion or args.hydra_help:
        return words
    modes = ("run", "multirun", "cfg", "info", "shell_completion")
    if sum(bool(getattr(args, mode)) for mode in modes) > 1:
        raise InputError("only one of --run, --multirun, --cfg and --info can be given")
    sweeping = args.multirun or "hydra.mode=MULTIRUN" in words
    # No field of a dataclass can be called `class`.
    fields_of = {one.name.removesuffix("_"): one.name for one in fields(command.schema)}
    pairs = [(fields_of.get(key, key), value) for key, value in map(_split, args.overrides)]
    chosen: dict[str, list[str]] = {}
    for key, value in pairs:
        if key in command.groups:
            chosen[key] = _choices(command.groups[key], key, value, sweeping)
    schemas = _schemas(command, chosen)
    for name, group in command.groups.items():
        if name not in chosen:
            raise InputError(f"{name}= is missing; choose one of {', '.join(group.names())}")
    for name in command.required:
        if name not in (key for key, _ in pairs):
            raise InputError(f"{name}= is missing")
    flags = [word for word in words if word not in args.overrides]
    # Flags come last: a bare --info would take the override after it as its value.
    return [_override(key, value, chosen, schemas, sweeping) for key, value in pairs] + flags


def _parse(words: list[str]) -> argparse.Namespace:
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return get_args_parser().parse_intermixed_args(words)
    except SystemExit as stop:
        if not stop.code:
            raise
        last = captured.getvalue().strip().splitlines()[-1]
        raise InputError(last.partition("error: ")[2] or last) from None


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals and not word.startswith("~"):
        raise not_an_option(word)
    return key, value


def _choices(group: Group, key: str, value: str, sweeping: bool) -> list[str]:
    if "(" in value:  # a function of Hydra's grammar, as glob(*): Hydra will say
        return list(group.names())
    names = value.split(",")
    if len(names) > 1 and not sweeping:
        raise InputError(f"{key}={value}: several values need -m")
    return [group.canonical(name.strip()) for name in names]


def _schemas(command: Command, chosen: Mapping[str, Sequence[str]]) -> dict[str, set[Any]]:
    """Return every known option by its dotted name, with its types: several if swept."""
    known: dict[str, set[Any]] = {}

    def add(prefix: str, schema: type[Any]) -> None:
        hints = get_type_hints(schema)
        for field in fields(schema):
            if field.name == "name" or not prefix and field.name in command.groups:
                continue
            name, kind = prefix + field.name, hints[field.name]
            if is_dataclass(kind) and isinstance(kind, type):
                add(f"{name}.", kind)
            else:
                known.setdefault(name, set()).add(kind)

    add("", command.schema)
    for key, group in command.groups.items():
        for name in chosen.get(key, ()):
            add(f"{key}.", group.schema(name))
    return known


def _override(
    key: str,
    value: str,
    chosen: Mapping[str, Sequence[str]],
    known: Mapping[str, set[Any]],
    sweeping: bool,
) -> str:
    name = key.lstrip("+~")
    if name.startswith("hydra.") or name.startswith("hydra/"):
        return f"{key}={value}"
    if name in chosen:
        return f"{key}={value if '(' in value else ','.join(chosen[name])}"
    if name not in known:
        raise unknown("option", name, known)
    is_text = known[name] <= {str, str | None}
    if is_text and value.startswith("~") and os.path.expanduser(value) == value:
        raise InputError(f"{key}={value}: there is no home folder {value.partition('/')[0]}")
    if any(get_origin(kind) is dict for kind in known[name]):
        if not value.startswith("{"):
            raise InputError(f"{key}={value}: give names with their values, as {key}={{a:[x,y]}}")
        return f"++{name}={value}"  # else Hydra takes no name that the default lacks
    if known[name] <= {list[str], list[str] | None} and not value.startswith(("[", "null")):
        raise InputError(f"{key}={value}: give a list, as {key}=[{value}]")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    # With -m a comma separates values, but for folders, whose names may hold one.
    is_whole = not sweeping or name in ("data", "out")
    if is_text and is_whole and not is_quoted and value not in ("null", ""):
        value = QuotedString(value, Quote.single).with_quotes()
    return f"{key}={value}"
