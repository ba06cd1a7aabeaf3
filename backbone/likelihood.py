"""The likelihood of sequences: `python -m backbone.likelihood fasta=x.fa key=value ...`.

The table has one row per record of the FASTA files, or per interval of a BED file: the
log-likelihood (natural logarithm) and bits per base, over both strands. A track with the bits of
every base is optional. Probabilities are over A, C, G and T. N is not predicted, and neither is the
first base of a strand, which has no context.

Sequences longer than the context are read in segments. Each segment follows `overlap` preceding
bases of its strand, so that every base is scored once per strand. Segments are read independently,
so the results depend neither on other rows nor on interruptions. Finished segments are kept in a
journal next to the table, from which the same command resumes.
"""

import hashlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import rich.progress
from rich.console import Console

from backbone.common.command import entry_point, exit_code, written
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.memory import keep_freed_memory
from backbone.common.options import help_text, option, read_options
from backbone.devices import check_device, device_option
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.dna import reverse_complement
from backbone.sequence.fasta import Genome, find_fasta
from backbone.sequence.stretches import stretches
from backbone.sequence.tracks import (
    BIGWIG,
    bedgraph_lines,
    check_track,
    sorted_apart,
    write_bigwig,
)
from backbone.tokens import PAD, encode_dna

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.protocol import ContextEngine

VERSION = 1
"""Part of a journal's identity; goes up when its numbers would be other ones."""


@dataclass
class Options:
    """The options of the command line."""

    backbone: str = option("bundled", "a bundled or published name, a folder, or hf:FOLDER_OR_ID")
    fasta: list[str] = option([], "FASTA files (plain, gzip or bgzip), folders or globs (required)")
    bed: str | None = option(None, "intervals to score; by default all records")
    out: str = option("likelihood.tsv", "table to write")
    track: str | None = option(None, "bits of every base: a .bedgraph or .bw file to write")
    strands: str = option("both", "strands to read", choices=("both", "forward"))
    context: int | None = option(None, "tokens read at a time; by default max_seq_len", least=2)
    overlap: int | None = option(
        None,
        "bases of context before each segment of a long sequence; by default a quarter of context=",
        least=1,
    )
    batch_size: int = option(
        8, "segments per batch on an accelerator; a CPU reads one at a time", least=1
    )
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)


@dataclass(frozen=True)
class Stretch:
    """Bases start .. end - 1 of an interval, counted from its start, which are scored together."""

    interval: int
    start: int
    end: int


@dataclass(frozen=True)
class Sums:
    """Log-likelihood and number of the counted bases of either strand."""

    forward: float = 0.0
    forward_bases: int = 0
    reverse: float = 0.0
    reverse_bases: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        """Add those of another stretch."""
        return Sums(*map(sum, zip(asdict(self).values(), asdict(other).values(), strict=True)))


def read_stretches(
    engine: "ContextEngine", texts: Sequence[tuple[str, int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the log-probability of every base of stretches, and which bases count.

    Args:
        engine: The backbone.
        texts: Sequences over ACGTN as they are read, and how many of their first bases are there
            only to be read.

    Returns:
        For each stretch (L,) float64 and (L,) booleans; where no base counts the first are 0.
    """
    import torch

    from backbone.letters import is_base, log_probabilities

    longest = max(len(text) for text, _ in texts)
    ids = torch.full((len(texts), longest), PAD, device="cpu")
    for row, (text, _) in zip(ids, texts, strict=True):
        row[: len(text)] = torch.from_numpy(encode_dna(text))
    ids = ids.to(engine.model.device)
    with torch.no_grad():
        hidden = engine.encode(None, ids)
        found = log_probabilities(engine.model, hidden[:, :-1], ids[:, 1:])
    counts = is_base(ids)
    counts[:, 0] = False
    whole = torch.cat([found.new_zeros(len(found), 1), found], dim=1)
    return [
        (_cut(whole[i], text, before).astype(np.float64), _cut(counts[i], text, before))
        for i, (text, before) in enumerate(texts)
    ]


def _cut(values: "Tensor", text: str, before: int) -> np.ndarray:
    return values[before : len(text)].cpu().numpy()


class Scan:
    """Scores intervals stretch by stretch.

    Attributes:
        intervals: What is scored.
        todo: All stretches, in the order in which they are read.
    """

    def __init__(
        self,
        engine: "ContextEngine",
        genome: Genome,
        intervals: Sequence[Interval],
        options: Options,
    ) -> None:
        """Check context and overlap, and list the stretches.

        Raises:
            InputError: If the context exceeds max_seq_len, or the overlap is not shorter.
        """
        most = engine.model.config.max_seq_len
        context = options.context or most
        overlap = max(1, context // 4) if options.overlap is None else options.overlap
        if context > most:
            raise InputError(f"context={context}: exceeds the backbone's max_seq_len of {most}")
        if overlap >= context:
            raise InputError(f"overlap={overlap}: must be less than the context of {context}")
        self.engine, self.genome, self.intervals = engine, genome, intervals
        self.context, self.overlap, self.both = context, overlap, options.strands == "both"
        order: Sequence[int] = range(len(intervals))
        if options.track is not None:
            records = {record.name: i for i, record in enumerate(genome.records)}
            order = sorted_apart(intervals, records)
        self.todo = [
            Stretch(number, start, end)
            for number in order
            for start, end in stretches(
                intervals[number].end - intervals[number].start, context, overlap
            )
        ]

    def read(self, some: Sequence[Stretch]) -> list[tuple[Sums, np.ndarray]]:
        """Return the sums of stretches, and the bits (L,) of each of their bases, NaN for none.

        A base has the mean of the strands on which it counts; the forward strand is that of the
        FASTA file.
        """
        texts = [list(self._texts(one)) for one in some]
        found = iter(read_stretches(self.engine, [(t, n) for one in texts for _, t, n in one]))
        result = []
        for one in texts:
            length = len(one[0][1]) - one[0][2]
            total, count, sums = np.zeros(length), np.zeros(length, dtype=int), Sums()
            for strand, _, _ in one:
                values, counts = next(found)
                own = float(values.sum()), int(counts.sum())
                if strand == "-":
                    values, counts = values[::-1], counts[::-1]
                sums += Sums(*own) if strand == "+" else Sums(0, 0, *own)
                total += values
                count += counts
            bits = np.full(length, np.nan)
            np.divide(-total / math.log(2), count, out=bits, where=count > 0)
            result.append((sums, bits))
        return result

    def _texts(self, one: Stretch) -> Iterator[tuple[str, str, int]]:
        """Yield each strand, the bases that are read on it, and how many of them are context."""
        interval = self.intervals[one.interval]
        record = self.genome.record(interval.record)
        before, after = min(self.overlap, one.start), self.overlap
        after = min(after, interval.end - interval.start - one.end)
        start, end = interval.start + one.start, interval.start + one.end
        letters = self.genome.stretch(record, start - before, end + after)
        text = letters.tobytes().decode("ascii")
        if self.both or interval.strand == "+":
            yield "+", text[: len(text) - after], before
        if self.both or interval.strand == "-":
            yield "-", reverse_complement(text[before:]), after


class Journal:
    """Finished stretches, one per line, and the unfinished track next to it.

    A track is cut to what the journal knows of when a command goes on.
    """

    def __init__(self, out: Path, identity: str, track: Path | None) -> None:
        """Read the journal of the same command, if there is one.

        Args:
            out: The table; the journal is next to it.
            identity: A hash of all that changes a number.
            track: The track; None for none.
        """
        self.path = out.with_name(f".{out.name}.journal")
        self.track = None if track is None else track.with_name(f".{track.name}.bedgraph")
        self.sums: dict[Stretch, Sums] = {}
        written = 0
        lines = self.path.read_text(encoding="utf-8").splitlines(True) if self.path.exists() else []
        if lines and lines[0] == f"{identity}\n":
            for line in lines[1:]:
                if line.endswith("\n"):
                    stretch, sums, written = json.loads(line)
                    self.sums[Stretch(*stretch)] = Sums(*sums)
        there = self.track is None or (self.track.exists() and self.track.stat().st_size >= written)
        if not self.sums or not there:
            self.sums, written = {}, 0
        kept = [identity, *(line.rstrip("\n") for line in lines[1 : len(self.sums) + 1])]
        write_text(self.path, "\n".join(kept) + "\n")
        if self.track is not None:
            with self.track.open("ab") as file:
                file.truncate(written)

    def add(
        self, file: IO[str], lines: IO[str] | None, stretch: Stretch, sums: Sums, text: str
    ) -> None:
        """Write a stretch; its part of the track first, which the journal then counts."""
        written = 0
        if lines is not None:
            lines.write(text)
            lines.flush()
            written = lines.tell()
        parts = list(asdict(stretch).values()), list(asdict(sums).values()), written
        file.write(json.dumps(parts) + "\n")
        file.flush()
        self.sums[stretch] = sums

    def close(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        if self.track is not None:
            self.track.unlink(missing_ok=True)


def run(options: Options) -> Iterator[object]:
    """Score all intervals, write the files, and yield a line about them.

    Raises:
        InputError: If an option or a file cannot be used.
    """
    if not options.fasta:
        raise InputError("fasta= is missing; it must be given")
    out = Path(options.out).expanduser()
    if not out.parent.is_dir():
        raise InputError(f"out={options.out}: there is no folder {out.parent}")
    if options.track is not None:
        check_track(options.track)
    track = None if options.track is None else Path(options.track).expanduser()
    files = find_fasta(options.fasta)
    genome = Genome(files)
    if options.bed is None:
        records = [r for r in genome.records if r.length]
        intervals = [Interval(r.name, 0, r.length, r.name) for r in records]
    else:
        intervals = read_bed(Path(options.bed).expanduser())
    for interval in intervals:
        genome.check(interval)
    import torch  # a mistake is answered without it

    from backbone.models import context_engine, load, weights_sha256

    keep_freed_memory()
    torch.set_num_threads(options.threads)
    check_device(options.device)
    model = load(options.backbone, options.device)
    scan = Scan(context_engine(model), genome, intervals, options)
    journal = Journal(out, _identity(scan, files, weights_sha256(model)), track)
    if journal.sums:
        print(f"{len(journal.sums)} of {len(scan.todo)} stretches are there", file=sys.stderr)
    _score(scan, journal, 1 if options.device == "cpu" else options.batch_size)
    totals: dict[int, Sums] = defaultdict(Sums)
    for stretch in scan.todo:
        totals[stretch.interval] += journal.sums[stretch]
    write_text(out, table(intervals, [totals[i] for i in range(len(intervals))]))
    if track is not None and journal.track is not None:
        if track.suffix.lower() in BIGWIG:
            write_bigwig(journal.track, [(r.name, r.length) for r in genome.records], track)
        else:
            journal.track.replace(track)
    journal.close()
    whole = sum(totals.values(), Sums())
    yield from written(
        f"{len(intervals)} rows, {_bits(whole)} bits a base: {out}",
        *([out] if track is None else [out, track]),
    )


def _score(scan: Scan, journal: Journal, at_once: int) -> None:
    """Read the stretches that the journal lacks."""
    left = [stretch for stretch in scan.todo if stretch not in journal.sums]
    lines = nullcontext(None) if journal.track is None else journal.track.open("a")
    console = Console(stderr=True)
    with (
        lines as track,
        journal.path.open("a", encoding="utf-8") as file,
        rich.progress.Progress(
            console=console, transient=True, disable=not console.is_terminal
        ) as bar,
    ):
        work = bar.add_task("bases", total=sum(one.end - one.start for one in left))
        for start in range(0, len(left), at_once):
            some = left[start : start + at_once]
            for stretch, (sums, bits) in zip(some, scan.read(some), strict=True):
                interval = scan.intervals[stretch.interval]
                at = np.arange(stretch.start, stretch.end) + interval.start
                text = bedgraph_lines(interval.record, at, at + 1, bits) if track else ""
                journal.add(file, track, stretch, sums, text)
                bar.advance(work, stretch.end - stretch.start)


def _identity(scan: Scan, files: Sequence[Path], weights: str) -> str:
    """Return a hash of everything that changes a stretch's numbers."""
    import torch

    stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    places = [str(interval) for interval in scan.intervals]
    settings = (VERSION, weights, scan.context, scan.overlap, scan.both, torch.get_num_threads())
    return hashlib.sha256(json.dumps([settings, stamps, places]).encode()).hexdigest()


def table(intervals: Sequence[Interval], sums: Sequence[Sums]) -> str:
    """Return a tab-separated table of intervals.

    `forward` and `reverse` are the log-likelihoods of the interval as it is given and of its
    reverse complement, `log_likelihood` is their mean, and `bases` the bases counted on a strand.
    """
    names = ("record", "start", "end", "name", "strand", "bases")
    lines = ["\t".join([*names, "log_likelihood", "bits_per_base", "forward", "reverse"])]
    for at, found in zip(intervals, sums, strict=True):
        strands = [(found.forward, found.forward_bases), (found.reverse, found.reverse_bases)]
        if at.strand == "-":
            strands.reverse()
        cells = [f"{value:.6f}" if bases else "" for value, bases in strands]
        read = [value for value, bases in strands if bases]
        mean = f"{sum(read) / len(read):.6f}" if read else ""
        bases = max(found.forward_bases, found.reverse_bases)
        where = [at.record, str(at.start), str(at.end), at.name, at.strand, str(bases)]
        lines.append("\t".join([*where, mean, _bits(found), *cells]))
    return "\n".join(lines) + "\n"


def _bits(sums: Sums) -> str:
    """Return the bits per base of both strands; empty without any base."""
    count = sums.forward_bases + sums.reverse_bases
    return f"{-(sums.forward + sums.reverse) / count / math.log(2):.6f}" if count else ""


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        return exit_code(lambda: [help_text(Options, "python -m backbone.likelihood")])
    return exit_code(lambda: run(read_options(Options, arguments)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
