"""The architecture: imports go one way, rooms form no cycle, errors are caught by name.

A room is a sub-package (`backbone.hyena`), or a module that lies directly in a package
(`icl.run`). DESIGN and ARCHITECTURE.md name them; here the syntax trees of all files are read.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("backbone", "tasks", "prompts", "icl", "experiments")
MAY_IMPORT = {
    "backbone": set(),
    "tasks": {"backbone"},
    "prompts": {"backbone", "tasks"},
    "icl": {"backbone", "tasks", "prompts"},
    "experiments": {"backbone", "tasks", "prompts", "icl"},
}
TORCH_FREE_ROOMS = {"backbone.common", "backbone.sequence"}
"""What `tasks` may take from `backbone`."""

KNOWN_CYCLES: list[set[str]] = []
"""To be broken; nothing may be added."""

OF_ONE_MODEL = {"backbone.hyena", "backbone.engine", "backbone.hf"}
"""Rooms that know one kind of model, behind `backbone.protocol` and `backbone.models`."""

OWN_MODEL = {
    "experiments.speed": "times HyenaDNA's engine against its published form",
    "experiments.pretraining": "measures checkpoints of `backbone.pretrain`",
}
"""Rooms of experiments that are about HyenaDNA itself."""

MODULES_IN_A_FOLDER = 20
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FILES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(path: Path) -> str:
    """The module of a file: `backbone.hyena.model`; a package for its `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}


def imported(tree: ast.AST, module: str = "") -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                start = module.split(".")[: -node.level]
                source = ".".join([*start, *([source] if source else [])])
            for alias in node.names:  # `from backbone.hyena import model` imports a module
                one = f"{source}.{alias.name}"
                names.add(one if one in NAMES else source)
    return names


def room(module: str) -> str:
    """The room of one of our modules: its package's sub-package, or itself."""
    return ".".join(module.split(".")[:2])


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in PACKAGES}


def arrows(paths: list[Path]) -> dict[str, set[str]]:
    """For each room the other rooms that its files import."""
    found: dict[str, set[str]] = {}
    for path in paths:
        module = dotted(path)
        names = imported(ast.parse(path.read_text(encoding="utf-8")), module)
        found.setdefault(room(module), set()).update(map(room, ours(names)))
    return {name: others - {name} for name, others in found.items()}


def cycles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one node: rooms that reach one another."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in graph.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {name: reached(name) for name in graph}
    components = {
        frozenset(other for other in reach[name] if name in reach.get(other, set()))
        for name in graph
        if name in reach[name]
    }
    return sorted((set(one) for one in components), key=sorted)


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


def folders() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted({path.parent for path in MODULES if path.is_relative_to(ROOT / package)})


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_one_way(path: Path):
    package = path.relative_to(ROOT).parts[0]
    names = imported(ast.parse(path.read_text(encoding="utf-8")), dotted(path))
    others = {name.split(".")[0] for name in ours(names)} - {package}
    assert others <= MAY_IMPORT[package]
    assert "tests" not in {name.split(".")[0] for name in names}


def test_rooms_form_no_cycle():
    assert cycles(arrows(MODULES)) == []


@pytest.mark.parametrize("folder", list(folders()), ids=relative)
def test_a_folder_has_few_modules(folder: Path):
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MODULES_IN_A_FOLDER


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").rglob("*.py")), ids=relative)
def test_tasks_need_no_torch(path: Path):
    names = imported(ast.parse(path.read_text(encoding="utf-8")), dotted(path))
    assert not {"torch", "transformers"} & {name.split(".")[0] for name in names}
    assert {room(n) for n in names if n.split(".")[0] == "backbone"} <= TORCH_FREE_ROOMS


@pytest.mark.parametrize("package", ["prompts", "icl", "experiments"])
def test_any_backbone_is_spoken_to_by_the_protocol(package: str):
    """Prompts, methods and experiments know no model's own modules, but for named exceptions."""
    for path in (ROOT / package).rglob("*.py"):
        module = dotted(path)
        names = imported(ast.parse(path.read_text(encoding="utf-8")), module)
        if room(module) not in OWN_MODEL:
            assert not set(map(room, ours(names))) & OF_ONE_MODEL, relative(path)


@pytest.mark.parametrize("name", sorted(TORCH_FREE_ROOMS))
def test_what_tasks_take_from_the_backbone_needs_no_torch(name: str):
    for path in (ROOT / name.replace(".", "/")).rglob("*.py"):
        names = imported(ast.parse(path.read_text(encoding="utf-8")), dotted(path))
        assert not {"torch", "transformers"} & {one.split(".")[0] for one in names}, relative(path)
        assert {room(n) for n in ours(names)} <= TORCH_FREE_ROOMS, relative(path)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_error_is_caught_without_its_name(path: Path):
    assert not catches_everything(ast.parse(path.read_text(encoding="utf-8")))


def test_the_checks_see_what_they_look_for():
    code = (
        "import torch.nn\ndef f():\n    from backbone.hyena import model\n"
        "    from icl.run import main\n"
    )
    found = imported(ast.parse(code), "tasks.task")
    assert found == {"torch.nn", "backbone.hyena.model", "icl.run"}
    inside = ast.parse("from . import model\nfrom ..common.errors import InputError")
    relatives = imported(inside, "backbone.hyena.zoo")
    assert relatives == {"backbone.hyena.model", "backbone.common.errors"}
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert cycles({"a": {"b"}, "b": set()}) == []
    assert catches_everything(ast.parse("try:\n    pass\nexcept (OSError, Exception):\n    pass"))
    assert catches_everything(ast.parse("try:\n    pass\nexcept:\n    pass"))
    assert not catches_everything(ast.parse("try:\n    pass\nexcept OSError:\n    pass"))
