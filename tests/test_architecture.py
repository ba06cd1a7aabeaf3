"""The house keeps its order: imports go one way, files stay short, errors are caught by name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("backbone", "tasks", "prompts", "icl", "experiments")
TORCH_FREE_BACKBONE = {
    *(
        "backbone.sequence.alphabet",
        "backbone.sequence.dna",
        "backbone.common.errors",
        "backbone.common.files",
        "backbone.sequence.fasta",
        "backbone.common.options",
    ),
}
MAY_IMPORT = {
    "backbone": set(),
    "tasks": {"backbone"},
    "prompts": {"backbone", "tasks"},
    "icl": {"backbone", "tasks", "prompts"},
    "experiments": {"backbone", "tasks", "prompts", "icl"},
}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FILES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]
MAX_LINES = 350


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST, package: str) -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add(package)  # relative imports cannot leave the package
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            # `from backbone import dna` names the module in its list
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def catches_everything(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                return True
            if {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} & {
                "Exception",
                "BaseException",
            }:
                return True
    return False


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_one_way(path: Path):
    package = path.relative_to(ROOT).parts[0]
    names = imported(ast.parse(path.read_text()), package)
    ours = {name.split(".")[0] for name in names} & set(PACKAGES) - {package}
    assert ours <= MAY_IMPORT[package]
    assert "tests" not in {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").rglob("*.py")), ids=relative)
def test_tasks_need_no_torch(path: Path):
    names = imported(ast.parse(path.read_text()), "tasks")
    assert not {"torch", "transformers"} & {name.split(".")[0] for name in names}
    assert {name for name in names if name.split(".")[0] == "backbone"} <= TORCH_FREE_BACKBONE


@pytest.mark.parametrize("module", sorted(TORCH_FREE_BACKBONE))
def test_what_tasks_take_from_the_backbone_needs_no_torch(module: str):
    path = ROOT / f"{module.replace('.', '/')}.py"
    names = imported(ast.parse(path.read_text()), "backbone")
    assert not {"torch", "transformers"} & {name.split(".")[0] for name in names}
    assert {name for name in names if name.split(".")[0] == "backbone"} <= TORCH_FREE_BACKBONE


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_are_short(path: Path):
    assert len(path.read_text().splitlines()) < MAX_LINES


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_error_is_caught_without_its_name(path: Path):
    assert not catches_everything(ast.parse(path.read_text()))


def test_the_checks_see_what_they_look_for():
    code = (
        "import torch.nn\ndef f():\n    from backbone import model\n    from icl.run import main\n"
    )
    assert imported(ast.parse(code), "tasks") == {"torch.nn", "backbone.model", "icl.run"}
    assert catches_everything(ast.parse("try:\n    pass\nexcept (OSError, Exception):\n    pass"))
    assert catches_everything(ast.parse("try:\n    pass\nexcept:\n    pass"))
    assert not catches_everything(ast.parse("try:\n    pass\nexcept OSError:\n    pass"))
