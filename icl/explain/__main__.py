"""What a finished run reads: `python -m icl.explain run=RUN_DIR [rows=20 | fasta=x.fa]`.

`bases`: replaces every base of some rows by the three others and writes the changes of the answer
as tables, as bedGraph if coordinates are known, and as input for TF-MoDISco. It lists words that
recur in the most important segments and, on tasks with a planted motif, scores the explanation.
`vectors`: what the vectors of a learned prompt are near, what each contributes, and how similar
those of other runs are. `dna`: the prompt translated into nucleotides, and the best such prompt
found by a search.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from backbone.common.command import entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.options import help_text, option, read_options
from backbone.common.plugins import load_plugins
from backbone.devices import device_option
from icl.environment import prepare_arithmetic
from icl.explain.bases import explain_rows, write_bases
from icl.explain.rows import Rows, output_of, rows_of_fasta, rows_of_task, splits_of, task_of
from icl.explain.tables import write_table
from icl.method import Method
from icl.predict import load_method
from icl.reporting.report import Report
from tasks.task import Example, subset

if TYPE_CHECKING:
    from icl.explain.vectors import LearnedPrompt

VECTORS, SIMILARITY, PROMPTS = "vectors.tsv", "similarity.tsv", "prompts.tsv"


@dataclass
class Options:
    """Options of the command."""

    run: str = option(MISSING, "folder of a finished run")
    parts: list[str] = option(
        ["bases"],
        "what is explained: bases of rows, vectors of a prompt, the prompt as DNA",
        choices=("bases", "vectors", "dna"),
    )
    task: str | None = option(None, "task whose test rows are explained; by default the run's own")
    data: str | None = option(None, "folder of tables; by default the run's own")
    rows: int = option(20, "test rows to explain, equally many of each class", least=1)
    fasta: str | None = option(None, "explain these sequences instead: FASTA file or folder")
    bed: str | None = option(None, "with fasta: intervals; by default all records")
    class_: str | None = option(
        None,
        "class or label to explain; by default the second of two classes, else the most "
        "likely class of each row",
    )
    out: str = option("explained", "folder of the tables")
    kmer: int = option(6, "length of the words that are counted", least=2, most=12)
    control: str = option(
        "shuffled",
        "also explain shuffled rows, as a control for words and planted motifs",
        choices=("shuffled", "none"),
    )
    others: list[str] = option(
        [], "with vectors: runs to compare with, such as runs with other seeds"
    )
    passes: int = option(3, "with dna: rounds of the search; 0 skips the search", least=0)
    starts: int = option(
        1, "with dna: number of searches; all but the first start from random DNA", least=1
    )
    search_rows: int = option(200, "with dna: training rows used by a search", least=2)
    seed: int = option(0, "seed of the choice of rows, the shuffles and the searches", least=0)
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)
    batch_size: int = option(64, "rows per forward pass, where whole rows are scored", least=1)


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


def run(options: Options) -> Iterator[object]:
    """Explain, write the files, and yield lines about what was found.

    Raises:
        InputError: If an option, the run or a row cannot be used; nothing is then written.
    """
    out = Path(options.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError(f"out={options.out}: is not a folder")
    if not options.parts:
        raise InputError("parts=[]: give at least one of bases, vectors, dna")
    prepare_arithmetic(options.threads, options.device)
    load = partial(load_method, device=options.device, batch_size=options.batch_size)
    method, report = load(Path(options.run).expanduser())
    steps: list[Iterator[object]] = []
    if "bases" in options.parts:
        output, rows = output_of(report, options.class_), rows_of(options, report)
        method.check([Example(sequence, 0) for sequence in rows.sequences])
        steps.append(_bases(options, method, report, rows, output, out))
    if {"vectors", "dna"} & set(options.parts):
        from icl.explain.vectors import LearnedPrompt

        train, val, test = splits_of(report, options.data)
        learned = LearnedPrompt.of(method, val, test)
        others = [load(Path(folder).expanduser())[0] for folder in options.others]
        compared = [learned, *(LearnedPrompt.of(other, val, test) for other in others)]
        if "vectors" in options.parts:
            steps.append(_vectors(options, compared, out))
        if "dna" in options.parts:
            fewer = subset(train, min(options.search_rows, len(train)), options.seed)
            steps.append(_dna(options, learned, fewer, out))
    for step in steps:
        yield from step


def _bases(
    options: Options, method: Method, report: Report, rows: Rows, output: int | None, out: Path
) -> Iterator[object]:
    explanation = explain_rows(method, report, rows, output, options.control, options.seed)
    yield from write_bases(explanation, options.kmer, out)


def _vectors(options: Options, compared: "Sequence[LearnedPrompt]", out: Path) -> Iterator[object]:
    from icl.explain.vectors import similarity_table, vector_table

    similar = similarity_table(
        [options.run, *options.others], [one.prompt.stacked() for one in compared]
    )
    table = vector_table(compared[0])
    for group, rows in table.groupby("group", sort=False):
        letters = "".join(rows["nucleotide"])
        best = rows.nlargest(1, "contribution").iloc[0]
        yield (
            f"{group}: nearest nucleotides {letters}, mean cosine {rows['cosine'].mean():.2f}; "
            f"{best['place']} is worth most: loss {best['contribution']:+.4f} without it"
        )
    yield write_table(out / VECTORS, table)
    if options.others:
        for row in similar.itertuples():
            yield (
                f"{row.run} and {row.other}: mean cosine {row.in_place:.3f} in place, "
                f"{row.matched:.3f} matched ({row.matched_by_chance:.3f} by chance)"
            )
        yield write_table(out / SIMILARITY, similar)


def _dna(
    options: Options, learned: "LearnedPrompt", rows: Sequence[Example], out: Path
) -> Iterator[object]:
    from icl.explain.dna_prompt import Search, prompt_table

    search = Search(options.passes, options.starts, options.seed) if options.passes else None
    table = prompt_table(learned, rows, search)
    for row in table.itertuples():
        yield (
            f"{row.prompt:<9} accuracy {row.accuracy:.3f} [{row.accuracy_low:.3f}, "
            f"{row.accuracy_high:.3f}], validation loss {row.validation_loss:.4f}  {row.letters}"
        )
    yield write_table(out / PROMPTS, table)


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not words or {"-h", "--help"} & set(words):
        return exit_code(lambda: [help_text(Options, "python -m icl.explain")])
    return exit_code(lambda: run(read_options(Options, load_plugins(words))))


if __name__ == "__main__":
    sys.exit(main())
