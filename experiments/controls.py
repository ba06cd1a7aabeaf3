"""Does a method learn what it seems to learn? All controls that apply, over several seeds.

`python -m experiments.controls data=DIR` runs few_shot, soft_prompt and instruction_tuning on one
task, each plainly and under every control that can change it, and writes controls_TASK.csv and
controls_TASK.md. Finished runs are not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option, read_options
from experiments.common.command import exit_code
from experiments.common.own_options import print_help, read_words
from experiments.common.run_all import Planned, run_planned
from icl.config.options import RunConfig, VerbalizerConfig, resolve
from icl.methods.catalog import METHODS
from icl.reporting.report import correct_rows
from icl.reporting.summary import control_lines
from icl.reporting.verdict import Verdict, verdicts
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import hierarchical_bootstrap
from tasks.registry import default_options

COLUMNS = (
    *("method", "control", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("gc_matched_accuracy", "verdict", "seeds"),
)
"""A row a method and control; `control` is empty for plain runs, which have no difference."""

COMMAND = "python -m experiments.controls"
EXAMPLES = (("METHOD.NAME=VALUE", "an option of a method, as few_shot.chooser=nearest"),)


@dataclass
class Options:
    """What the command line can set."""

    task: str = option("enhancer_cohn", "the task")
    methods: list[str] = option(["few_shot", "soft_prompt", "instruction_tuning"], "the methods")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option("runs-controls", "folder of the runs and of the tables")
    seeds: int = option(5, "draws of demonstrations and training, seed=0, 1, ...")
    split_seed: int = option(0, "division of the rows")
    n_train: int | None = option(None, "learn from a subset of so many rows")
    backbone: str = option("bundled", "a checkpoint's name, or a folder")
    shots: int = option(2, "demonstrations per class of methods with that budget")
    prompt_tokens: int = option(16, "learned vectors of methods with that budget")
    prompt_shots: int = option(0, "demonstrations per class beside learned vectors")
    other_task: str = option("synthetic_easy", "whose rows stand for demonstrations in a control")
    words: list[str] | None = option(None, "label words, one a class, as [A,N]")
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(2, "threads of the arithmetic")


def configurations(options: Options, own: Mapping[str, Sequence[str]]) -> list[RunConfig]:
    """The plain run of each method at seed 0, `controls` holding all that apply to it.

    Args:
        options: What the command line set.
        own: For a method its own options, as `name=value`.

    Raises:
        InputError: For options that no run can have.
    """
    if options.seeds < 1 or not options.methods:
        raise InputError(f"seeds={options.seeds}: must be 1 or more, of at least one method")
    for name in own:
        if name not in options.methods:
            raise InputError(f"{name}.: no method of this run; methods={options.methods}")
    found = []
    for name in options.methods:
        entry = METHODS.get(name)
        method = replace(read_options(entry.config, own.get(name, ())), name=name)
        beside = options.prompt_shots if "shots" in entry.also else None
        budget = None if entry.budget is None else getattr(options, entry.budget)
        shared = ("data", "out", "split_seed", "n_train", "backbone", "other_task", "device")
        found.append(
            resolve(
                RunConfig(
                    task=default_options(options.task),
                    method=method,
                    k=budget,
                    shots=beside,
                    controls=["all"],
                    threads=options.threads,
                    verbalizer=VerbalizerConfig(words=options.words),
                    **{one: getattr(options, one) for one in shared},
                )
            )
        )
    return found


def planned_runs(configs: Sequence[RunConfig], seeds: int) -> list[Planned]:
    """Every single run: for each seed all methods, each plainly and then under its controls."""
    planned = []
    for seed in range(seeds):
        for config in configs:
            for control in (None, *config.controls):
                single = replace(config, seed=seed, control=control, controls=[])
                name = config.method.name if control is None else f"{config.method.name}, {control}"
                planned.append(Planned(name, f"{name}, seed={seed}", single))
    return planned


def tabulate(finished: Sequence[Finished]) -> tuple[pd.DataFrame, list[Verdict]]:
    """A row per method and control, with the columns COLUMNS, and what the controls say.

    Accuracies have intervals for new seeds and new test rows together; so have the differences,
    the plain runs minus the controlled ones on the same rows.
    """
    by_method: dict[str, list[Finished]] = {}
    for done in finished:
        by_method.setdefault(done.report.setup.method, []).append(done)
    rows: list[dict[str, Any]] = []
    found: list[Verdict] = []
    for method, runs in by_method.items():
        said = verdicts([one.report for one in runs], [one.folder for one in runs])
        rows.append(_row(method, None, [one for one in runs if one.report.setup.control is None]))
        for verdict in said:
            same = [one for one in runs if one.report.setup.control == verdict.control]
            rows.append(_row(method, verdict, same))
        found += said
    return pd.DataFrame(rows, columns=list(COLUMNS)), found


def _row(method: str, verdict: Verdict | None, runs: Sequence[Finished]) -> dict[str, Any]:
    accuracy = hierarchical_bootstrap(np.stack([correct_rows(one.folder) for one in runs]))
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
    """The table and, in words, what every control says about every method."""
    lines = [
        f"Made by `{command}`.",
        "",
        "| method | control | accuracy | 95 % | plain minus control | GC-matched accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        points = [100 * row[f"difference{end}"] for end in ("", "_low", "_high")]
        difference = "" if np.isnan(points[0]) else "{:+.1f} [{:.1f}, {:.1f}]".format(*points)
        cells = (
            row["method"],
            row["control"] or "none",
            f"{row['accuracy']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            difference,
            f"{row['gc_matched_accuracy']:.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Differences are in points of accuracy.", ""]
    said = control_lines(found)
    lines += [f"  {line.strip()}" if line.startswith(" ") else f"- {line}" for line in said[:-1]]
    return "\n".join([*lines, "", *said[-1:], ""])


def run_controls(options: Options, own: Mapping[str, Sequence[str]]) -> list[Path]:
    """Does all runs and writes the tables; returns their paths.

    Args:
        options: What the command line set.
        own: For a method its own options, as `name=value`.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    configs = configurations(options, own)
    table, found = tabulate(run_planned(planned_runs(configs, options.seeds)))
    text = markdown(table, found, _command(options, own))
    print(f"\n{text}")
    stem = Path(options.out).expanduser() / f"controls_{TASKS.get(options.task).name}"
    contents = {
        stem.with_name(f"{stem.name}.csv"): table.to_csv(index=False),
        stem.with_name(f"{stem.name}.md"): text,
    }
    for path, content in contents.items():
        write_text(path, content)
    return list(contents)


def _command(options: Options, own: Mapping[str, Sequence[str]]) -> str:
    """The command line with all that matters, wherever data and runs lie."""
    words = []
    for field in fields(Options):
        value = getattr(options, field.name)
        if value is None or field.name in ("data", "out"):
            continue
        shown = f"[{','.join(value)}]" if isinstance(value, list) else value
        words.append(f"{field.name}={shown}")
    words += [f"{name}.{one}" for name, given in own.items() for one in given]
    return " ".join([f"{COMMAND} data=$ICL_DATA", *words])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print_help(Options, COMMAND, EXAMPLES)
        return 0
    return exit_code(lambda: run_controls(*read_words(Options, arguments)))


if __name__ == "__main__":
    sys.exit(main())
