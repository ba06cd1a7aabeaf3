"""`task=[a,b] method=[x,y]`: a command line for every task with every method.

Each line keeps the options that its task and its method have: `method.lr=0.1` goes to the methods
with that option, `method.soft_prompt.lr=0.1` to one of them; so do `task.NAME` and
`task.TASK.NAME`. A budget goes to the methods that have it. An option that no line keeps is
refused.
"""

from collections.abc import Sequence
from dataclasses import fields

from backbone.common.errors import InputError
from backbone.common.options import not_an_option
from backbone.common.plugins import load_plugins
from icl.method import MethodEntry
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tasks.registry import options_class

GROUPS = ("task", "method")


def is_product(words: Sequence[str]) -> bool:
    """Return whether a command line has a list of tasks or of methods."""
    return any(word.startswith(tuple(f"{group}=[" for group in GROUPS)) for word in words)


def product(words: Sequence[str]) -> list[list[str]]:
    """Return the command line of every task with every method, task by task.

    Raises:
        InputError: If a name is unknown, or an option is none of any task or method.
    """
    load_plugins(words)
    for word in words:
        if word.startswith("-"):
            raise InputError(f"{word}: cannot be combined with task=[...] or method=[...]")
        if "=" not in word:
            raise not_an_option(word)
    pairs = [word.partition("=")[::2] for word in words]
    chosen = {group: _names(group, pairs) for group in GROUPS}
    used: set[str] = set()
    lines = []
    for task in chosen["task"]:
        for method in chosen["method"]:
            line = [f"task={task}", f"method={method}"]
            for key, value in pairs:
                own = key if key in GROUPS else _own(key, task, METHODS.get(method))
                if own is not None:
                    used.add(key)
                    line += [] if key in GROUPS else [f"{own}={value}"]
            lines.append(line)
    for key, value in pairs:
        if key not in used:
            names = ", ".join(chosen["task" if key.startswith("task.") else "method"])
            raise InputError(f"{key}={value}: none of {names} has this option")
    return lines


def _names(group: str, pairs: Sequence[Sequence[str]]) -> list[str]:
    """Return the tasks or methods of a command line, each once, by their registered names."""
    given = [value for key, value in pairs if key == group]
    if not given:
        raise InputError(f"{group}= is missing; it must be given")
    names = [name.strip() for name in given[-1].strip("[]").split(",") if name.strip()]
    if not names:
        raise InputError(f"{group}=[]: give at least one")
    get = (lambda n: TASKS.get(n).name) if group == "task" else (lambda n: METHODS.get(n).cls.name)
    return list(dict.fromkeys(map(get, names)))


def _own(key: str, task: str, method: MethodEntry) -> str | None:
    """Return an option as the run of a task with a method has it; None if it has none."""
    group, _, name = key.partition(".")
    if key in ("k", "prompt_tokens", "shots"):
        budgets = {method.budget, *method.extra_budgets} - {None}
        return key if key in budgets or (key == "k" and method.budget) else None
    if group == "verbalizer":
        return key if method.label_words else None
    if group not in GROUPS:
        return key
    schema = options_class(task) if group == "task" else method.config
    own, names = (task, TASKS.names()) if group == "task" else (method.cls.name, METHODS.names())
    first, _, rest = name.partition(".")
    if rest and first in names:
        return f"{group}.{rest}" if first == own else None
    return key if first in {field.name for field in fields(schema)} else None
