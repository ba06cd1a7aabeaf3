"""Every tensor that our code makes names its device, and its dtype where torch would choose one.

A tensor without a device lies on the CPU, whatever the model computes on; on a CPU nothing shows
it. The syntax trees of all files are read. `None` is the device on which torch builds modules.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("backbone", "tasks", "prompts", "icl", "experiments")


OF_ANY_DTYPE = {"arange", "as_tensor", "full", "randint", "randperm", "tensor"}
"""What makes a tensor, of a dtype that its arguments decide."""

OF_DEFAULT_DTYPE = {"empty", "eye", "linspace", "ones", "rand", "randn", "zeros"}
"""What makes a tensor of torch's default dtype if none is named."""


def places(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each tensor or generator without a device, and what it lacks."""
    for node in ast.walk(ast.parse(source)):
        name = _function(node)
        if name is None:
            continue
        assert isinstance(node, ast.Call)
        given = {keyword.arg for keyword in node.keywords}
        if name == "Generator":
            if not (node.args or "device" in given):
                yield node.lineno, "Generator without a device"
        elif name in OF_ANY_DTYPE | OF_DEFAULT_DTYPE:
            wanted = {"device"} | ({"dtype"} if name in OF_DEFAULT_DTYPE else set())
            if missing := wanted - given:
                yield node.lineno, f"{name} without {' and '.join(sorted(missing))}"


def _function(node: ast.AST) -> str | None:
    """The name of a function of torch that a node calls."""
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        return called.attr if called.value.id == "torch" else None
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_every_tensor_names_its_device(package):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in (ROOT / package).rglob("*.py")
        for line, what in places(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    "line",
    [
        "torch.arange(5)",
        "torch.zeros(3, device=there)",
        "torch.zeros(3, dtype=torch.int64)",
        "torch.Generator()",
    ],
)
def test_what_lacks_a_device_or_a_dtype_is_found(line):
    assert len(list(places(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "torch.arange(5, device=there)",
        "torch.zeros(3, device=there, dtype=torch.int64)",
        "torch.Generator('cpu')",
        "torch.zeros_like(other)",
    ],
)
def test_what_names_them_is_not(line):
    assert not list(places(line))
