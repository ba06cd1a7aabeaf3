"""MkDocs hook: pages of the reference, written from declarations and docstrings.

Every option is declared once, in a dataclass; this hook turns those dataclasses, the registries of
tasks, methods and controls, and the packages into pages when the site is built. `mkdocs.yml` names
where they stand in the navigation: a list that begins with one of PARENTS receives its children.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from backbone.common.options import described
from icl.config.hydra_cli import Command
from icl.controls import CONTROLS
from icl.method import MethodEntry
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tasks.kinds import kind_of
from tasks.registry import TaskFamily, options_class
from tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("icl", "tasks", "prompts", "backbone", "experiments")
COMMANDS_PAGE, MODULES_PAGE = "reference/commands/index.md", "reference/modules/index.md"
PARENTS = (COMMANDS_PAGE, MODULES_PAGE)

Table = Sequence[Sequence[str]]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    for uri, text in pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages below their parents in the navigation."""
    children = {
        COMMANDS_PAGE: [{name: command_uri(name)} for name in commands()],
        MODULES_PAGE: [{name: module_uri(name)} for name in packages()],
    }

    def extend(entries: list[Any]) -> None:
        for entry in entries:
            for inner in entry.values() if isinstance(entry, dict) else ():
                if isinstance(inner, list):
                    extend(inner)
        if entries and isinstance(entries[0], str):
            entries += children.pop(entries[0], [])

    extend(config.nav or [])
    if children:
        raise ValueError(f"mkdocs.yml: no list of nav begins with {', '.join(children)}")
    return config


def pages() -> dict[str, str]:
    """Return every generated page: its Markdown by its path in the site."""
    found = {COMMANDS_PAGE: commands_page(), MODULES_PAGE: modules_page()}
    found |= {command_uri(name): command_page(name) for name in commands()}
    found |= {module_uri(name): package_page(name) for name in packages()}
    return found | {
        "reference/tasks.md": tasks_page(),
        "reference/methods.md": methods_page(),
        "reference/controls.md": controls_page(),
    }


# Commands


SCRIPTS: dict[str, str] = {
    target.partition(":")[0]: script
    for script, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "scripts"
    ].items()
}
"""The console script of each module with a command."""


def commands() -> dict[str, str]:
    """Return every command as `python -m` takes it, with its console script."""
    return {module.removesuffix(".__main__"): script for module, script in SCRIPTS.items()}


def command_uri(name: str) -> str:
    """Return the path of a command's page."""
    return f"reference/commands/{name}.md"


def command_module(name: str) -> ModuleType:
    """Return the module that defines a command's `main`."""
    module = import_module(name if name in SCRIPTS else f"{name}.__main__")
    return inspect.getmodule(module.main) or module


def command_options(name: str) -> dict[str, type]:
    """Return the dataclass of options of each subcommand, or of the command itself under ""."""
    from backbone.common.options import Sources
    from backbone.pretraining.config import PretrainConfig
    from tasks.__main__ import Show
    from tasks.audit.command import Options as Check

    special: dict[str, dict[str, type]] = {
        "backbone.markov": {"": Sources},
        "backbone.pretrain": {"": PretrainConfig},
        "experiments.demo": {},
        "icl.cache": {},
        "tasks": {"list": object, "show": Show, "check": Check},
    }
    if name in special:
        return special[name]
    module = command_module(name)
    if isinstance(command := getattr(module, "COMMAND", None), Command):
        return {"": command.schema}
    if hasattr(module, "COMMANDS"):
        return {sub: options for sub, (options, _) in module.COMMANDS.items()}
    return {"": module.Options}


def commands_page() -> str:
    """Return the page that lists all commands."""
    rows = [
        (f"[`python -m {name}`]({name}.md)", f"`{script}`", summary(command_module(name)))
        for name, script in commands().items()
    ]
    return f"""# Commands

Give options as `name=value`. `--help`, or a call without arguments, lists them. A mistake gives
one line that says what to do, and exit code 2. Every command is also installed as a console script.

{table(("Command", "Script", "What it does"), rows)}
"""


def command_page(name: str) -> str:
    """Return the page of a command: its docstring and a table of options a subcommand."""
    parts = [f"# {name}", f"`python -m {name}`, or `{commands()[name]}`."]
    module = command_module(name)
    parts.append(f"{summary(module)}.")
    parts.append(as_markdown((inspect.getdoc(module) or "").partition("\n\n")[2]))
    for sub, options in command_options(name).items():
        if sub:
            parts.append(f"## {sub}\n\n`python -m {name} {sub}`")
        elif options:
            parts.append("## Options")
        parts.append(options_table(options) or "There are no options.")
    if name == "icl.run":
        parts.append(
            "In addition, `task.NAME=` sets an [option of the task](../tasks.md) and "
            "`method.NAME=` one [of the method](../methods.md); `controls=` takes the names of "
            "[controls](../controls.md)."
        )
    elif takes_methods(name):
        parts.append(
            "In addition, `task.NAME=`, `method.NAME=` (all methods that have the option) and "
            "`method.METHOD.NAME=` set options of the [task](../tasks.md) and the "
            "[methods](../methods.md); `recipe=NAME` reads options from a file."
        )
    return "\n\n".join(parts) + "\n"


def takes_methods(name: str) -> bool:
    """Return whether a command takes options of its task and methods too."""
    return "run_with_methods" in vars(command_module(name))


# Tasks, methods, controls


def tasks_page() -> str:
    """Return the page of all registered tasks, and of the options of those that have some."""
    rows, families = [], []
    for name in TASKS.names():
        entry = TASKS.get(name)
        cell = f"[`{name}`](#{name})" if isinstance(entry, TaskFamily) else f"`{name}`"
        rows.append((cell, entry.description, *size(entry)))
        if isinstance(entry, TaskFamily):
            own = options_table(options_class(name), "task.") or "No options."
            families.append(f"## {name} {{ #{name} }}\n\n{entry.description}\n\n{own}")
    listed = table(("Task", "What it asks", "Classes or labels", "Metric"), rows)
    return "\n\n".join(
        [
            "# Tasks",
            "`task=NAME` in every command. `python -m tasks show NAME` prints a task's card: "
            "source, division, rows and classes. Where their data come from is said in "
            "[tasks and data](../how-to/data.md).",
            listed,
            *families,
        ]
    )


def size(entry: Task | TaskFamily) -> tuple[str, str]:
    """Return what a task's answers are and its metric; empty for a family that needs options."""
    if isinstance(entry, TaskFamily):
        return "set by its options", ""
    if entry.kind == "regression":
        return "a number", entry.metric
    return f"{len(entry.labels)} {kind_of(entry).noun}", entry.metric


def methods_page() -> str:
    """Return the page of all methods with their options."""
    rows = [
        (f"[`{name}`](#{name})", METHODS.get(name).summary, budget(METHODS.get(name)))
        for name in sorted(METHODS.names())
    ]
    parts = [
        "# Methods",
        "Every command takes `method=NAME`, and its options as `method.OPTION=VALUE`. `k` is the "
        "method's own budget: prompt tokens, or shots per class.",
        table(("Method", "What it does", "`k`"), rows),
    ]
    for name in sorted(METHODS.names()):
        entry = METHODS.get(name)
        words = ", answers with label words" if entry.uses_backbone and entry.label_words else ""
        source = entry.cls.__module__
        facts = [
            f"- `k`: {budget(entry)}",
            f"- tasks with {', '.join(kind.replace('_', '-') for kind in entry.kinds)}",
            f"- reads {'the backbone' if entry.uses_backbone else 'only the sequence'}{words}",
            f"- source: [`{source}`](modules/{source.rpartition('.')[0]}.md#{source})",
        ]
        own = options_table(entry.config, "method.") or "It has no options."
        text = as_markdown(inspect.cleandoc(entry.cls.__doc__ or ""))
        parts += [f"## {name} {{ #{name} }}", text, "\n".join(facts), own]
    return "\n\n".join(parts)


def budget(entry: MethodEntry) -> str:
    """Return what `k` is for a method."""
    if entry.budget is None:
        return "none"
    return f"{entry.budget.replace('_', ' ')} ({entry.default_budget} by default)"


def controls_page() -> str:
    """Return the page of all controls."""
    rows = [
        (f"`{name}`", one.summary, one.needs, one.claim, one.survival)
        for name, one in CONTROLS.items()
    ]
    head = ("Control", "What it changes", "Needs", "What it tests", "How to read it")
    return f"""# Controls

`controls=[a,b]` adds controls to a run, and `controls=[all]` adds all that apply; `control=NAME`
runs only that control. [What controls are for](../concepts/controls.md).

{table(head, rows)}
"""


# Modules


def packages() -> list[str]:
    """Return the dotted names of all packages and sub-packages that hold modules."""
    found = []
    for top in PACKAGES:
        for init in sorted((ROOT / top).rglob("__init__.py")):
            found.append(".".join(init.parent.relative_to(ROOT).parts))
    return found


def module_uri(name: str) -> str:
    """Return the path of a package's page."""
    return f"reference/modules/{name}.md"


def modules_of(package: str) -> list[str]:
    """Return the dotted names of the modules that lie in a package itself."""
    folder = ROOT.joinpath(*package.split("."))
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
    return [f"{package}.{name}" for name in names]


def modules_page() -> str:
    """Return the page that lists the packages."""
    rows = [(f"[`{name}`]({name}.md)", first_line(name)) for name in packages()]
    return f"""# Modules

Imports go in one direction, `backbone` <- `tasks` <- `prompts` <- `icl` <- `experiments`.
Docstrings give the shapes of arrays: B sequences, L positions, D channels, N rows, C classes. For
everyday use, [Python](../python.md) is enough.

{table(("Package", "Contents"), rows)}
"""


def package_page(name: str) -> str:
    """Return the page of a package: the docstrings of its modules, by mkdocstrings."""
    parts = [f"# {name}", first_line(name)]
    for module in modules_of(name):
        parts.append(f"::: {module}")
    return "\n\n".join(parts) + "\n"


def first_line(name: str) -> str:
    """Return the first line of a module's docstring."""
    source = ROOT.joinpath(*name.split("."), "__init__.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


# Markdown


def options_table(options: type, prefix: str = "") -> str:
    """Return the options of a dataclass as a table; empty if there are none."""
    rows = []
    for one in described(options, prefix) if hasattr(options, "__dataclass_fields__") else ():
        choices = ", ".join(f"`{choice}`" for choice in one.choices)
        default = "must be given" if one.default == "" else f"`{one.default}`"
        values = f"one of {choices}" if choices else one.bounds
        meaning = "<br>".join(sentence(text) for text in (one.text, values) if text)
        rows.append((f"`{one.name}`", "" if one.default is None else default, meaning))
    return table(("Option", "Default", "Meaning"), rows) if rows else ""


def sentence(text: str) -> str:
    """Return a phrase of a declaration as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def summary(module: ModuleType) -> str:
    """Return the first sentence of a module's docstring."""
    text = " ".join((inspect.getdoc(module) or "").partition("\n\n")[0].split())
    text = re.sub(r"^(The command )?`?(python -m|make) [^:`]*`?: ", "", text)
    text = re.sub(r": `python -m [^`]*`\.?$", "", text).removesuffix(".")
    return sentence(text).removesuffix(".")


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown: indented lines, which are commands, as code blocks."""
    lines: list[str] = []
    for line in text.splitlines():
        code = line.startswith("    ")
        if code and lines and lines[-1] and not lines[-1].startswith("    "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


__all__ = ["on_config", "on_files", "pages"]
