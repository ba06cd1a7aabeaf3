"""What a finished run reads: `python -m icl.explain run=RUN_DIR [rows=20 | fasta=x.fa]`.

Every base of some rows is replaced by the other three, and the change of the answer is written as
tables, as bedGraph where coordinates are known, and as input for TF-MoDISco; words that recur among
the most important stretches are listed. On tasks with a planted motif the explanation is scored.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

from backbone.common.command import exit_code
from backbone.common.errors import InputError
from backbone.common.files import json_text, write_text
from backbone.common.options import help_text, option, read_options
from backbone.common.plugins import load_plugins
from backbone.common.streams import stream
from icl.environment import prepare_arithmetic
from icl.explain.attribution import Attribution, attributions
from icl.explain.motifs import recurring_motifs
from icl.explain.planted import mean_over_rows, planted_scores
from icl.explain.rows import Rows, output_of, rows_of_fasta, rows_of_task, task_of
from icl.explain.tables import (
    BASES,
    MOTIFS,
    ROWS,
    SUMMARY,
    TRACK,
    base_table,
    bedgraph,
    row_table,
    write_modisco,
    write_table,
)
from icl.method import Method
from icl.predict import load_method
from icl.reporting.report import Report
from prompts.null_queries import dinucleotide_shuffle
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example

SHOWN = 5
"""Words that are printed."""


@dataclass
class Options:
    """Options of the command."""

    run: str = option(MISSING, "folder of a finished run")
    task: str | None = option(None, "task whose test rows are explained; by default the run's own")
    data: str | None = option(None, "folder of tables; by default the run's own")
    rows: int = option(20, "test rows to explain, equally many of each class", least=1)
    fasta: str | None = option(None, "explain these sequences instead: FASTA file or folder")
    bed: str | None = option(None, "with fasta: intervals; by default all records")
    class_: str | None = option(
        None, "class or label to explain; by default the second of two, else each row's likeliest"
    )
    out: str = option("explained", "folder of the tables")
    kmer: int = option(6, "length of words that may recur", least=2, most=12)
    control: str = option(
        "shuffled",
        "explain shuffled rows too, to which words and planted motifs are compared",
        choices=("shuffled", "none"),
    )
    seed: int = option(0, "seed of the choice of rows and of the shuffles", least=0)
    device: str = option("cpu", "device of the backbone", choices=("cpu", "cuda", "mps"))
    threads: int = option(2, "CPU threads", least=1)
    batch_size: int = option(64, "rows per forward pass, where whole rows are scored", least=1)


@dataclass(frozen=True)
class Explanation:
    """What was found about some rows.

    Attributes:
        report: Of the run.
        rows: The rows.
        found: Their explanations.
        control: Those of their shuffles; empty without a control.
    """

    report: Report
    rows: Rows
    found: list[Attribution]
    control: list[Attribution]


def explain_rows(
    method: Method, report: Report, rows: Rows, output: int | None, control: str, seed: int
) -> Explanation:
    """Explain rows, and their shuffles if a control is asked for.

    Raises:
        InputError: If the run cannot read a row.
    """
    method.check([Example(sequence, 0) for sequence in rows.sequences])
    outputs = [output] * len(rows.sequences)
    found = list(attributions(method, rows.sequences, outputs))
    if control == "none":
        return Explanation(report, rows, found, [])
    shuffles = [
        dinucleotide_shuffle(sequence, stream(seed, "shuffled rows", row))
        for row, sequence in enumerate(rows.sequences)
    ]
    same = [one.output for one in found]
    return Explanation(report, rows, found, list(attributions(method, shuffles, same)))


def rows_of(options: Options, report: Report) -> Rows:
    """Return the rows that the options ask for.

    Raises:
        InputError: If the options contradict each other, or the rows cannot be had.
    """
    if options.fasta is None:
        if options.bed is not None:
            raise InputError("bed= needs fasta=, the sequences that its intervals lie on")
        task = task_of(report, options.task)
        return rows_of_task(report, task, options.data, options.rows, options.seed)
    if options.task is not None:
        raise InputError("give task= or fasta=, not both")
    return rows_of_fasta(report, options.fasta, options.bed)


def summary_of(explanation: Explanation, options: Options) -> dict[str, Any]:
    """Return what is written into summary.json: settings, agreement and, where known, scores."""
    found, rows = explanation.found, explanation.rows
    summary: dict[str, Any] = {
        "run": options.run,
        "method": explanation.report.setup.method,
        "task": explanation.report.setup.task,
        "rows": rows.source,
        "explained": options.class_,
        "seed": options.seed,
        "agreement": mean_over_rows(np.array([one.agreement for one in found])),
    }
    if rows.planted is not None:
        summary["planted"] = planted_scores(found, rows.planted, explanation.control)
    return summary


def run(options: Options) -> Iterator[str]:
    """Explain, write the files, and yield lines about what was found.

    Raises:
        InputError: If an option, the run or a row cannot be used; nothing is then written.
    """
    out = Path(options.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError(f"out={options.out}: is not a folder")
    prepare_arithmetic(options.threads, options.device)
    method, report = load_method(
        Path(options.run).expanduser(), device=options.device, batch_size=options.batch_size
    )
    output = output_of(report, options.class_)
    rows = rows_of(options, report)
    explanation = explain_rows(method, report, rows, output, options.control, options.seed)
    yield from write(explanation, options, out)


def write(explanation: Explanation, options: Options, out: Path) -> Iterator[str]:
    """Write the files of an explanation and yield lines about what was found."""
    found, rows = explanation.found, explanation.rows
    written = [
        write_table(out / ROWS, row_table(rows, found, explanation.report.setup.labels)),
        write_table(out / BASES, base_table(rows, found)),
        *write_modisco(out, found),
    ]
    summary = summary_of(explanation, options)
    yield f"{rows.source}: gradient times input agrees with mutagenesis: {summary['agreement']}"
    yield from _planted_lines(summary.get("planted", {}))
    if explanation.control:
        motifs = recurring_motifs(found, explanation.control, options.kmer)
        written.append(write_table(out / MOTIFS, motifs))
        for word in motifs.head(SHOWN).itertuples():
            yield (
                f"{word.motif}/{word.reverse_complement}: important in {word.important} of "
                f"{word.places} places ({word.expected:.1f} expected), {word.rows} rows, "
                f"q={word.q:.2g}"
            )
    if rows.intervals:
        write_text(out / TRACK, bedgraph(rows, found))
        written.append(out / TRACK)
    write_text(out / SUMMARY, json_text(plain(summary)))
    yield from map(str, [*written, out / SUMMARY])


def plain(value: Any) -> Any:
    """Return a summary as strict JSON has it: estimates as objects."""
    if isinstance(value, Estimate):
        return asdict(value)
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _planted_lines(scores: dict[str, Any]) -> Iterator[str]:
    if not scores:
        return
    yield (
        f"of the ten most important bases of {scores['rows_with']} rows with the motif, "
        f"{scores['top_ten_with']} lie in it ({scores['chance']} by chance); of "
        f"{scores['rows_without']} rows without it, {scores['top_ten_without']}"
    )
    if "precision" in scores:
        yield (
            f"bases more important than 95 % of those of shuffled rows: precision "
            f"{scores['precision']}, recall {scores['recall']}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or {"-h", "--help"} & set(words):
        return exit_code(lambda: [help_text(Options, "python -m icl.explain")])
    return exit_code(lambda: run(read_options(Options, load_plugins(words))))


if __name__ == "__main__":
    sys.exit(main())
