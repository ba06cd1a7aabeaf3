"""Folders called tasks, prompts or experiments where a command is called do it no harm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("tasks", "prompts", "experiments")
QUICK = ("task=synthetic_easy", "method=majority", "n_train=40", "audit=none", "threads=1")


def called(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=work, env=variables, capture_output=True, text=True
    )


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder that holds folders of our names, which are no packages."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine\n")
    return tmp_path


@pytest.fixture
def packages(folders: Path) -> Path:
    """The same, where they are packages: Python finds them before ours."""
    for name in NAMES:
        (folders / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    return folders


def test_a_run_by_its_module(packages: Path) -> None:
    done = called(packages, "-m", "icl.run", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "majority" in done.stdout


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [("tasks.__main__", ["list"], 0), ("experiments.curve", ["runs=none"], 2)],
)
def test_console_scripts(packages: Path, module: str, words: list[str], code: int) -> None:
    """They do not look for modules in the working directory."""
    script = packages / "bin" / "icl-script"
    script.parent.mkdir()
    script.write_text(f"import sys\nfrom {module} import main\nsys.exit(main())\n")
    done = called(packages, str(script), *words)
    assert done.returncode == code, done.stderr
    assert done.stderr == ("error: none: there is no such folder of runs\n" if code else "")


@pytest.mark.parametrize("module", ["tasks", "experiments.curve"])
def test_modules_beside_folders_of_their_name(folders: Path, module: str) -> None:
    done = called(folders, "-m", module, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("python -m tasks", "python -m experiments.curve"))


def test_a_module_beside_a_package_of_its_name_without_the_working_directory(
    packages: Path,
) -> None:
    """`python -m` alone means the package that is found first."""
    assert "not ours" in called(packages, "-m", "tasks", "list").stderr
    assert called(packages, "-P", "-m", "tasks", "list").returncode == 0
