"""What `python -m icl.run --help` says."""

from icl.config import options
from icl.config.options import RunConfig
from icl.controls import CONTROLS
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tasks.registry import options_class

_EXAMPLES = (
    "python -m icl.run task=synthetic_easy method=soft_prompt k=16",
    "python -m icl.run task=enhancer_cohn method=kmer_logreg data=FOLDER",
    "python -m icl.run task=enhancer_cohn method=soft_prompt k=16 seeds=3 method.lr=1e-2",
    "python -m icl.run task=enhancer_cohn method=few_shot k=4 seeds=5 controls=[all]",
    "python -m icl.run -m task=enhancer_cohn method=majority,gc_only,linear_probe",
    "python -m icl.run task=enhancer_cohn method=soft_prompt --cfg job   # show, do not run",
)


def help_text() -> str:
    """Every task and every method with its options, every option of a run, and examples."""
    lines = ["Fit one method on one task and report it, with a frozen backbone.", "", "Examples"]
    lines += [f"  {line}" for line in _EXAMPLES] + ["", "Tasks (task=)"]
    lines += _aligned({name: TASKS.get(name).description for name in TASKS.names()})
    lines += ["", "Methods (method=)"]
    lines += _aligned({name: _method(name) for name in METHODS.names()})
    lines += ["", "Controls (controls=[...], or control= for one alone)"]
    lines += _aligned({name: control.summary for name, control in CONTROLS.items()})
    lines += ["", "Options"]
    lines += _options(RunConfig, "")
    for name in TASKS.names():
        own = _options(options_class(name), "task.")
        lines += ["", f"Options of task={name}", *own] if own else []
    for name in METHODS.names():
        own = _options(METHODS.get(name).config, "method.")
        lines += ["", f"Options of method={name}", *own] if own else []
    return "\n".join(lines)


def _method(name: str) -> str:
    made = METHODS.get(name)
    beyond = [kind for kind in made.kinds if kind != "classes"]
    return f"{made.summary} [also {', '.join(beyond)}]" if beyond else made.summary


def _options(schema: type, prefix: str) -> list[str]:
    found = options.option_help(schema)
    return _aligned({f"{prefix}{name}={value}": text for name, (value, text) in found.items()})


def _aligned(rows: dict[str, str]) -> list[str]:
    width = min(max((len(left) for left in rows), default=0), 40)
    return [f"  {left:<{width}}  {right}".rstrip() for left, right in rows.items()]
