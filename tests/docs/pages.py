"""The documents of the repository, for tests of what they say."""

import subprocess
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = (".venv", ".venv-ci", "site", "runs", "node_modules", ".pytest_cache", "tests")


@cache
def documents() -> tuple[Path, ...]:
    """Return every Markdown file that is kept in the repository."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if found.returncode == 0:
        return tuple(ROOT / line for line in found.stdout.splitlines() if (ROOT / line).is_file())
    files = (path for path in ROOT.rglob("*.md") if path.relative_to(ROOT).parts[0] not in NOT_OURS)
    return tuple(sorted(files))


@cache
def hook(name: str) -> ModuleType:
    """Return a hook of the site as a module."""
    spec = spec_from_file_location(f"docs_hooks_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
