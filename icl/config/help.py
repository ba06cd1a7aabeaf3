"""What `python -m icl.run --help` says."""

from backbone.common.options import aligned, option_lines
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
    lines += aligned({name: TASKS.get(name).description for name in TASKS.names()})
    lines += ["", "Methods (method=)"]
    lines += aligned({name: _method(name) for name in METHODS.names()})
    lines += ["", "Controls (controls=[...], or control= for one alone)"]
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
