"""Two checkouts of this repository in turn: what their commands take, and each of their steps.

Everything runs in processes of its own that find one checkout or the other, with an empty cache
folder for each round. What another load of the machine costs hits both alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import write_text
from experiments.speed.options import CommitsOptions

MAIN = ("task=enhancer_cohn", "method=soft_prompt")

COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "a typo": ("task=enhancer_con", "method=majority"),
    "majority, 400 rows": ("task=enhancer_cohn", "method=majority", "n_train=400"),
    "main job, k=16": (*MAIN, "k=16"),
    "main job again, k=8": (*MAIN, "k=8"),
    "linear_probe, one thread": ("task=enhancer_cohn", "method=linear_probe", "threads=1"),
}
"""Runs of `python -m icl.run`, in this order."""

STEPS = Path(__file__).with_name("steps.py")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        checkout: "old" or "new".
        round: Counted from 1.
        what: A command, or a step.
        busy: Whether another process kept a core busy.
        seconds: Elapsed; of a row where the name says so.
        cpu_seconds: Processor time of a command.
        faults: Minor page faults, of a command or of a step.
        peak_bytes: Peak memory of a command.
    """

    checkout: str
    round: int
    what: str
    busy: bool
    seconds: float
    cpu_seconds: float | None
    faults: float
    peak_bytes: int | None


def measure_all(options: CommitsOptions) -> Path:
    """Measure both checkouts in turn, write all rows and their medians; return the medians' path.

    Raises:
        InputError: If a folder is no checkout, or a command of it fails.
    """
    checkouts = {"old": Path(options.old).resolve(), "new": Path(options.new).resolve()}
    for name, folder in checkouts.items():
        if not (folder / "icl" / "run.py").is_file():
            raise InputError(f"{name}={folder}: no checkout of this repository")
    out = Path(options.out)
    rows: list[Row] = []
    for number in range(1, options.rounds + 1):
        for name, folder in checkouts.items():
            with tempfile.TemporaryDirectory(prefix="speed-") as place:
                for row in _round(name, number, folder, Path(place), options):
                    rows.append(row)
                    print(f"{row.checkout} {row.round}  {row.what}: {row.seconds:.4g} s")
                    frame = pd.DataFrame([asdict(one) for one in rows])
                    write_text(out / "speed_commits_all.csv", frame.to_csv(index=False))
    table = out / "speed_commits.csv"
    write_text(table, medians(frame).to_csv(index=False, float_format="%.4g"))
    return table


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the medians over rounds, old and new side by side, and the ratio of the seconds."""
    values = ["seconds", "cpu_seconds", "faults", "peak_bytes"]
    wide = frame.pivot_table(values, ["what", "busy"], "checkout", "median", sort=False)
    wide.columns = ["_".join(column) for column in wide.columns.to_flat_index()]
    wide["ratio"] = wide["seconds_old"] / wide["seconds_new"]
    return wide.reset_index()


def _round(
    name: str, number: int, folder: Path, place: Path, options: CommitsOptions
) -> Iterator[Row]:
    """Yield the rows of one checkout and round."""
    environment = os.environ | {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(place / "cache")}
    environment["OMP_NUM_THREADS"] = str(options.threads)
    run = [sys.executable, "-m", "icl.run"]
    told = [f"data={options.data}", f"out={place / 'runs'}", f"threads={options.threads}"]
    for what, words in COMMANDS.items():
        given = {word.partition("=")[0] for word in words}
        rest = [] if what == "help" else [w for w in told if w.partition("=")[0] not in given]
        expected = 2 if what == "a typo" else 0
        yield Row(name, number, what, False, *_taken([*run, *words, *rest], environment, expected))
    for busy in (False, True):
        with _busy_loop(busy):
            for threads in sorted({1, options.threads}):
                command = [sys.executable, "-P", str(STEPS), str(threads)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    raise InputError(f"{name}: steps fail: {done.stderr.strip()[-300:]}")
                for what, (seconds, faults) in json.loads(done.stdout).items():
                    label = f"{what}, threads={threads}"
                    yield Row(name, number, label, busy, seconds, None, faults, None)


def _taken(
    command: list[str], environment: dict[str, str], expected: int
) -> tuple[float, float, float, int]:
    """Run a command; return its seconds, processor seconds, page faults and peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise InputError(f"exit code {process.returncode} of {' '.join(command[1:])}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_minflt, used.ru_maxrss * 1024


@contextmanager
def _busy_loop(wanted: bool) -> Iterator[None]:
    """Keeps a core busy, if wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
