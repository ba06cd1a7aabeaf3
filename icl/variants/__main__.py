"""Score variants: `python -m icl.variants vcf=x.vcf fasta=genome.fa window=1000`.

Writes to the folder `out`: variants.tsv and, for a VCF file, variants.vcf, with one row per allele;
left_out.tsv, with the alleles that were not scored and the reasons; and, with `label=`,
metrics.tsv.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd

from backbone.common.command import entry_point, exit_code, written
from backbone.common.errors import InputError
from backbone.common.files import atomic_write, write_text
from backbone.common.names import unknown
from backbone.common.options import help_text, option, read_options
from backbone.common.plugins import load_plugins
from backbone.devices import device_option
from backbone.sequence.fasta import Genome, find_fasta
from icl.environment import prepare_arithmetic
from icl.variants.alleles import Allele, LeftOut, read_pairs
from icl.variants.benchmark import (
    Traits,
    kmer_features,
    labels_of,
    metrics_table,
    neighbourhoods,
    traits_of,
)
from icl.variants.effects import (
    CHANGE,
    COSINE,
    DISTANCE,
    LIKELIHOOD,
    NUMBER,
    NUMBER_CHANGE,
    REFERENCE,
    RunScorer,
    longest_of,
    zero_shot,
)
from icl.variants.vcf import VCF, Writer, vcf_writer
from tasks.metrics.bootstrap import as_figure, as_interval

if TYPE_CHECKING:
    from backbone.protocol import BranchEngine

CHUNK = 256
"""Alleles that are scored together."""

MEASURED = 100
"""First alleles on which the error of `after` is measured."""

SHOWN = 20
"""Alleles left out that are named on the terminal; all are in left_out.tsv."""

UNLIMITED = 1 << 24
"""Bases of a window that methods without a backbone may read."""

INFO_KEYS = {
    LIKELIHOOD: "ICL_DLL",
    DISTANCE: "ICL_DIST",
    COSINE: "ICL_COS",
    REFERENCE: "ICL_LO",
    CHANGE: "ICL_DLO",
    NUMBER: "ICL_NUM",
    NUMBER_CHANGE: "ICL_DNUM",
}
"""INFO keys of the scores."""


@dataclass
class Options:
    """Options of the command."""

    vcf: str | None = option(None, "VCF file: plain, gzip or bgzip")
    table: str | None = option(
        None, "instead of vcf=, a table with two sequences per row: ref, alt"
    )
    fasta: str | None = option(None, "genome of the VCF file: FASTA file or folder")
    region: str | None = option(None, "part of an indexed VCF file, as chr1:1000-2000 from 1")
    window: int = option(1000, "bases of the genome around each variant", least=1)
    after: int | None = option(
        None,
        "bases read after a variant for likelihoods; by default up to the end of the window",
        least=1,
    )
    backbone: str | None = option(
        None,
        "backbone for likelihoods and states; by default the run's, else bundled; none skips them",
    )
    run: str | None = option(None, "folder of a finished run whose log-odds are compared")
    class_: str | None = option(None, "class or label of the run; by default its last")
    label: str | None = option(None, "INFO key, or column of the table, with labels")
    positive: list[str] = option([], "labels that are positive; by default 1")
    negative: list[str] = option([], "labels that are negative; by default all others")
    out: str = option("runs-variants", "output folder")
    seed: int = option(0, "seed of folds and resamples of the metrics", least=0)
    device: str = device_option()
    batch_size: int = option(64, "rows per forward pass where a run scores whole rows", least=1)
    threads: int = option(2, "CPU threads", least=1)


@dataclass
class Scored:
    """What is kept of labelled alleles for the metrics."""

    labels: list[str | None] = field(default_factory=list)
    traits: list[Traits] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    kmers: list[np.ndarray] = field(default_factory=list)
    alleles: list[Allele] = field(default_factory=list)


@dataclass(frozen=True)
class Scorer:
    """Everything that scores alleles.

    Attributes:
        engine: The backbone of likelihood and states; None for none.
        of_run: A run's log-odds; None for none.
        after: See `icl.variants.effects.strand_views`.
        most: Bases that all of them can read.
        described: What the scores are, by name, for the header of the VCF file.
    """

    engine: "BranchEngine | None"
    of_run: RunScorer | None
    after: int | None
    most: int
    described: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Names of the scores."""
        return list(self.described)

    def __call__(self, alleles: Sequence[Allele]) -> np.ndarray:
        """Return the scores of E alleles, (E, S)."""
        found = []
        if self.engine is not None:
            found.append(zero_shot(self.engine, alleles, self.after))
        if self.of_run is not None:
            found.append(self.of_run(alleles))
        return np.hstack(found)


def check(options: Options) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: If there are such.
    """
    if (options.vcf is None) == (options.table is None):
        raise InputError("give vcf=FILE and fasta=GENOME, or table=FILE with columns ref and alt")
    if options.vcf is not None and options.fasta is None:
        raise InputError("vcf= needs fasta=, the genome that its coordinates are of")
    if options.run is None and options.class_ is not None:
        raise InputError(f"class={options.class_}: is a class of a run; give run= too")
    if options.run is None and options.backbone == "none":
        raise InputError("backbone=none leaves nothing to score with: give run=")
    if options.label is None and (options.positive or options.negative):
        raise InputError("positive= and negative= are values of label=, which is missing")
    if options.table is not None and (options.fasta or options.region):
        raise InputError("fasta= and region= are for vcf=: rows of a table are whole sequences")


def scorer_of(options: Options) -> Scorer:
    """Load the backbone and the run.

    Raises:
        InputError: If they cannot be used, or the window is longer than what they can read.
    """
    from backbone.models import branch_engine, context_engine, load
    from icl.predict import cut_of_run, load_method

    described: dict[str, str] = {}
    of_run, name, most = None, options.backbone, UNLIMITED
    if options.run is not None:
        method, report = load_method(
            Path(options.run).expanduser(), device=options.device, batch_size=options.batch_size
        )
        kind, labels = report.setup.kind, report.setup.labels
        if kind == "regression" and options.class_ is not None:
            raise InputError(f"class={options.class_}: run={options.run} predicts a number")
        name_of_class = labels[-1] if options.class_ is None else options.class_
        if name_of_class not in labels:
            raise unknown("class", name_of_class, labels)
        of_run = RunScorer(method, kind, labels.index(name_of_class))
        what = "Number" if kind == "regression" else "Log-odds"
        if name is None and report.setup.backbone is not None:
            name = report.setup.backbone
        most = longest_of(method, UNLIMITED)
        if (cut := cut_of_run(report)) is not None:
            most = min(most, cut.most)
        of = f"of {name_of_class} under {report.setup.method} trained on {report.setup.task}"
        reference, change = of_run.names
        described |= {
            reference: f"{what} {of} for REF",
            change: f"Change of the {what.lower()} {of}, ALT minus REF",
        }
    engine = None
    if name != "none":
        model = load(name or "bundled", options.device)
        engine = branch_engine(context_engine(model))
        most = min(most, model.config.max_seq_len)
        whose = f"of {name or 'bundled'}, both strands"
        first = {
            LIKELIHOOD: f"Log-likelihood of ALT minus that of REF {whose}",
            DISTANCE: f"Distance of the mean states of ALT and REF {whose}",
            COSINE: f"Cosine distance of the mean states of ALT and REF {whose}",
        }
        described = first | described
    if options.vcf is not None and options.window > most:
        raise InputError(
            f"window={options.window}: exceeds the {most} bases that can be read at a time"
        )
    return Scorer(engine, of_run, options.after, most, described)


def run(options: Options) -> Iterator[object]:
    """Score all alleles, write the files, and yield lines about them.

    Raises:
        InputError: If an option or a file cannot be used.
    """
    check(options)
    prepare_arithmetic(options.threads, options.device)
    genome, vcf = None, None
    if options.vcf is not None and options.fasta is not None:
        genome = Genome(find_fasta([options.fasta]))
        path = Path(options.vcf).expanduser()
        vcf = VCF(path, genome, options.label, options.region)
    scorer = scorer_of(options)
    if vcf is not None:
        source = vcf.alleles(options.window, scorer.most)
    else:
        source = read_pairs(Path(str(options.table)).expanduser(), options.label, scorer.most)
    out = Path(options.out).expanduser()
    kept = Scored()
    reasons: Counter[str] = Counter()
    count = 0
    with ExitStack() as files:
        table = files.enter_context(atomic_write(out / "variants.tsv")).open("w")
        left_out = files.enter_context(atomic_write(out / "left_out.tsv")).open("w")
        for opened in (table, left_out):
            files.callback(opened.close)
        writer = None
        if vcf is not None and genome is not None:
            keys = {INFO_KEYS[name]: text for name, text in scorer.described.items()}
            writer = files.enter_context(vcf_writer(out / "variants.vcf", vcf.header, genome, keys))
        table.write("\t".join([*COLUMNS, *scorer.names]) + "\n")
        left_out.write("where\tid\tref\talt\treason\n")
        for some in chunks(named(source, left_out, reasons)):
            scores = scorer(some)
            if count == 0 and scorer.after is not None and scorer.engine is not None:
                yield error_of_after(scorer, some[:MEASURED], scores)
            write(table, writer, scorer.names, some, scores)
            count += len(some)
            if options.label is not None:
                keep(kept, some, scores)
    if not count:
        most = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common(3)) or "there is none"
        raise InputError(f"no allele could be scored: {most}")
    left = f", {sum(reasons.values())} left out: {out / 'left_out.tsv'}" if reasons else ""
    yield from written(
        f"{count} alleles scored: {out / 'variants.tsv'}{left}",
        *(out / "variants.tsv", out / "left_out.tsv"),
    )
    if options.label is not None:
        yield from judged(options, kept, scorer.names, out)


COLUMNS = ("record", "pos", "id", "ref", "alt", "given", "kind", "gc_change", "cpg_change", "label")
"""First columns of the table; pos counts from 1, as in VCF."""


def write(
    table: IO[str],
    writer: Writer | None,
    names: Sequence[str],
    alleles: Sequence[Allele],
    scores: np.ndarray,
) -> None:
    """Write alleles with their scores (E, S)."""
    for allele, row in zip(alleles, scores, strict=True):
        own, traits = allele.variant, traits_of(allele)
        cells = [own.record, own.start + 1, allele.name, own.ref, own.alt, allele.given]
        cells += [traits.kind, traits.gc, traits.cpg, allele.label or ""]
        table.write("\t".join([*map(str, cells), *(f"{value:.6g}" for value in row)]) + "\n")
        if writer is not None:
            named = zip(names, row.tolist(), strict=True)
            writer.write(allele, {INFO_KEYS[name]: value for name, value in named})


def named(
    source: Iterable[Allele | LeftOut], file: IO[str], reasons: Counter[str]
) -> Iterator[Allele]:
    """Yield the alleles that can be scored; write and count the others, and name the first."""
    for one in source:
        if isinstance(one, Allele):
            yield one
            continue
        file.write("\t".join([one.where, one.name, one.ref, one.alt, one.reason]) + "\n")
        reasons[one.reason] += 1
        if sum(reasons.values()) <= SHOWN:
            print(f"left out: {one}", file=sys.stderr)


def chunks(alleles: Iterable[Allele]) -> Iterator[list[Allele]]:
    """Yield alleles, CHUNK at a time."""
    some: list[Allele] = []
    for allele in alleles:
        some.append(allele)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some


def error_of_after(scorer: Scorer, alleles: Sequence[Allele], scores: np.ndarray) -> str:
    """Return a line with what `after` does to the first alleles' change of log-likelihood."""
    assert scorer.engine is not None
    whole = zero_shot(scorer.engine, alleles)[:, 0]
    cut = scores[: len(alleles), 0]
    line = (
        f"after={scorer.after}: of the first {len(alleles)} alleles' {LIKELIHOOD} the largest "
        f"error is {np.abs(whole - cut).max():.3g}, the mean one {np.abs(whole - cut).mean():.3g}"
    )
    if len(alleles) < 3 or min(whole.std(), cut.std()) == 0:
        return line
    return f"{line}, the correlation {np.corrcoef(whole, cut)[0, 1]:.4f}"


def keep(kept: Scored, alleles: Sequence[Allele], scores: np.ndarray) -> None:
    """Keep what the metrics need."""
    kept.labels += [allele.label for allele in alleles]
    kept.traits += [traits_of(allele) for allele in alleles]
    kept.scores.append(scores)
    kept.kmers.append(kmer_features(alleles))
    kept.alleles += alleles


def judged(options: Options, kept: Scored, names: Sequence[str], out: Path) -> Iterator[object]:
    """Write metrics.tsv, and yield lines with what it says of all alleles."""
    labels = labels_of(kept.labels, options.positive, options.negative)
    chosen = np.flatnonzero(labels >= 0)
    scores = np.concatenate(kept.scores)[chosen]
    table = metrics_table(
        {name: scores[:, i] for i, name in enumerate(names)},
        [kept.traits[i] for i in chosen],
        np.concatenate(kept.kmers)[chosen],
        labels[chosen],
        neighbourhoods([kept.alleles[i] for i in chosen]),
        options.seed,
    )
    write_text(out / "metrics.tsv", table.to_csv(sep="\t", index=False, float_format="%.6g"))
    unlabelled = int((labels < 0).sum())
    yield from written(
        f"{int(labels[chosen].sum())} positive and {int((labels == 0).sum())} negative alleles"
        + (f", {unlabelled} without a label" if unlabelled else "")
        + f": {out / 'metrics.tsv'}",
        out / "metrics.tsv",
    )
    yield from lines(table[table["kind"] == "all"])


def lines(table: pd.DataFrame) -> Iterator[str]:
    """Yield the rows of a table of metrics as text."""
    rows = table.to_dict("records")
    width = max(len(row["score"]) for row in rows)
    for row in rows:
        areas = [
            f"{name.upper()} {as_figure(row[name])} "
            f"({as_interval(row[f'{name}_low'], row[f'{name}_high'])})"
            for name in ("auroc", "auprc")
        ]
        yield "  ".join([f"  {row['score']:<{width}}", *areas])


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not words or {"-h", "--help"} & {*words}:
        return exit_code(lambda: [help_text(Options, "python -m icl.variants")])
    return exit_code(lambda: run(read_options(Options, load_plugins(words))))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
