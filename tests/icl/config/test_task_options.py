"""Tasks with options of their own, from the command line to the report."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from icl.config import options
from icl.config.help import help_text
from icl.config.options import from_dict, identity, resolve
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tasks.registry import TaskConfig, TaskFamily, path_option
from tasks.task import Task


@dataclass
class Windows(TaskConfig):
    length: int = field(default=40, metadata={"help": "window length in bases"})
    genome: str | None = path_option("FASTA file of the windows")


@pytest.fixture
def windows(tiny, monkeypatch):
    def build(chosen: Windows) -> Task:
        return Task(f"windows_{chosen.length}", ("poor", "rich"), tiny)

    monkeypatch.setitem(TASKS._values, "windows", TaskFamily("windows", Windows, build, "a test's"))
    return tiny


def test_options_of_a_task_are_given_on_the_command_line(windows, call, tmp_path):
    words = ["task=windows", "task.length=30", "method=gc_only", "task.genome=my genome, v=2.fa"]
    code, _, err = call(*words)
    assert code == 0, err
    (file,) = (tmp_path / "runs" / "windows_30" / "gc_only").glob("*/report.json")
    report = json.loads(file.read_text())["setup"]
    assert report["task"] == "windows_30"
    own = {"name": "windows", "length": 30, "genome": "my genome, v=2.fa"}
    assert report["config"]["task"] == own
    assert from_dict(report["config"]).task == Windows(**own)


def test_an_unknown_option_of_a_task_is_one_line(windows, call):
    code, _, err = call("task=windows", "task.lenght=30", "method=gc_only")
    assert code == 2 and err.startswith("error: unknown option 'task.lenght'; did you mean")
    code, _, err = call("task=tiny_rows", "task.length=30", "method=gc_only")
    assert code == 2 and err.startswith("error: unknown option 'task.length'")


def test_options_of_a_task_but_no_path_name_the_run(windows):
    def named(**own) -> dict:
        method = METHODS.get("gc_only").config(name="gc_only")
        return identity(resolve(options.RunConfig(task=Windows("windows", **own), method=method)))

    assert named() == named(genome="elsewhere.fa")
    assert named() != named(length=41)


def test_help_lists_a_family_with_its_options(windows):
    text = help_text(["--help=all"])
    assert "Options of task=windows\n  task.length=40" in text
    assert "FASTA file of the windows" in text


def test_a_mapping_is_an_option_and_reaches_the_task(call, tmp_path):
    for name in ("one", "two"):
        bases = "".join(np.random.default_rng(len(name)).choice(list("ACGT"), 900))
        (tmp_path / f"{name}.fa").write_text(f">{name}\n{bases}\n")
    words = ["task=species", f"task.genomes={{one:[{tmp_path}/one.fa],two:[{tmp_path}/two.fa]}}"]
    words += ["task.length=20", "task.train_rows=8", "task.val_rows=2", "task.test_rows=4"]
    code, out, err = call(*words, "method=majority")
    assert code == 0 and "species_20" in out, err
    code, _, err = call(*[*words, "task.genomes=one.fa"], "method=majority")
    assert code == 2 and err == (
        "error: task.genomes=one.fa: give names with their values, as task.genomes={a:[x,y]}\n"
    )
