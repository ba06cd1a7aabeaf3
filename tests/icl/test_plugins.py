"""Methods and tasks of other people, and folders of theirs that have our names."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from backbone.common.plugins import load_entry_points, load_plugins
from icl.methods.catalog import METHODS
from icl.reporting.report import find_reports, read_report

ROOT = Path(__file__).resolve().parents[2]

LAB = """
from dataclasses import dataclass

from backbone.common.options import option
from icl.method import method
from icl.methods.majority import Majority, MajorityConfig


@dataclass
class LabConfig(MajorityConfig):
    strength: int = option(1, "how strong", least=1)


@method("lab_majority", config=LabConfig, uses_backbone=False)
class LabMajority(Majority):
    \"\"\"The majority, in a laboratory.\"\"\"
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A module `my_lab` in the working directory that registers a method."""
    (tmp_path / "my_lab.py").write_text(LAB)
    yield
    METHODS._values.pop("lab_majority", None)
    sys.modules.pop("my_lab", None)


def test_a_method_of_ones_own_runs_and_predicts(call, tiny, lab, tmp_path):
    words = ("task=tiny_rows", "method=lab_majority", "method.strength=2", "plugins=[my_lab]")
    code, _, err = call(*words)
    assert code == 0, err
    (path,) = find_reports(tmp_path)
    assert read_report(path).setup.config["method"]["strength"] == 2
    assert call(*words, "method.strength=0")[2].endswith("must be 1 or more\n")
    METHODS._values.pop("lab_majority")
    sys.modules.pop("my_lab")
    (tmp_path / "x.fa").write_text(">one\nACGT\n")
    from icl import predict

    assert predict.main([f"run={path.parent}", "fasta=x.fa"]) == 0  # the report names the plugin


@pytest.mark.parametrize("name", ["no_such_lab", "broken", "a b"])
def test_a_plugin_that_cannot_be_imported_is_one_line(call, tiny, tmp_path, name):
    (tmp_path / "broken.py").write_text("def")
    code, _, err = call("task=tiny_rows", "method=majority", f"plugins=[{name}]")
    assert code == 2 and err.startswith(f"error: plugins=[{name}]: cannot be imported")
    assert err.count("\n") == 1


def test_other_words_are_left_as_they_are():
    assert load_plugins(["k=1", "plugins=[]", "plugins=[json, csv]", "a=b"]) == ["k=1", "a=b"]


def test_an_entry_point_that_fails_is_left_out_with_a_warning(monkeypatch):
    class Point:
        name, value = "lab", "my_lab.methods"

        def load(self):
            raise ImportError("no\nmodule")

    monkeypatch.setattr("backbone.common.plugins.metadata.entry_points", lambda group: [Point()])
    with pytest.warns(UserWarning, match="icl.methods: lab .* is left out: no module"):
        load_entry_points("icl.methods", print)


@pytest.mark.parametrize("name", ["tasks", "prompts", "experiments"])
@pytest.mark.parametrize("kind", ["folder", "package", "file"])
def test_a_folder_or_file_with_our_name_breaks_nothing(tmp_path, name, kind):
    if kind == "file":
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    else:
        (tmp_path / name).mkdir()
        if kind == "package":
            (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong module')")
    script = "import icl, tasks, prompts, experiments; print(tasks.__file__, prompts.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, ''); {script}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    files = f"{ROOT / 'tasks' / '__init__.py'} {ROOT / 'prompts' / '__init__.py'}\n"
    assert (done.stdout, done.stderr) == (files, "")


def test_another_package_that_is_already_imported_is_named(tmp_path):
    (tmp_path / "tasks.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, ''); import tasks; import icl"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert "tasks is another module" in done.stderr.splitlines()[-1]


def test_every_console_script_is_a_function():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {"icl-run", "icl-predict", "icl-tasks", "icl-sweep", "icl-curve", "icl-report"} < {
        *scripts
    }
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))
