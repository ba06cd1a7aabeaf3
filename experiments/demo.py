"""`make demo`: soft prompts of four lengths and the baselines on a synthetic task, then the curve.

Every run goes the way of `python -m icl.run`, one after another in one process, so that the
libraries are imported once. A second call finds the finished runs and only draws the picture.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

from experiments.common.command import exit_code
from experiments.curve import Options, aggregate, curves
from icl.config.options import RunConfig, TaskConfig, resolve
from icl.method import MethodConfig
from icl.methods.catalog import METHODS
from icl.methods.soft_prompt import SoftPromptConfig
from icl.results import results
from icl.run import run

TASK = "synthetic_easy"
OUT = Path("runs-demo")
BASELINES = ("majority", "gc_only", "kmer_logreg", "linear_probe")
PROMPT_TOKENS = (0, 4, 16, 64)
EPOCHS = 10
"""Half of what a real task is given: the motif is found within five."""


def configurations(out: Path) -> list[RunConfig]:
    """The runs of the demonstration: the baselines, then prompts from short to long."""
    budgets = [(name, None) for name in BASELINES] + [("soft_prompt", k) for k in PROMPT_TOKENS]
    return [
        resolve(
            RunConfig(
                task=TaskConfig(name=TASK),
                method=_method(name),
                k=k,
                out=str(out),
            )
        )
        for name, k in budgets
    ]


def _method(name: str) -> MethodConfig:
    if name == "soft_prompt":
        return SoftPromptConfig(name=name, epochs=EPOCHS)
    return METHODS.get(name).config(name=name)


def sentence(table: pd.DataFrame, best: float) -> str:
    """What the curve says, in one sentence.

    Args:
        table: the curve's table, as `experiments.curve.aggregate` returns it.
        best: best possible accuracy.
    """
    line = table[table["method"] == "soft_prompt"].sort_values("prompt_tokens")
    first, last = line.iloc[0], line.iloc[-1]
    return (
        f"With {last['prompt_tokens']} prompt tokens the frozen backbone reaches an accuracy of "
        f"{last['mean']:.3f} (95 % interval {last['low']:.3f} to {last['high']:.3f}), "
        f"{last['mean'] - first['mean']:+.3f} against {first['prompt_tokens']} tokens; "
        f"the best possible is {best:.3f}."
    )


def demonstrate(out: Path) -> None:
    """Does all runs, draws the curve and says where to look."""
    start = time.monotonic()
    planned = configurations(out)
    for number, config in enumerate(planned, start=1):
        budget = "" if config.k is None else f" with {config.k} prompt tokens"
        print(f"[{number}/{len(planned)}] {config.method.name}{budget}", flush=True)
        (finished,) = run(config)
        accuracy = finished.report.outcome.metrics["accuracy"]
        known = " (finished before)" if finished.was_there else ""
        print(
            f"      accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]{known}"
        )
    picture, _, table = curves(Options(runs=str(out), task=TASK))
    frame = results(out)
    print(f"\nDone in {time.monotonic() - start:.0f} seconds.")
    print(sentence(aggregate(frame), frame["best_accuracy"].iloc[0]))
    print(f"Picture: {picture}\nTable:   {table}")


def main() -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    return exit_code(lambda: demonstrate(OUT))


if __name__ == "__main__":
    sys.exit(main())
