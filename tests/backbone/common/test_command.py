import errno
import subprocess
import sys

import pytest

from backbone.common.command import exit_code
from backbone.common.errors import InputError


def raising(error: BaseException):
    def work():
        raise error

    return work


def test_what_the_work_returns_is_printed_line_by_line(capsys):
    assert exit_code(lambda: ["one", 2]) == 0 == exit_code(lambda: None)
    assert capsys.readouterr().out == "one\n2\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("k=-1: must be 0 or more"), 2, "error: k=-1: must be 0 or more"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/report.json"),
            2,
            "error: runs/report.json: No space left on device",
        ),
        (OSError("no\nnetwork"), 2, "error: no network"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_is_not_a_bug_is_one_line(error, code, line, capsys):
    assert exit_code(raising(error)) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))


def test_a_reader_that_stops_early_ends_the_command_quietly():
    script = (
        "import sys; from backbone.common.command import exit_code; "
        "sys.exit(exit_code(lambda: range(100_000)))"
    )
    done = subprocess.run(
        f"{sys.executable} -c '{script}' | head -n 1", shell=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
