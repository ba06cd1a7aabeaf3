"""What prompting achieves on one task, compared with baselines and controls on the same rows.

`python -m experiments.headline data=DIR` fits every method on several random splits and writes two
tables, headline_TASK_METHOD.csv (a row for each method) and headline_TASK_METHOD_paired.csv (the
prompt minus each other method), and both as text, headline_TASK_METHOD.md. Finished runs are not
repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    configuration,
    correct,
    run_cells,
    write_tables,
)
from experiments.common.cells import Table as Runs
from experiments.common.command import MethodOptions, command_line, run_with_methods
from icl.config.options import RunConfig, VerbalizerConfig, resolve
from icl.reporting.verdict import points
from tasks.division import same_sequence
from tasks.metrics.bootstrap import (
    Estimate,
    as_figure,
    as_interval,
    hierarchical_difference,
    mean_over_divisions,
)
from tasks.registry import build_task, default_options
from tasks.task import data_folder

COMMAND = "python -m experiments.headline"
BASELINES = ("majority", "gc_only", "kmer_logreg", "linear_probe")
PROMPT, NO_PROMPT = "prompt", "prompt of 0 tokens"
RANDOM = f"{PROMPT}, random_backbone"
ALSO = "also "
"""In front of the names of further prompts."""
OPPONENTS = ("gc_only", "kmer_logreg", "linear_probe", NO_PROMPT, RANDOM)
"""What prompting is compared with, row by row."""


@dataclass
class Options(CellOptions):
    """Options of the command."""

    folder: ClassVar[str] = "runs-headline"
    task: str = option("enhancer_cohn", "name of the task")
    split_seeds: int = option(5, "number of random splits, with split_seed=0, 1, ...", least=1)
    k: int = option(16, "prompt tokens", least=1)
    method: str = option(
        "soft_prompt",
        "prompt-tuning method",
        choices=("soft_prompt", "deep_prompt", "state_prompt"),
    )
    controls: list[str] = option(
        ["random_backbone", "train_labels_shuffled"], "controls of the prompt; [] for none"
    )
    also: list[str] = option(
        [], "further prompts to compare with, as METHOD:PROMPT_TOKENS, with their own defaults"
    )
    verbalizer: VerbalizerConfig = option(VerbalizerConfig, "")

    @property
    def methods(self) -> Sequence[str]:
        """The method that options after `method.` belong to."""
        return [self.method]


@dataclass(frozen=True)
class Table:
    """Accuracies and differences.

    Attributes:
        methods: A row for each competitor: method, accuracy and its interval over divisions, low
            and high, gc_matched_accuracy, auroc, validation_accuracy, n (divisions).
        paired: A row for each opponent: method, minus, difference, low, high (accuracy), rows,
            sequences.
    """

    methods: pd.DataFrame
    paired: pd.DataFrame


def competitors(options: Options, words: MethodOptions) -> dict[str, RunConfig]:
    """Return the runs of one division by the names they have in the tables, with split_seed=0.

    Args:
        options: Options of the command.
        words: Options of the prompt method; without vectors and under controls it has the same.

    Raises:
        InputError: If no run can have these options.
    """
    if options.backbone.startswith("random:"):
        raise InputError(
            f"backbone={options.backbone}: a random backbone is one of the controls; drop random:"
        )
    task = default_options(options.task)
    made = partial(configuration, options, task, backbone=options.backbone)
    found = {name: resolve(made(name)) for name in BASELINES}
    given = words.get(options.method, ())
    prompt = replace(made(options.method, given), verbalizer=options.verbalizer)
    found[NO_PROMPT] = resolve(replace(prompt, k=0))
    found[PROMPT] = resolve(replace(prompt, k=options.k))
    for name, tokens in map(_prompt, options.also):
        found[f"{ALSO}{name}, {tokens} tokens"] = resolve(replace(made(name), k=tokens))
    for control in options.controls:
        found[f"{PROMPT}, {control}"] = resolve(replace(prompt, k=options.k, control=control))
    return found


def _prompt(word: str) -> tuple[str, int]:
    """Read a method and its prompt tokens."""
    name, _, tokens = word.partition(":")
    if not tokens.isdecimal():
        raise InputError(f"also={word}: write METHOD:PROMPT_TOKENS, such as soft_prompt:128")
    return name, int(tokens)


def tabulate(finished: Runs, groups: np.ndarray) -> Table:
    """Return means over divisions, and differences on the same rows of each division.

    Args:
        finished: The runs of each competitor, one for each division, all in the same order.
        groups: (N,) numbers of the sequences of all evaluated rows, division after division. The
            test sets of the divisions overlap; rows of one sequence are one group.
    """
    methods = []
    for (name,), runs in finished.items():
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
    ours = correct(finished[PROMPT,])
    by_division = np.split(groups, np.cumsum([len(rows) for rows in ours])[:-1])
    paired = []
    opponents = [name for name in OPPONENTS if (name,) in finished]
    for name in [*opponents, *(name for (name,) in finished if str(name).startswith(ALSO))]:
        difference = hierarchical_difference(ours, correct(finished[name,]), by_division)
        paired.append(
            {
                "method": PROMPT,
                "minus": name,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "rows": len(groups),
                "sequences": len(np.unique(groups)),
            }
        )
    return Table(pd.DataFrame(methods), pd.DataFrame(paired))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def words(row: Mapping[Any, Any]) -> str:
    """Return one row of the paired table as text."""
    return points(row["method"], row["minus"], Estimate(row["difference"], row["low"], row["high"]))


def markdown(table: Table, command: str, origin: str) -> str:
    """Return both tables as Markdown.

    Args:
        table: The tables.
        command: The command that made them.
        origin: Where the three splits of the first division come from.
    """
    lines = [
        f"Made by `{command}`.",
        f"Rows of the first split: {origin}.",
        "",
        "| method | accuracy | 95 % | GC-matched accuracy | AUROC | validation accuracy | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.methods.to_dict("records"):
        ends = as_interval(row["low"], row["high"])
        others = (row["gc_matched_accuracy"], row["auroc"], row["validation_accuracy"])
        cells = [row["method"], as_figure(row["accuracy"]), ends, *map(as_figure, others)]
        lines.append(f"| {' | '.join([*cells, str(row['n'])])} |")
    first = table.paired.iloc[0]
    return "\n".join(
        [
            *lines,
            "",
            "Means over n random splits of the rows (`split_seed`), with Student's t interval. The",
            "splits share rows, so the interval shows how much the split matters, and not how much",
            "new rows would. With shuffled labels, the validation labels are shuffled too.",
            "",
            f"On the same test rows of all splits ({first['rows']} rows, {first['sequences']} "
            "sequences;",
            "intervals for new splits and new sequences together):",
            "",
            *(f"- {words(row)}" for row in table.paired.to_dict("records")),
            "",
        ]
    )


def headline(options: Options, words: MethodOptions) -> list[Path]:
    """Do all runs, write the tables and return their paths.

    Args:
        options: Options of the command.
        words: Options of the prompt method, as `NAME=VALUE`.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    competing = competitors(options, words)
    cells = [
        Cell((name,), replace(config, split_seed=seed))
        for seed in range(options.split_seeds)
        for name, config in competing.items()
    ]
    finished = run_cells(cells, minutes=options.minutes)
    if sum(map(len, finished.values())) < len(cells):
        return []  # nothing can be compared before all have run
    task = build_task(default_options(options.task))
    data = data_folder(options.data)
    divisions = [task.splits(seed, data) for seed in range(options.split_seeds)]
    sequences = [example.sequence for splits in divisions for example in splits.test]
    table = tabulate(finished, same_sequence(sequences))
    origin = finished[PROMPT,][0].report.setup.split_origin
    text = markdown(table, command_line(COMMAND, options, words), origin)
    print(f"\n{text}")
    stem = f"headline_{task.name}_{options.method}"
    contents = {
        f"{stem}.csv": table.methods.to_csv(index=False),
        f"{stem}_paired.csv": table.paired.to_csv(index=False),
        f"{stem}.md": text,
    }
    return write_tables(options.out_folder, contents)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    forms = ("method.NAME=VALUE",)
    return run_with_methods(COMMAND, Options, headline, arguments, forms=forms)


if __name__ == "__main__":
    sys.exit(main())
