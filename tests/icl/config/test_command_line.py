"""Composition, and one line with exit code 2 for every mistake."""

import subprocess
import sys

import pytest

from icl.config.hydra_cli import _prepare
from icl.methods.catalog import METHODS
from icl.reporting.report import find_reports, read_report
from icl.run import COMMAND
from tasks.catalog import TASKS


def assert_one_line(outcome, *parts):
    code, _, err = outcome
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err


def test_no_arguments_print_the_names_of_all_tasks_and_methods_on_one_screen(call):
    code, out, err = call()
    assert (code, err) == (0, "") and out.count("\n") < 45
    named = set(out.replace(",", " ").split())
    assert named >= {*TASKS.names(), *METHODS.names()}
    assert "python -m icl.run task=" in out and "--help=all" in out


def test_the_help_of_a_task_and_a_method_has_what_they_take_on_one_screen(call):
    for words in (("task=table", "method=soft_prompt"), ("method=soft_prompt",), ("task=table",)):
        code, out, err = call(*words, "--help")
        assert (code, err) == (0, "") and out.count("\n") < 60
        assert ("method.lr=0.1" in out) == ("method=soft_prompt" in words)
        assert ("task.train=" in out) == ("task=table" in words)
        assert "method.kmer" not in out and "seeds=1" in out
    assert call("method=soft_promt", "--help")[0] == 2


def test_the_whole_help_has_a_line_for_every_task_and_method(call):
    code, out, err = call("--help=all")
    assert (code, err) == (0, "")
    for name in TASKS.names():
        assert any(line.split() and line.split()[0] == name for line in out.splitlines()), name
    for name in METHODS.names():
        assert f"{METHODS.get(name).summary}" in out
    assert "verbalizer.words=" in out and "random_backbone" in out


def test_cfg_job_prints_the_whole_configuration_and_runs_nothing(call, tiny, tmp_path):
    code, out, _ = call("task=tiny_rows", "method=kmer_logreg", "method.kmer=3", "--cfg", "job")
    assert code == 0
    for line in ("  name: tiny_rows", "  name: kmer_logreg", "  kmer: 3", "split_seed: 0"):
        assert line in out.splitlines()
    assert tiny.read == 0 and not list(tmp_path.iterdir())


def test_flags_come_last_so_that_none_takes_an_option_as_its_value(tiny):
    words = _prepare(COMMAND, ["task=tiny_rows", "--resolve", "method=majority", "--info"])
    assert words == ["task=tiny_rows", "method=majority", "--resolve", "--info"]


def test_an_alias_stands_for_its_task(call):
    _, out, _ = call("task=human_enhancers_cohn", "method=majority", "--cfg", "job")
    assert "  name: enhancer_cohn" in out.splitlines()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["task=tiny_row", "method=majority"], ["'tiny_row'; did you mean tiny_rows?"]),
        (["task=tiny_rows", "method=majorty"], ["'majorty'; did you mean majority?"]),
        (["task=tiny_rows", "method=majority", "sed=1"], ["'sed'; did you mean seed?"]),
        (["task=tiny_rows", "method=kmer_logreg", "method.kmr=3"], ["did you mean method.kmer?"]),
        (["task=tiny_rows", "method=majority", "method.name=x"], ["method.name"]),
        (["task=tiny_rows", "method=majority", "+new=1"], ["'new'"]),
        (["task=tiny_rows", "method=majority", "k=-1"], ["k=-1", "0 or more"]),
        (["task=tiny_rows", "method=majority", "k=abc"], ["k", "'abc'"]),
        (["task=tiny_rows", "method=majority", "k=["], ["k=["]),
        (["task=tiny_rows", "method=majority", "k=1,2"], ["k=1,2"]),
        (["task=tiny_rows", "method=majority,gc_only"], ["-m"]),
        (["task=tiny_rows", "method=majority", "seeds=0"], ["seeds=0"]),
        (["task=tiny_rows", "method=majority", "evaluate=train"], ["test, val"]),
        (["task=tiny_rows", "method=majority", "device=tpu"], ["cpu, cuda, mps"]),
        (["task=tiny_rows", "method=majority", "precision=int4"], ["float32, bf16"]),
        (["task=tiny_rows", "method=majority", "n_train=1000"], ["1000"]),
        (["task=tiny_rows", "method=kmer_logreg", "method.kmer=99"], ["99"]),
        (["task=tiny_rows", "method=majority", "out=/proc/here"], ["/proc/here"]),
        (["task=tiny_rows", "method=majority", "--bogus"], ["--bogus"]),
        (["task=tiny_rows", "method=majority", "--cfg", "job", "-m"], ["only one"]),
        (["task=tiny_rows", "method=majority", "seed"], ["NAME=VALUE"]),
        (["task=tiny_rows"], ["method=", "majority"]),
        (["method=majority"], ["task=", "tiny_rows"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(call, tiny, tmp_path, words, parts):
    assert_one_line(call(*words), *parts)
    assert not list(tmp_path.iterdir())


def test_a_programming_error_keeps_its_traceback(call, tiny, monkeypatch):
    monkeypatch.setattr("icl.run.write_report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("task=tiny_rows", "method=majority")


@pytest.mark.parametrize(
    "folder", ["a b=(c),d", "it's", 'say "x"', "[1]", "{a: b}", "100%", "back\\slash", "ends\\"]
)
def test_a_folder_name_reaches_the_task_unchanged(call, tiny, folder):
    assert call("task=tiny_rows", "method=majority", f"data={folder}")[0] == 0
    assert str(tiny.data) == folder


def test_data_falls_back_to_the_environment(call, tiny, monkeypatch):
    monkeypatch.setenv("ICL_DATA", "from here")
    call("task=tiny_rows", "method=majority")
    assert str(tiny.data) == "from here"
    call("task=tiny_rows", "method=majority", "data=from there", "seed=1")
    assert str(tiny.data) == "from there"


def test_a_sweep_runs_every_combination_and_leaves_only_runs(call, tiny, tmp_path):
    assert call("-m", "task=tiny_rows", "method=majority,gc_only", "seed=0,1", "out=a,b")[0] == 0
    reports = [read_report(path) for path in find_reports(tmp_path)]
    assert sorted((r.setup.method, r.setup.seed) for r in reports) == [
        ("gc_only", 0),
        ("gc_only", 1),
        ("majority", 0),
        ("majority", 1),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a,b"]


def test_a_mistake_within_a_sweep_is_one_line(call, tiny):
    code, _, err = call("-m", "task=tiny_rows", "method=majority", "seed=-1,0")
    assert (code, err) == (2, "error: seed=-1: must be 0 or more\n")


def test_as_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "icl.run", "task=enhancer_kohn", "method=majority"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown task") and done.stderr.count("\n") == 1
