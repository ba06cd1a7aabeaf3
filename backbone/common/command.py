"""The exit code of every command, and one line for a user's mistake."""

import os
import sys
from collections.abc import Callable, Iterable

from backbone.common.errors import InputError


def exit_code(work: Callable[[], Iterable[object] | None]) -> int:
    """Do the work of a command, print what it returns line by line, and return the exit code.

    A reader that closes the pipe early (`| head`) ends the command quietly.

    Returns:
        0; 2 after one line on standard error about a mistake of the user's or about a file that
        cannot be read or written; 130 after Ctrl-C.
    """
    try:
        for line in work() or ():
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more when it exits; nobody reads it any longer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except InputError as error:
        return fail(str(error))
    except OSError as error:
        return fail(os_message(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def fail(message: str) -> int:
    """Print one line about a mistake on standard error and return the exit code 2.

    A message may quote what was typed; characters that would break the line are escaped.
    """
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"error: {line}", file=sys.stderr)
    return 2


def os_message(error: OSError) -> str:
    """Return one line about a file that cannot be read or written."""
    if not error.strerror:
        return " ".join(str(error).split()) or repr(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
