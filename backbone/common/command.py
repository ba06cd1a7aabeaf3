"""The exit code of every command, one line for a user's mistake, and `--json`."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Protocol

from backbone.common.errors import InputError
from backbone.common.json_output import JSON, asked, collecting


class Main(Protocol):
    """The `main` of a command."""

    def __call__(self, arguments: Sequence[str] | None = None, /) -> int:
        """Run a command line, by default that of this process, and return its exit code."""


def entry_point(main: Callable[[Sequence[str]], int]) -> Main:
    """Make a function of the words of a command line the `main` of a command.

    It takes the words, by default those of this process, and `--json` among them: then all that is
    printed goes to standard error, and standard output is one JSON object.
    """

    @functools.wraps(main)
    def called(arguments: Sequence[str] | None = None) -> int:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if JSON not in words:
            return main(words)
        with collecting() as result, redirect_stdout(sys.stderr):
            code = main([word for word in words if word != JSON])
        return _printed([result.as_json(code)], code)

    return called


def exit_code(work: Callable[[], Iterable[object] | None]) -> int:
    """Do the work of a command, print what it returns line by line, and return the exit code.

    A mapping that it returns is for `--json` alone, and is not printed. A reader that closes the
    pipe early (`| head`) ends the command quietly.

    Returns:
        0; 2 after one line on standard error about a mistake of the user's or about a file that
        cannot be read or written; 130 after Ctrl-C.
    """
    try:
        return _printed(work() or (), 0)
    except InputError as error:
        return fail(str(error))
    except OSError as error:
        return fail(os_message(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _printed(items: Iterable[object], code: int) -> int:
    try:
        for item in items:
            emit(item)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more when it exits; nobody reads it any longer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def emit(item: object) -> None:
    """Print a line or a path of a command's result; with `--json`, keep it for the object."""
    result = asked()
    if result is not None:
        result.add(item)
    elif not isinstance(item, dict):
        print(item)


def written(line: str, *files: Path) -> list[object]:
    """Return a line about files that were written; with `--json`, the files too."""
    return [line] if asked() is None else [line, *files]


def emit_files(line: str, *files: Path) -> None:
    """Print a line about files that were written; with `--json`, keep both for the object."""
    for item in written(line, *files):
        emit(item)


def fail(message: str) -> int:
    """Print one line about a mistake on standard error and return the exit code 2.

    A message may quote what was typed; characters that would break the line are escaped.
    """
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"error: {line}", file=sys.stderr)
    result = asked()
    if result is not None:
        result.error = line
    return 2


def os_message(error: OSError) -> str:
    """Return one line about a file that cannot be read or written."""
    if not error.strerror:
        return " ".join(str(error).split()) or repr(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
