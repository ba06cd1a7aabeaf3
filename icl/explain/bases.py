"""The contributions of bases as files: of some rows, and of their shuffles as a control."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backbone.common.files import json_text, write_text
from backbone.common.streams import stream
from icl.explain.attribution import Attribution, attributions
from icl.explain.motifs import recurring_motifs
from icl.explain.planted import mean_over_rows, planted_scores
from icl.explain.rows import Rows
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
from icl.reporting.report import Report
from prompts.null_queries import dinucleotide_shuffle
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example

SHOWN = 5
"""Words that are printed."""
LARGEST_Q = 0.05
"""Corrected p-value of a word up to which it is printed."""


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


def summary_of(explanation: Explanation) -> dict[str, Any]:
    """Return what is written into summary.json: the run, agreement and, where known, scores."""
    found, rows, setup = explanation.found, explanation.rows, explanation.report.setup
    summary: dict[str, Any] = {
        "task": setup.task,
        "method": setup.method,
        "k": setup.k,
        "seed": setup.seed,
        "rows": rows.source,
        "agreement": mean_over_rows(np.array([one.agreement for one in found])),
    }
    if rows.planted is not None:
        summary["planted"] = planted_scores(found, rows.planted, explanation.control)
    return summary


def write_bases(explanation: Explanation, kmer: int, out: Path) -> Iterator[object]:
    """Write the files of an explanation and yield lines about what was found."""
    found, rows = explanation.found, explanation.rows
    written = [
        write_table(out / ROWS, row_table(rows, found, explanation.report.setup.labels)),
        write_table(out / BASES, base_table(rows, found)),
        *write_modisco(out, found),
    ]
    summary = summary_of(explanation)
    if all(one.gradients is None for one in found):
        yield f"{rows.source}: every base replaced; {summary['method']} has no gradients to compare"
    else:
        yield f"{rows.source}: gradient times input agrees with mutagenesis: {summary['agreement']}"
    yield from _planted_lines(summary.get("planted", {}))
    if explanation.control:
        motifs = recurring_motifs(found, explanation.control, kmer)
        written.append(write_table(out / MOTIFS, motifs))
        yield from _word_lines(motifs, kmer)
    if rows.intervals:
        write_text(out / TRACK, bedgraph(rows, found))
        written.append(out / TRACK)
    write_text(out / SUMMARY, json_text(plain(summary)))
    yield from [*written, out / SUMMARY]


def _word_lines(motifs: pd.DataFrame, kmer: int) -> Iterator[str]:
    """Yield a line for each of the first words that recur beyond chance, or say that none does."""
    beyond = motifs[motifs["q"] <= LARGEST_Q]
    if beyond.empty:
        yield f"no word of {kmer} bases is important more often than in shuffled rows"
    for word in beyond.head(SHOWN).itertuples():
        yield (
            f"{word.motif}/{word.reverse_complement}: important in {word.important} of "
            f"{word.places} places ({word.expected:.1f} expected), {word.rows} rows, "
            f"q={word.q:.2g}"
        )


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
