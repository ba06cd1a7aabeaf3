"""`make demo`: soft prompts of four lengths and the baselines on a synthetic task, then the curve.

The runs are those of `python -m icl.run`, but in one process, which imports the libraries only
once. A second call finds the finished runs and only draws the figure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from backbone.common.command import emit_files, entry_point
from backbone.common.errors import InputError
from experiments.common.cells import Cell, run_cells
from experiments.common.command import exit_code
from experiments.common.points import aggregate
from experiments.curve import Options, curves
from icl.config.options import RunConfig, TaskConfig, resolve
from icl.methods.catalog import METHODS
from icl.methods.soft_prompt import SoftPromptConfig
from icl.results import load_results
from tasks.metrics.bootstrap import as_interval

TASK = "synthetic_easy"
OUT = Path("runs-demo")
BASELINES = ("majority", "gc_only", "kmer_logreg", "linear_probe")
PROMPT_TOKENS = (0, 4, 16, 64)
HELP = (
    "python -m experiments.demo\n\n"
    f"Soft prompts of {len(PROMPT_TOKENS)} lengths and {len(BASELINES)} baselines on {TASK}, "
    f"offline, with a figure in {OUT}; it has no options but --json."
)
EPOCHS = 10
"""Half of what a real task needs: the motif is found within five."""


def configurations(out: Path) -> list[RunConfig]:
    """Return the runs of the demonstration: the baselines, then prompts from short to long."""
    prompt = SoftPromptConfig(name="soft_prompt", epochs=EPOCHS)
    methods = [(METHODS.get(name).config(name=name), None) for name in BASELINES]
    return [
        resolve(RunConfig(task=TaskConfig(name=TASK), method=method, k=k, out=str(out)))
        for method, k in [*methods, *((prompt, k) for k in PROMPT_TOKENS)]
    ]


def sentence(table: pd.DataFrame, best: float) -> str:
    """Return what the curve shows in one sentence.

    Args:
        table: Points, as `experiments.common.points.aggregate` returns them.
        best: Best possible accuracy.
    """
    line = table[table["method"] == "soft_prompt"].sort_values("prompt_tokens")
    first, last = line.iloc[0], line.iloc[-1]
    return (
        f"With {last['prompt_tokens']} prompt tokens the frozen backbone reaches an accuracy of "
        f"{last['mean']:.3f} (95 % interval {as_interval(last['low'], last['high'])}), "
        f"{last['mean'] - first['mean']:+.3f} against {first['prompt_tokens']} tokens; "
        f"the best possible is {best:.3f}."
    )


def demonstrate(out: Path) -> None:
    """Do all runs, draw the curve and say where its files are."""
    start = time.monotonic()
    budget = "prompt tokens"
    run_cells(
        [
            Cell((config.method.name, None if config.k is None else f"{config.k} {budget}"), config)
            for config in configurations(out)
        ]
    )
    picture, _, table = curves(Options(runs=str(out), task=TASK))
    frame = load_results(out)
    print(f"\nDone in {time.monotonic() - start:.0f} seconds.")
    print(sentence(aggregate(frame), frame["best_accuracy"].iloc[0]))
    emit_files(f"Picture: {picture}\nTable:   {table}", picture, table)


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    if {"-h", "--help"} & set(words):
        return exit_code(lambda: [HELP])
    return exit_code(lambda: _demonstrate_alone(words))


def _demonstrate_alone(words: Sequence[str]) -> None:
    if words:
        raise InputError(f"the demonstration has no options; leave out {words[0]!r}")
    demonstrate(OUT)


if __name__ == "__main__":
    sys.exit(main())
