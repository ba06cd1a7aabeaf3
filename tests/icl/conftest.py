"""A task of a few short rows, and the command line called in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from icl import run
from tasks.catalog import TASKS
from tasks.task import Example, Splits, Task, make_splits
from tests.devices import device


@dataclass
class Composition:
    """Class 1 is richer in G and C; `read` counts how often the rows were asked for."""

    read: int = 0
    data: Path | None = None

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        self.read += 1
        self.data = data
        generator = np.random.default_rng(split_seed)

        def rows(n: int) -> list[Example]:
            shares = ([0.3, 0.2, 0.2, 0.3], [0.2, 0.3, 0.3, 0.2])
            return [
                Example("".join(generator.choice(list("ACGT"), size=40, p=shares[i % 2])), i % 2)
                for i in range(n)
            ]

        return make_splits(task, rows(40), rows(20), rows(30), origin="drawn for a test")


@pytest.fixture
def tiny(monkeypatch) -> Composition:
    """Registers the task `tiny_rows` for one test and gives its source."""
    source = Composition()
    task = Task("tiny_rows", ("poor", "rich"), source, description="rows of a test")
    monkeypatch.setitem(TASKS._values, "tiny_rows", task)
    monkeypatch.delenv("ICL_DATA", raising=False)
    return source


def where(words: Sequence[str]) -> list[str]:
    """The option that lets a run compute on the device of all tests."""
    runs = any(word.startswith("task=") for word in words)
    return [f"device={device()}"] if runs and device() != "cpu" else []


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Calls `python -m icl.run` in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def one(*words: str) -> tuple[int, str, str]:
        try:
            code = run.main([*words, *where(words)])
        finally:
            torch.use_deterministic_algorithms(False)
            torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return one
