"""Tasks from Python: what the command line does, as one call."""

import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from backbone.common.errors import InputError
from tasks.task import Task

ENDS = [a + b + c for a in "ACGT" for b in "ACGT" for c in "AC"]
ROWS = "".join(f"ACGT{end}G,{i % 2}\n" for i, end in enumerate(ENDS))


def test_a_task_is_one_call_with_the_options_of_the_command_line(tmp_path):
    (tmp_path / "mine.csv").write_text("bases,y\n" + ROWS)
    task = tasks.load_task("table", train=tmp_path / "mine.csv", sequence="bases", label="y")
    assert isinstance(task, Task) and task.name == "mine"
    assert len(task.splits(0).train) == 22
    named = tasks.load_task(
        "table", train=str(tmp_path / "mine.csv"), sequence="bases", label="y", labels=("no", "yes")
    )
    assert named.labels == ("no", "yes") and len(named.splits(0).train) == 22
    assert tasks.load_task("human_enhancers_cohn").name == "enhancer_cohn"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tabel", {}, "unknown task 'tabel'; did you mean table?"),
        ("table", {"trian": "x"}, "unknown option of task table 'trian'; did you mean train?"),
        ("synthetic_easy", {"seed": 1}, "unknown option of task synthetic_easy 'seed'; there are"),
        ("intervals", {"flank": "wide"}, "flank: Value 'wide'"),
        ("table", {}, "give task.train=FILE"),
    ],
)
def test_mistakes_are_one_line(name, options, message):
    with pytest.raises(InputError, match=message) as error:
        tasks.load_task(name, **options)
    assert "\n" not in str(error.value)


def test_a_dollar_sign_is_a_letter_of_a_path(tmp_path):
    folder = tmp_path / "${x}"
    folder.mkdir()
    (folder / "mine.csv").write_text("sequence,label\n" + ROWS)
    assert tasks.load_task("table", train=folder / "mine.csv").name == "mine"


def test_an_audit_is_one_call():
    found = tasks.audit_task("synthetic_easy")
    assert found.task == "synthetic_easy"
    with pytest.raises(InputError, match="unknown option of task synthetic_easy"):
        tasks.audit_task("synthetic_easy", dta="x")


def test_the_package_imports_nothing_by_itself_and_never_torch():
    code = (
        "import sys, tasks; assert 'tasks.catalog' not in sys.modules; tasks.load_task; "
        "assert 'torch' not in sys.modules; print('fine')"
    )
    root = Path(tasks.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.stdout == "fine\n", done.stderr
    with pytest.raises(AttributeError, match="no attribute 'lod_task'"):
        tasks.lod_task  # noqa: B018
