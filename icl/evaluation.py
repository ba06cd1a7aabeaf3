"""One run in one call: `python -m icl.run` for notebooks and scripts."""

from collections.abc import Mapping
from typing import Any

from backbone.common.errors import InputError
from icl.config.options import configure
from icl.reporting.report import Report
from icl.run import run


def evaluate(
    task: str,
    method: str,
    *,
    k: int | None = None,
    prompt_tokens: int | None = None,
    shots: int | None = None,
    seed: int = 0,
    n_train: int | None = None,
    control: str | None = None,
    backbone: str = "bundled",
    data: str | None = None,
    out: str = "runs",
    device: str = "cpu",
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Fit a method on a task, score it once on the test rows and return the report.

    A run that is finished in `out` is read, not repeated. One call is one run: call it once per
    seed or control, and read them all with `icl.load_results`.

    Args:
        task: Name of the task; `python -m tasks list` shows all.
        method: Name of the method; `python -m icl.run` lists all.
        k: The method's budget: prompt tokens, or shots per class.
        prompt_tokens: Learned vectors, for methods that have some.
        shots: Demonstrations per class, for methods that take some.
        seed: Seed of training and of everything drawn at random.
        n_train: Train on a stratified subset of this many rows; None takes all.
        control: Name of a control, such as `random_backbone`; None is a run without a control.
        backbone: Name of a checkpoint, a folder, or random:NAME.
        data: Folder of tables; falls back to the variable ICL_DATA, then to the Hub.
        out: Folder in which runs are kept.
        device: cpu, cuda or mps.
        options: Any other option by its name on the command line, such as
            `{"method.lr": 0.01, "task.label": "y", "evaluate": "val"}`.

    Raises:
        InputError: If an option, the data or the backbone cannot be used.
    """
    named = {
        "k": k,
        "prompt_tokens": prompt_tokens,
        "shots": shots,
        "seed": seed,
        "n_train": n_train,
        "control": control,
        "backbone": backbone,
        "data": data,
        "out": out,
        "device": device,
    }
    for name in options or {}:
        if name in named:
            raise InputError(
                f"{name}: is an argument of evaluate; give it as {name}=, not in options"
            )
        if name in ("seeds", "controls"):
            raise InputError(f"{name}: one call is one run; call evaluate once for each")
    (finished,) = run(configure(task, method, named | dict(options or {})))
    return finished.report
