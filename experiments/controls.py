"""Does a method learn, or only appear to? All controls that apply, over several seeds.

`python -m experiments.controls data=DIR` runs few_shot, soft_prompt and instruction_tuning on one
task, each without a control and under every control that can change it. It writes controls_TASK.csv
and controls_TASK.md. Finished runs are not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.common.cells import (
    Cell,
    CellOptions,
    Table,
    configuration,
    correct,
    run_cells,
    write_tables,
)
from experiments.common.command import MethodOptions, command_line, run_with_methods
from icl.config.options import RunConfig, VerbalizerConfig, resolve
from icl.methods.catalog import METHODS
from icl.reporting.summary import control_lines
from icl.reporting.verdict import Verdict, verdicts
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import as_figure, as_interval, hierarchical_bootstrap
from tasks.registry import default_options

COLUMNS = (
    *("method", "control", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("gc_matched_accuracy", "verdict", "seeds"),
)
"""A row for each method and control; `control` is empty for plain runs, without a difference."""

COMMAND = "python -m experiments.controls"


@dataclass
class Options(CellOptions):
    """Options of the command."""

    folder: ClassVar[str] = "runs-controls"
    task: str = option("enhancer_cohn", "name of the task")
    methods: list[str] = option(
        ["few_shot", "soft_prompt", "instruction_tuning"], "names of methods"
    )
    seeds: int = option(5, "runs with seed=0, 1, ... of demonstrations and training", least=1)
    split_seed: int = option(0, "seed of the random split of the rows", least=0)
    n_train: int | None = option(None, "train on a subset of this many rows", least=1)
    shots: int = option(2, "demonstrations per class, for methods with that budget", least=0)
    prompt_tokens: int = option(16, "learned vectors, for methods with that budget", least=0)
    prompt_shots: int = option(
        0, "demonstrations per class in addition to learned vectors", least=0
    )
    other_task: str = option("synthetic_easy", "task whose rows demos_other_task uses")
    verbalizer: VerbalizerConfig = option(VerbalizerConfig, "")


def configurations(options: Options, words: MethodOptions) -> list[RunConfig]:
    """Return the plain run of each method at seed 0, with all controls that apply in `controls`.

    Args:
        options: Options of the command.
        words: Options of each method, as `NAME=VALUE`.

    Raises:
        InputError: If no run can have these options.
    """
    if not options.methods:
        raise InputError("methods=[]: give at least one method")
    found = []
    budgets = {"prompt_tokens": options.prompt_tokens, "shots": options.shots}
    for name in options.methods:
        task = default_options(options.task)
        given = words.get(name, ())
        config = configuration(options, task, name, given, budgets, backbone=options.backbone)
        found.append(
            resolve(
                replace(
                    config,
                    shots=options.prompt_shots
                    if "shots" in METHODS.get(name).extra_budgets
                    else None,
                    controls=["all"],
                    split_seed=options.split_seed,
                    n_train=options.n_train,
                    other_task=options.other_task,
                    verbalizer=options.verbalizer,
                )
            )
        )
    return found


def cells(configs: Sequence[RunConfig], seeds: int) -> list[Cell]:
    """Return every run: for each seed all methods, each plainly and then under its controls."""
    return [
        Cell(
            (config.method.name, control), replace(config, seed=seed, control=control, controls=[])
        )
        for seed in range(seeds)
        for config in configs
        for control in (None, *config.controls)
    ]


def tabulate(finished: Table) -> tuple[pd.DataFrame, list[Verdict]]:
    """Return a row for each method and control, with the columns COLUMNS, and the verdicts.

    Intervals are for new seeds and new test rows together. Differences are those of the plain runs
    minus the controlled ones, on the same rows.
    """
    by_method: dict[object, list[Finished]] = {}
    for (method, _), runs in finished.items():
        by_method.setdefault(method, []).extend(runs)
    rows: list[dict[str, Any]] = []
    found: list[Verdict] = []
    for method, runs in by_method.items():
        of_method = verdicts([one.report for one in runs], [one.folder for one in runs])
        rows.append(_row(str(method), None, finished[method, None]))
        for verdict in of_method:
            rows.append(_row(str(method), verdict, finished[method, verdict.control]))
        found += of_method
    return pd.DataFrame(rows, columns=list(COLUMNS)), found


def _row(method: str, verdict: Verdict | None, runs: Sequence[Finished]) -> dict[str, Any]:
    accuracy = hierarchical_bootstrap(np.stack(correct(runs)))
    difference = None if verdict is None else verdict.difference
    return {
        "method": method,
        "control": "" if verdict is None else verdict.control,
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "difference": np.nan if difference is None else difference.value,
        "difference_low": np.nan if difference is None else difference.low,
        "difference_high": np.nan if difference is None else difference.high,
        "gc_matched_accuracy": np.mean(
            [one.report.outcome.gc_matched_accuracy.value for one in runs]
        ),
        "verdict": "" if verdict is None else verdict.words,
        "seeds": len(runs),
    }


def markdown(table: pd.DataFrame, found: Sequence[Verdict], command: str) -> str:
    """Return the table, followed by the verdict of every control on every method."""
    lines = [
        f"Made by `{command}`.",
        "",
        "| method | control | accuracy | 95 % | plain minus control | GC-matched accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        points = [100 * row[f"difference{end}"] for end in ("", "_low", "_high")]
        difference = "" if np.isnan(points[0]) else "{:+.1f} [{:.1f}, {:.1f}]".format(*points)
        matched = row["gc_matched_accuracy"]
        cells = (
            row["method"],
            row["control"] or "none",
            as_figure(row["accuracy"]),
            as_interval(row["low"], row["high"]),
            difference,
            as_figure(matched),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Differences are in points of accuracy.", ""]
    verdict_lines = control_lines(found)
    lines += [
        f"  {line.strip()}" if line.startswith(" ") else f"- {line}" for line in verdict_lines[:-1]
    ]
    return "\n".join([*lines, "", *verdict_lines[-1:], ""])


def run_controls(options: Options, words: MethodOptions) -> list[Path]:
    """Do all runs, write the tables and return their paths.

    Args:
        options: Options of the command.
        words: Options of each method, as `NAME=VALUE`.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    configs = configurations(options, words)
    table, found = tabulate(run_cells(cells(configs, options.seeds), minutes=options.minutes))
    text = markdown(table, found, command_line(COMMAND, options, words))
    print(f"\n{text}")
    stem = f"controls_{TASKS.get(options.task).name}"
    contents = {f"{stem}.csv": table.to_csv(index=False), f"{stem}.md": text}
    return write_tables(options.out_folder, contents)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    forms = ("method.NAME=VALUE", "method.METHOD.NAME=VALUE")
    return run_with_methods(COMMAND, Options, run_controls, arguments, forms=forms)


if __name__ == "__main__":
    sys.exit(main())
