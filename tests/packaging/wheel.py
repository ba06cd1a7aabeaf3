"""Build sdist and wheel, install the wheel in an empty environment, and check it there.

`make wheel`, or `python tests/packaging/wheel.py [FOLDER]`: the archives go to `dist/`, the
environments to FOLDER, by default a temporary one. Only the standard library is needed. A warning
of the build is an error. Options of pip, such as an index of CPU builds of torch, go into
PIP_OPTIONS.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
SMOKE = Path(__file__).with_name("smoke.py")
WARNINGS = ("DeprecationWarning", "would be ignored", "no files found", "not found under")
"""What setuptools says of a project that it would soon build otherwise, or without some files."""

EMPTY = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "ICL_DATA")
} | {"HF_HUB_OFFLINE": "1"}
"""The variables of the empty environment: nothing leads back to the checkout."""


def say(words: Sequence[object]) -> str:
    """Print a command as a shell reads it, and return that."""
    line = shlex.join(map(str, words))
    print(f"$ {line}", flush=True)
    return line


def called(*words: object, cwd: Path) -> None:
    """Call a program; its failure ends this one."""
    line = say(words)
    if code := subprocess.run([*map(str, words)], cwd=cwd, env=EMPTY).returncode:
        sys.exit(f"exit code {code}: {line}")


def environment(folder: Path, *requirements: object) -> Path:
    """Return the Python of a new environment with requirements, as constraints.txt pins them."""
    called(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    options = shlex.split(os.environ.get("PIP_OPTIONS", ""))
    pip = (python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    called(*pip, *options, *requirements, cwd=folder.parent)
    return python


def build(folder: Path) -> Path:
    """Build both archives into `dist/` and return the wheel, which is built from the sdist."""
    python = environment(folder / "build", "build")
    for old in DIST.glob("genomic_icl-*"):
        old.unlink()
    words = [python, "-m", "build", "--outdir", DIST, ROOT]
    line = say(words)
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env=EMPTY, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    bad = [text for text in done.stdout.splitlines() if any(one in text for one in WARNINGS)]
    if done.returncode or bad:
        print(done.stdout)
        sys.exit("\n".join([f"exit code {done.returncode}: {line}", *bad]))
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    for path in (sdist, wheel):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return wheel


def main() -> None:
    """Build, install, and use what is installed from a folder that is not the checkout."""
    with tempfile.TemporaryDirectory(prefix="icl-wheel-") as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        python = environment(folder / "empty", f"{build(folder)}[page]")
        work = folder / "work"
        work.mkdir(exist_ok=True)
        called(python, "-I", SMOKE, cwd=work)


if __name__ == "__main__":
    main()
