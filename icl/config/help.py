"""The help of `python -m icl.run`: a screenful about the chosen task and method, or everything."""

import textwrap
from collections.abc import Iterable, Sequence

from backbone.common.json_output import JSON, JSON_HELP
from backbone.common.options import aligned, option_lines
from icl.config.options import RunConfig
from icl.controls import CONTROLS
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tasks.registry import options_class

WIDTH = 100

EXAMPLES = (
    "python -m icl.run task=synthetic_easy method=soft_prompt k=16",
    "python -m icl.run task=enhancer_cohn method=few_shot k=4 seeds=5 controls=[all] data=FOLDER",
    'python -m icl.run "task=[enhancer_cohn,ocr_ensembl]" "method=[majority,linear_probe]"',
    "python -m icl.run -m task=enhancer_cohn method=soft_prompt k=0,2,16",
    "python -m icl.run task=enhancer_cohn method=soft_prompt --cfg job   # show, do not run",
)

COMMON = ("k", "shots", "seed", "seeds", "n_train", "controls", "backbone", "data", "out")
"""Options of a run that the short help shows."""

ALL = "--help=all"
MORE = (
    f"{ALL} shows every option of every task and method, and the controls; {JSON} prints "
    f"{JSON_HELP}."
)


def help_text(words: Sequence[str] = ()) -> str:
    """Return the help that a command line asks for.

    Args:
        words: Its words. With `--help=all` the help is everything; with task= or method= it is
            what they take; else the names of all tasks and methods.

    Raises:
        InputError: If the task or the method is unknown.
    """
    if ALL in words:
        return _everything()
    chosen = {key: value for key, _, value in (word.partition("=") for word in words)}
    lines = ["Fit one method on one task and report it, with a frozen backbone.", ""]
    task, method = chosen.get("task"), chosen.get("method")
    if task is None and method is None:
        lines += ["Examples", *(f"  {line}" for line in EXAMPLES), ""]
    if task is None:
        lines += ["Tasks (task=; python -m tasks list describes them)", *_names(TASKS.names()), ""]
    else:
        lines += _options_of(f"task={TASKS.get(task).name}", options_class(task), "task.")
        lines += [f"  python -m tasks show {task} describes the task", ""]
    if method is None:
        lines += ["Methods (method=)", *_names(METHODS.names()), ""]
    else:
        entry = METHODS.get(method)
        lines += [f"method={entry.cls.name}: {entry.summary}"]
        lines += _options_of(f"method={entry.cls.name}", entry.config, "method.")
        lines += [f"  k is {entry.budget}" if entry.budget else "  this method has no k", ""]
    if task is not None or method is not None:
        options = option_lines(RunConfig).items()
        common = {line: text for line, text in options if line.partition("=")[0] in COMMON}
        lines += ["Common options", *aligned(common), ""]
    if task is None or method is None:
        lines += ["task=NAME method=NAME --help lists the options of that task and method."]
    return "\n".join([*lines, MORE])


def _options_of(title: str, schema: type, prefix: str) -> list[str]:
    own = option_lines(schema, prefix)
    return [f"Options of {title}", *(aligned(own) if own else ["  none"])]


def _names(names: Iterable[str]) -> list[str]:
    text = ", ".join(names)
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _everything() -> str:
    """Return every task and method with its options, every option of a run, and examples."""
    lines = ["Fit one method on one task and report it, with a frozen backbone.", "", "Examples"]
    lines += [f"  {line}" for line in EXAMPLES] + ["", "Tasks (task=)"]
    lines += aligned({name: TASKS.get(name).description for name in TASKS.names()})
    lines += ["", "Methods (method=)"]
    lines += aligned({name: _method(name) for name in METHODS.names()})
    lines += ["", "Controls (controls=[...], or control= for only one)"]
    lines += aligned({name: control.summary for name, control in CONTROLS.items()})
    lines += ["", "Options"]
    lines += aligned(option_lines(RunConfig))
    for name in TASKS.names():
        own = aligned(option_lines(options_class(name), "task."))
        lines += ["", f"Options of task={name}", *own] if own else []
    for name in METHODS.names():
        own = aligned(option_lines(METHODS.get(name).config, "method."))
        lines += ["", f"Options of method={name}", *own] if own else []
    return "\n".join(lines)


def _method(name: str) -> str:
    made = METHODS.get(name)
    beyond = [kind for kind in made.kinds if kind != "classes"]
    return f"{made.summary} [also {', '.join(beyond)}]" if beyond else made.summary
