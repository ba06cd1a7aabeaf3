"""`--json`: one object on standard output, whatever a command prints; mistakes are in it too."""

import json
import math
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from backbone.common.command import emit_files, entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.json_output import JSON, Result

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_lines_files_tables_and_values_are_one_object(capsys, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("name,mean,n\none,0.5,3\ntwo,,nan\n")

    @entry_point
    def main(words):
        def work():
            print("for people")
            emit_files("written", table)
            yield f"words {words}"
            yield {"loss": math.nan, "counts": (1, 2)}

        return exit_code(work)

    assert main(["k=1", JSON]) == 0
    captured = capsys.readouterr()
    assert captured.err == "for people\n"
    assert json.loads(captured.out) == {
        "exit_code": 0,
        "error": None,
        "lines": ["written", "words ['k=1']"],
        "files": [str(table)],
        "tables": {
            str(table): [
                {"name": "one", "mean": 0.5, "n": 3},
                {"name": "two", "mean": None, "n": None},
            ]
        },
        "loss": None,
        "counts": [1, 2],
    }
    assert main(["k=1"]) == 0
    assert capsys.readouterr().out == "for people\nwritten\nwords ['k=1']\n"


def test_a_mistake_is_in_the_object_and_on_standard_error(capsys):
    @entry_point
    def main(words):
        def work():
            raise InputError("k=-1: must be 0 or more")

        return exit_code(work)

    assert main([JSON]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: k=-1: must be 0 or more\n"
    found = json.loads(captured.out)
    assert (found["exit_code"], found["error"]) == (2, "k=-1: must be 0 or more")


def test_the_words_of_the_process_are_taken_where_none_are_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "a", JSON])
    main = entry_point(lambda words: exit_code(lambda: words))
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["lines"] == ["a"]


def test_a_large_table_is_named_and_not_repeated(tmp_path, monkeypatch):
    table = tmp_path / "a.tsv"
    table.write_text("x\ty\n1\t2\n")
    result = Result(files=[table])
    assert json.loads(result.as_json(0))["tables"] == {str(table): [{"x": 1, "y": 2}]}
    monkeypatch.setattr("backbone.common.json_output.TABLE_BYTES", 3)
    assert json.loads(result.as_json(0))["tables"] == {}


@pytest.mark.parametrize("target", SCRIPTS.values(), ids=SCRIPTS)
def test_every_command_takes_it(target: str, capsys):
    """The worker of a sweep is called by the sweep."""
    module, _, function = target.partition(":")
    code = getattr(import_module(module), function)(["--help", JSON])
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert code == found["exit_code"] == 0
    said = captured.err + "\n".join(found["lines"])
    assert said.strip()
    of_their_own = ("experiments.speed.__main__", "experiments.pretraining")  # its commands' help
    assert JSON in said or module in (*of_their_own, "experiments.sweep_worker")
