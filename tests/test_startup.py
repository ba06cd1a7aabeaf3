"""What answers at once imports nothing heavy: help, lists, mistakes, finished runs.

Each case is a process of its own, which prints what it has imported at its end. Counts are held,
not times.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from experiments.speed.__main__ import COMMANDS as SPEED

ROOT = Path(__file__).resolve().parents[1]
ARITHMETIC = {"torch", "transformers", "peft", "accelerate", "sklearn", "datasets", "matplotlib"}
TABLES = {"pandas", "pyarrow", "scipy.special", "scipy.stats", "scipy.optimize", "optuna"}
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

CALL = """
import contextlib, importlib, io, json, os, sys

printed, imported = io.StringIO(), {}
for place, words in json.loads(sys.argv[1]):
    module, _, function = place.partition(":")
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = getattr(importlib.import_module(module), function)(words)
    imported[" ".join([place, *words])] = [code, sorted(sys.modules)]
print(json.dumps([imported, printed.getvalue()]))
"""


def called(*lines: tuple[str, list[str]], cwd: Path) -> tuple[dict[str, tuple[int, set[str]]], str]:
    """Call commands one after another in a new process.

    Returns:
        For each its exit code and all modules that are imported then, and what all printed.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", CALL, json.dumps(lines)],
        capture_output=True, text=True, check=True, cwd=cwd, env=environment,
    )  # fmt: skip
    found, printed = json.loads(done.stdout)
    return {line: (code, set(names)) for line, (code, names) in found.items()}, printed


def test_help_of_every_command_imports_no_arithmetic(tmp_path):
    lines = [(place, ["--help"]) for place in COMMANDS.values()]
    lines += [(COMMANDS["icl-speed"], [name, "--help"]) for name in SPEED]
    found, printed = called(*lines, cwd=tmp_path)
    assert len(found) == len(lines)
    for line, (code, names) in found.items():
        assert code == 0 and not names & ARITHMETIC, line
    assert "python -m experiments.sweep" in printed


def test_help_of_runs_and_of_each_method_and_the_list_of_tasks_import_no_tables_either(tmp_path):
    run, tasks = COMMANDS["icl-run"], COMMANDS["icl-tasks"]
    found, printed = called(
        (run, []),
        (run, ["method=soft_prompt", "--help"]),
        (run, ["--help=all"]),
        (tasks, ["list"]),
        (tasks, ["show", "synthetic_easy"]),
        cwd=tmp_path,
    )
    for line, (code, names) in found.items():
        assert code == 0 and not names & (ARITHMETIC | TABLES), line
    assert "method.placement=after" in printed and "enhancer_cohn" in printed


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["task=enhancr_cohn", "method=soft_prompt"], "did you mean enhancer_cohn"),
        (["task=synthetic_easy", "method=soft_promt"], "did you mean soft_prompt"),
        (["task=synthetic_easy", "method=soft_prompt", "method.placment=after"], "placement"),
        (["task=synthetic_easy", "method=soft_prompt", "k=-1"], "k=-1"),
    ],
)
def test_a_mistake_is_answered_without_arithmetic(words, answer, tmp_path):
    found, printed = called((COMMANDS["icl-run"], words), cwd=tmp_path)
    ((code, names),) = found.values()
    assert code == 2 and answer in printed
    assert not names & (ARITHMETIC | TABLES)


def test_a_finished_run_is_found_without_arithmetic(tmp_path):
    draw = np.random.default_rng(0)
    rows = ["".join(draw.choice(list("ACGT"), size=30)) + f",{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["sequence,label", *rows]))
    words = ["task=table", "task.train=rows.csv", "method=soft_prompt", "k=1", "method.epochs=1"]
    first, _ = called((COMMANDS["icl-run"], words), cwd=tmp_path)
    again, printed = called((COMMANDS["icl-run"], words), cwd=tmp_path)
    ((code, names),) = first.values()
    assert code == 0 and "torch" in names
    ((code, names),) = again.values()
    assert code == 0 and "already there" in printed
    assert not names & (ARITHMETIC | TABLES)


def test_a_method_without_a_backbone_runs_without_torch(tmp_path):
    words = ["task=synthetic_easy", "n_train=40", "method=majority"]
    found, _ = called((COMMANDS["icl-run"], words), cwd=tmp_path)
    ((code, names),) = found.values()
    assert code == 0 and not names & ARITHMETIC
