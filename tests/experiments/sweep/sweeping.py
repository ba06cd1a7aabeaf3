"""What tests of sweeps share: runs that take no time, and workers that are forked.

A forked worker starts at once, where a new process would import everything anew. No process
outlives its test: `conftest.py` kills those that a test leaves, and an alarm ends their children.
"""

import gc
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from experiments.sweep.driver import sweep
from experiments.sweep.request import read_request
from experiments.sweep.worker import Stop, WorkerOptions, work
from icl.config import options
from icl.run import Finished
from tasks.metrics.bootstrap import Estimate

LOG = "log.txt"
LIFETIME = 1200
"""Seconds after which a forked process is ended, whatever it does."""
GRID = ("task=synthetic_easy", "method=soft_prompt", "space.prompt_tokens=[0,1,2,4]", "seeds=3")


class FakeRuns:
    """Stand in for `icl.run.run`: claim the run, skip a finished one, return a report.

    `log.txt` in the folder of runs records which process began and ended which run.
    """

    def __init__(self, seconds=0.0, score=None, loss=lambda value: 1 - value):
        self.seconds = seconds
        self.loss = loss
        self.score = score or (lambda config: 0.5 + config.prompt_tokens / 100 + config.seed / 1000)

    def __call__(self, config, watch):
        text = json.dumps(options.identity(config), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        folder = Path(config.out) / config.task.name / config.method.name / name
        with watch.claim(name):
            was_there = (folder / "done").exists()
            if not was_there:
                say(config.out, name, "begins")
                folder.mkdir(parents=True, exist_ok=True)
                value = self.score(config)
                if callable(value):  # a run of several epochs
                    value = value(watch.progress)
                time.sleep(self.seconds)
                (folder / "part").write_text(repr(value))
                say(config.out, name, "ends")
                (folder / "part").rename(folder / "done")
            value = float((folder / "done").read_text())
        report = SimpleNamespace(
            setup=SimpleNamespace(
                kind="classes",
                prompt_tokens=config.prompt_tokens,
                shots=config.shots,
                control=None,
            ),
            outcome=SimpleNamespace(
                metrics={"accuracy": Estimate(value, value - 0.1, value + 0.1)},
                gc_matched_accuracy=Estimate(0.5, 0.4, 0.6),
                validation={"accuracy": value, "loss": self.loss(value)},
                trainable_parameters=8 * (config.prompt_tokens or 0),
            ),
            environment=SimpleNamespace(seconds=1.0),
        )
        return [Finished(report, folder, was_there)]


def say(out, name, what):
    line = f"{name} {what} {os.getpid()}\n".encode()
    handle = os.open(Path(out) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line)
    os.close(handle)


def heard(out):
    """Return (name, begins or ends, pid) of every line of the log, in order."""
    file = Path(out) / LOG
    return [tuple(line.split()) for line in file.read_text().splitlines()] if file.exists() else []


class Forked:
    """A forked process with the interface of `subprocess.Popen`."""

    started: list = []

    def __init__(self, work):
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                signal.alarm(LIFETIME)
                # SQLite's connections must not be closed by a process that did not open them.
                gc.freeze()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                work()
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        self.code = None
        Forked.started.append(self)

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self):
        while self.poll() is None:
            time.sleep(0.01)
        return self.code

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def forking(runs):
    """Return a function that starts workers, which do these runs."""

    def start(options: WorkerOptions, number: int) -> Forked:
        def live():
            stop = Stop(options.until, options.parent)
            stop.on_signals()
            work(options, stop, runs)

        return Forked(live)

    return start


def until(is_so, seconds=120):
    """Wait for a condition to hold."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.01)


def begun(words, runs, url):
    """Start a sweep in a process of its own."""
    return Forked(lambda: sweep(read_request([*words, f"storage={url}"]), forking(runs)))


def done(words, runs, url):
    """Do a sweep to its end and return the paths of its tables."""
    return sweep(read_request([*words, f"storage={url}"]), forking(runs))
