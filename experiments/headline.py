"""What soft prompting gives on one task: beside the baselines and controls, on the same rows.

`python -m experiments.headline data=DIR` fits every competitor on several divisions of the rows and
writes two tables, headline_TASK_METHOD.csv (a row a competitor) and headline_TASK_METHOD_paired.csv
(prompting minus each of the others), and both as text, headline_TASK_METHOD.md. Finished runs are
not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import help_text, option, read_options
from experiments.common.command import exit_code
from experiments.common.run_all import Planned, run_planned
from icl.config.options import RunConfig, VerbalizerConfig, resolve
from icl.methods.catalog import METHODS
from icl.reporting.report import correct_rows
from icl.reporting.verdict import points
from icl.run import Finished
from tasks.division import same_sequence
from tasks.metrics.bootstrap import Estimate, hierarchical_difference, mean_over_divisions
from tasks.registry import build_task, default_options
from tasks.task import data_folder

OWN = "method."
"""What stands before an option of soft_prompt on the command line."""

PROMPT, NO_PROMPT, RANDOM = "prompt", "prompt of 0 tokens", "prompt, random backbone"
SHUFFLED = "prompt, shuffled labels"
OPPONENTS = ("gc_only", "kmer_logreg", "linear_probe", NO_PROMPT, RANDOM)
"""What soft prompting is compared with, row by row."""


@dataclass
class Options:
    """What the command line can set."""

    task: str = option("enhancer_cohn", "the task")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option("runs-headline", "folder of the runs and of the tables")
    split_seeds: int = option(5, "divisions of the rows, split_seed=0, 1, ...")
    backbone: str = option("bundled", "a checkpoint's name, or a folder")
    k: int = option(16, "prompt tokens, at least 1")
    method: str = option("soft_prompt", "how prompts are learned: soft_prompt or deep_prompt")
    words: list[str] | None = option(None, "label words, one a class, as [A,N]")
    controls: list[str] = option(
        ["random", "shuffled"], "backbone and labels taken away; [] for none"
    )
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(2, "threads of the arithmetic")


@dataclass(frozen=True)
class Table:
    """What the runs say.

    Attributes:
        methods: A row a competitor: method, accuracy and its interval over divisions, low and high,
            gc_matched_accuracy, auroc, validation_accuracy, n (divisions).
        paired: A row an opponent: method, minus, difference, low, high (accuracy), rows, sequences.
    """

    methods: pd.DataFrame
    paired: pd.DataFrame


def competitors(options: Options, own: Mapping[str, Any]) -> dict[str, RunConfig]:
    """The runs of one division by the names they have in the tables, with split_seed=0.

    Args:
        options: What the command line set.
        own: Options of the soft prompts; all of them, also without vectors, get the same.

    Raises:
        InputError: For options that no run can have.
    """
    if options.k < 1 or options.split_seeds < 1:
        raise InputError(f"k={options.k} and split_seeds={options.split_seeds} must be 1 or more")
    if unknown := set(options.controls) - {"random", "shuffled"}:
        raise InputError(f"controls: {', '.join(sorted(unknown))} is none of random, shuffled")
    if options.backbone.startswith("random:"):
        raise InputError(f"backbone={options.backbone}: the random control is run beside; drop it")

    def config(method: str, values: Mapping[str, Any], **changes: Any) -> RunConfig:
        common = {name: getattr(options, name) for name in ("backbone", "data", "out", "device")}
        settings = {"k": options.k, "threads": options.threads, **common, **changes}
        chosen = METHODS.get(method).config(name=method, **values)
        if method == options.method:
            settings["verbalizer"] = VerbalizerConfig(words=options.words)
        return resolve(RunConfig(task=default_options(options.task), method=chosen, **settings))

    baselines = ("majority", "gc_only", "kmer_logreg", "linear_probe")
    found = {name: config(name, {}) for name in baselines}
    found[NO_PROMPT] = config(options.method, own, k=0)
    found[PROMPT] = config(options.method, own)
    if "random" in options.controls:
        found[RANDOM] = config(options.method, own, backbone=f"random:{options.backbone}")
    if "shuffled" in options.controls:
        found[SHUFFLED] = config(options.method, own, control="train_labels_shuffled")
    return found


def run_all(
    planned: Mapping[str, RunConfig], split_seeds: int, show: Callable[[str], None] = print
) -> dict[str, list[Finished]]:
    """Does all runs, one division after the other.

    Args:
        planned: Runs of one division by name.
        split_seeds: Divisions.
        show: Receives two lines about every run.

    Returns:
        For each name its runs, one a division, in order.
    """
    order = [(seed, name) for seed in range(split_seeds) for name in planned]
    runs = run_planned(
        [
            Planned(name, f"{name}, split_seed={seed}", replace(planned[name], split_seed=seed))
            for seed, name in order
        ],
        show,
    )
    finished: dict[str, list[Finished]] = {name: [] for name in planned}
    for (_, name), done in zip(order, runs, strict=True):
        finished[name].append(done)
    return finished


def tabulate(finished: Mapping[str, Sequence[Finished]], groups: np.ndarray) -> Table:
    """Averages over divisions, and differences on the same rows of each division.

    Args:
        finished: For each competitor its runs, one a division, all in the same order.
        groups: (N,) numbers of the sequences of all evaluated rows, division after division. The
            test sets of the divisions overlap; rows of one sequence are one group.
    """
    methods = []
    for name, runs in finished.items():
        reports = [done.report for done in runs]
        accuracy = mean_over_divisions([report.outcome.metrics["accuracy"] for report in reports])
        methods.append(
            {
                "method": name,
                "accuracy": accuracy.value,
                "low": accuracy.low,
                "high": accuracy.high,
                "gc_matched_accuracy": _mean(r.outcome.gc_matched_accuracy.value for r in reports),
                "auroc": _mean(report.outcome.metrics["auroc"].value for report in reports),
                "validation_accuracy": _mean(r.outcome.validation["accuracy"] for r in reports),
                "n": len(reports),
            }
        )
    ours = _correct(finished[PROMPT])
    by_division = np.split(groups, np.cumsum([len(rows) for rows in ours])[:-1])
    paired = []
    for name in (name for name in OPPONENTS if name in finished):
        one = hierarchical_difference(ours, _correct(finished[name]), by_division)
        paired.append(
            {
                "method": PROMPT,
                "minus": name,
                "difference": one.value,
                "low": one.low,
                "high": one.high,
                "rows": len(groups),
                "sequences": len(np.unique(groups)),
            }
        )
    return Table(pd.DataFrame(methods), pd.DataFrame(paired))


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _correct(runs: Sequence[Finished]) -> list[np.ndarray]:
    """Whether each evaluated row was right, one array a division."""
    return [correct_rows(done.folder) for done in runs]


def words(row: Mapping[Any, Any]) -> str:
    """One row of the paired table in words."""
    return points(row["method"], row["minus"], Estimate(row["difference"], row["low"], row["high"]))


def markdown(table: Table, command: str, origin: str) -> str:
    """Both tables as text.

    Args:
        table: What the runs say.
        command: The command that made it.
        origin: Where the three splits of the first division come from.
    """
    lines = [
        f"Made by `{command}`.",
        f"Rows of the first division: {origin}.",
        "",
        "| method | accuracy | 95 % | GC-matched accuracy | AUROC | validation accuracy | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.methods.to_dict("records"):
        interval = Estimate(row["accuracy"], row["low"], row["high"])
        others = (row["gc_matched_accuracy"], row["auroc"], row["validation_accuracy"])
        cells = [row["method"], _number(interval.value), _ends(interval), *map(_number, others)]
        lines.append(f"| {' | '.join([*cells, str(row['n'])])} |")
    first = table.paired.iloc[0]
    return "\n".join(
        [
            *lines,
            "",
            "Means over n divisions of the rows (`split_seed`), with Student's t interval. The",
            "divisions share rows, so it says how much the division matters, not how much new rows",
            "would. With shuffled labels the validation labels are shuffled too.",
            "",
            f"On the same test rows of all divisions ({first['rows']} rows, {first['sequences']} "
            "sequences;",
            "intervals for new divisions and new sequences together):",
            "",
            *(f"- {words(row)}" for row in table.paired.to_dict("records")),
            "",
        ]
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _ends(interval: Estimate) -> str:
    return "–" if np.isnan(interval.low) else f"{interval.low:.3f} to {interval.high:.3f}"


def headline(options: Options, own: Sequence[str] = ()) -> list[Path]:
    """Does all runs and writes the tables; returns their paths.

    Args:
        options: What the command line set.
        own: Options of the soft prompts, as `name=value`.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    schema = METHODS.get(options.method).config
    given = read_options(schema, own)
    values = {f.name: getattr(given, f.name) for f in fields(schema) if f.name != "name"}
    planned = competitors(options, values)
    finished = run_all(planned, options.split_seeds)
    task = build_task(default_options(options.task))
    data = data_folder(planned[PROMPT].data)
    divisions = [task.splits(seed, data) for seed in range(options.split_seeds)]
    sequences = [example.sequence for splits in divisions for example in splits.test]
    table = tabulate(finished, same_sequence(sequences))
    text = markdown(table, _command(options, own), finished[PROMPT][0].report.setup.split_origin)
    print(f"\n{text}")
    stem = Path(options.out).expanduser() / f"headline_{task.name}_{options.method}"
    contents = {
        stem.with_name(f"{stem.name}.csv"): table.methods.to_csv(index=False),
        stem.with_name(f"{stem.name}_paired.csv"): table.paired.to_csv(index=False),
        stem.with_name(f"{stem.name}.md"): text,
    }
    for path, content in contents.items():
        write_text(path, content)
    return list(contents)


def _command(options: Options, own: Sequence[str]) -> str:
    """The command line with all that matters, wherever data and runs lie."""
    shown = [field.name for field in fields(Options) if field.name not in ("data", "out")]
    values = {name: getattr(options, name) for name in shown}
    if options.words is not None:
        values["words"] = f"[{','.join(options.words)}]"
    given = [f"{name}={value}" for name, value in values.items() if value is not None]
    prompts = [f"{OWN}{one}" for one in own]
    return " ".join(["python -m experiments.headline data=$ICL_DATA", *given, *prompts])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print(help_text(Options, "python -m experiments.headline"))
        print(f"  {OWN + 'NAME=VALUE':<32} options of the soft prompts, as of python -m icl.run")
        return 0
    own = [word.removeprefix(OWN) for word in arguments if word.startswith(OWN)]
    rest = [word for word in arguments if not word.startswith(OWN)]
    return exit_code(lambda: headline(read_options(Options, rest), own))


if __name__ == "__main__":
    sys.exit(main())
