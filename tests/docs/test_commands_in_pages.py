"""Every command that a document shows has options that exist, with values that they can have.

A shell reads the commands, with `python` and `accelerate` replaced by a function that prints the
words it was given; options are then read as the command would read them, and nothing is run.
"""

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from backbone.common.errors import InputError
from backbone.common.json_output import JSON
from backbone.common.options import read_options
from backbone.pretraining import recipes
from experiments.common.command import read_words
from experiments.sweep.request import read_request
from icl import cache
from icl.config import options as run_options
from icl.config.hydra_cli import Command, composed
from icl.config.product import is_product, product
from icl.methods.catalog import METHODS
from icl.run import COMMAND as RUN
from tasks.catalog import TASKS
from tasks.registry import options_class
from tests.docs.pages import ROOT, documents, hook

reference = pytest.importorskip("mkdocs", reason="pip install 'genomic-icl[docs]'") and hook(
    "reference"
)
SHOWN = re.compile(r"^(\w+=\S* )*(python|accelerate launch) -m |^\w+=(\"[^\"]*\"|\S+)(;|$)")
PRINT = r"""
say() { printf '%s\x1f' "$@"; printf '\x1e'; }
python() { shift; say "$@"; }
accelerate() { shift 2; say "$@"; }
ICL_DATA=DIR
set -f
"""
PLACEHOLDERS = {"NAME": "synthetic_easy", "TASK": "synthetic_easy", "METHOD": "few_shot"}
TESTED = re.compile(r"<!-- tested: \w+ -->\n+```python\n(.*?)```", re.DOTALL)


def is_history(path: Path) -> bool:
    """Return whether a document tells what was run, with the options of its day."""
    return (
        path.name in ("CHANGELOG.md", "LOG.md")
        or (ROOT / "experiments/recipes/results") in path.parents
    )


def shown(text: str) -> list[list[str]]:
    """Return the words of every `python -m` command of a document, as a shell splits them."""
    blocks = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"(?:^    .*\n)+", prose, re.MULTILINE)
    blocks += [f"{one}\n" for one in re.findall(r"`(python -m [^`\n]+)`", prose)]
    lines = []
    for block in blocks:
        joined = re.sub(r"\\\n\s*", "", block)
        lines += [line.strip() for line in joined.splitlines() if SHOWN.match(line.strip())]
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not here")
    done = subprocess.run([bash, "-c", PRINT + "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [one.split("\x1f")[:-1] for one in done.stdout.split("\x1e")[:-1]]


def read(name: str, words: list[str]) -> None:
    """Read the options of a command as the command does.

    Raises:
        InputError: If it would refuse them.
    """
    if name not in reference.commands():
        raise InputError(f"there is no command {name}")
    words = [word for word in words if word != JSON and not word.startswith("plugins=")]
    if "--help" in words:
        return
    if name == "icl.run":
        read_run(words)
    elif name == "tasks":
        read_tasks(words)
    elif name == "icl.cache":
        cache.read(words)
    elif name == "experiments.sweep":
        read_request(words)
    elif name == "backbone.pretrain":
        read_options(reference.command_options(name)[""], recipes.expand(words))
    elif reference.takes_methods(name):
        read_words(reference.command_options(name)[""], words)
    elif isinstance(command := getattr(reference.command_module(name), "COMMAND", None), Command):
        composed(command, first_of_sweep(words))
    else:
        commands = reference.command_options(name)
        if words and "" not in commands:
            read_options(commands[words[0]], words[1:])
        elif words:
            read_options(commands[""], words)


def read_run(words: list[str]) -> None:
    if is_product(words):
        for line in product(words):
            read_run(line)
        return
    words = first_of_sweep(words)
    given = [word.partition("=")[0] for word in words if "=" in word]
    words += [f"{name}={value}" for name, value in {"task": "synthetic_easy",
              "method": "few_shot"}.items() if name not in given]  # fmt: skip
    if given:
        run_options.from_hydra(composed(RUN, words))


def first_of_sweep(words: list[str]) -> list[str]:
    """Return the first of the command lines that a command with -m stands for."""
    if "-m" not in words:
        return words
    rest = [word for word in words if word != "-m" and not word.startswith("hydra")]
    return [word if "[" in word else word.partition(",")[0] for word in rest]


def read_tasks(words: list[str]) -> None:
    command, *rest = words
    if command == "list" or not rest:
        return
    options = reference.command_options("tasks")[command]
    own = [word.removeprefix("task.") for word in rest[1:] if word.startswith("task.")]
    read_options(options_class(rest[0]), [f"name={rest[0]}", *own])
    read_options(options, [word for word in rest[1:] if not word.startswith("task.")])


@pytest.fixture
def guides(monkeypatch):
    """What the guides register, for commands that use it."""
    for registry in (METHODS, TASKS):
        monkeypatch.setattr(registry, "_values", dict(registry._values))
    for path in documents():
        for number, block in enumerate(TESTED.findall(path.read_text())):
            exec(compile(block, str(path), "exec"), {"__name__": f"guide_{path.stem}_{number}"})


@pytest.mark.parametrize(
    "path", [p for p in documents() if not is_history(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_commands_have_options_that_exist(path, guides):
    mistakes = []
    for module, *words in shown(path.read_text()):
        words = [PLACEHOLDERS.get(w, w) for w in words]
        words = [
            f"{key}{equals}{PLACEHOLDERS.get(value, value)}"
            for key, equals, value in (word.partition("=") for word in words)
        ]
        try:
            read(module, words)
        except InputError as error:
            mistakes.append(f"python -m {module} {' '.join(words)}\n    {error}")
    assert not mistakes, "\n".join(mistakes)


def test_every_command_of_the_package_is_in_the_reference():
    for name in reference.commands():
        assert import_module(reference.command_module(name).__name__).main
        assert reference.command_page(name).startswith(f"# {name}\n")


def test_a_shell_reads_the_commands():
    lines = ["ROOT=x; shape='a=1 b=2'", "python -m icl.run task=t \\", "  $shape 'k=[1,2]'  # note"]
    text = "".join(f"    {line}\n" for line in lines)
    assert shown(text) == [["icl.run", "task=t", "a=1", "b=2", "k=[1,2]"]]
