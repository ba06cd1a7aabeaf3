"""Apply a finished run to unlabelled DNA: `python -m icl.predict run=RUN_DIR fasta=x.fa`.

The table has one row per record of the FASTA files, or per interval of a BED file (`bed=x.bed`).
With `window=`, it has one row per window along them, and a track is written too (see `icl.scan`).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from backbone.common.command import emit, emit_files, entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.json_output import JSON, JSON_HELP
from backbone.common.names import unknown
from backbone.common.options import aligned, check_options, option, option_lines
from backbone.devices import device_option
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.dna import normalise, reverse_complement
from backbone.sequence.fasta import Genome, find_fasta
from backbone.sequence.tracks import check_track
from icl.config.hydra_cli import Command, launch
from icl.config.options import from_dict
from icl.controls import controlled_words
from icl.environment import prepare_arithmetic
from icl.method import Context, Method
from icl.methods.catalog import METHODS
from icl.reporting.report import Report, read_learned, read_report
from icl.run import other_rows
from icl.scan import scan, write_scan
from icl.truncation import Cut
from tasks.kinds import TASK_KINDS
from tasks.task import Example, Kind

if TYPE_CHECKING:
    from backbone.protocol import LanguageModel


@dataclass
class PredictConfig:
    """Every option of `python -m icl.predict`."""

    run: str = option(MISSING, "folder of a finished run")
    fasta: str = option(MISSING, "FASTA file (plain, gzip or bgzip) or folder")
    bed: str | None = option(None, "intervals to score; by default all records")
    out: str = option("scores.tsv", "table to write")
    strands: str = option("both", "strands to average", choices=("both", "forward"))
    columns: list[str] = option([], "additional columns of the table", choices=("sequence",))
    window: int | None = option(None, "scan in windows of this many bases", least=1)
    step: int | None = option(
        None, "bases between the starts of windows; by default half a window", least=1
    )
    class_: str | None = option(None, "class or label in the track; by default the last")
    track: str | None = option(
        None, "track of a scan, .bedgraph or .bw; by default next to the table"
    )
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)
    batch_size: int = option(64, "rows per forward pass", least=1)
    plugins: list[str] = option([], "modules with the run's method, as [my_lab.methods]")


def predict(method: Method, sequences: Sequence[str], *, strands: str = "both") -> np.ndarray:
    """Return the probabilities of the classes, (N, C) float64, for N sequences over ACGTN.

    For a multi-label task, return those of the labels, (N, L); for a regression, the predicted
    number, (N, 1).

    Args:
        method: A method that has learned.
        sequences: What to score; labels are not needed.
        strands: "both" averages a sequence and its reverse complement, as the method does if it
            averages by itself, else their probabilities; "forward" reads the sequence alone.

    Raises:
        InputError: If a sequence cannot be read by the method.
    """
    forward = [Example(sequence, 0) for sequence in sequences]
    method.check(forward)
    if strands == "forward":
        method.read_forward_alone()
    kind = TASK_KINDS[method.context.kind]
    answers = kind.probabilities(method.scores(forward))
    if strands == "forward" or method.averages_strands:
        return answers
    reverse = [Example(reverse_complement(sequence), 0) for sequence in sequences]
    return (answers + kind.probabilities(method.scores(reverse))) / 2


def load_method(
    run: Path, *, device: str = "cpu", batch_size: int = 64, kept_bytes: int | None = None
) -> tuple[Method, Report]:
    """Return the method of a finished run, with its learned parameters, and the run's report.

    Args:
        run: The run's folder.
        device: Device of its backbone.
        batch_size: Rows of a forward pass.
        kept_bytes: Memory limit for the states of rows; None for the default.

    Raises:
        InputError: If the run is unfinished or damaged, or its backbone has changed.
    """
    report = read_report(run)
    config = from_dict(report.setup.config)
    context = Context(
        labels=report.setup.labels,
        kind=report.setup.kind,
        seed=report.setup.seed,
        load_backbone=lambda: _same_backbone(report, device),
        device=device,
        precision="bf16" if config.precision == "bf16" else "float32",
        batch_size=batch_size,
        prompt_tokens=report.setup.prompt_tokens,
        shots=report.setup.shots,
        label_words=controlled_words(
            config.verbalizer.words, config.control, len(report.setup.labels)
        ),
        control=config.control,
        other_rows=other_rows(config),
        kept_bytes=kept_bytes,
    )
    method = METHODS.get(report.setup.method).cls(config.method, context)
    method.load_state(read_learned(run))
    return method, report


@dataclass(frozen=True)
class LoadedRun:
    """A finished run whose method can score any sequences.

    Attributes:
        report: The run's report: its setup and its outcome.
        method: Its method, with its learned parameters.
    """

    report: Report
    method: Method

    def predict_proba(self, sequences: Sequence[str], *, strands: str = "both") -> np.ndarray:
        """Return probabilities (N, C) of N sequences; see `predict`.

        A run with `truncate` cuts longer sequences as it cut its rows.

        Raises:
            InputError: If a sequence is not DNA, or too long for the backbone.
        """
        clean = [normalise(text, row)[0] for row, text in enumerate(sequences, start=1)]
        cut = cut_of_run(self.report)
        texts = clean if cut is None else [cut.text(text) for text in clean]
        return predict(self.method, texts, strands=strands)

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the likeliest class of each sequence, (N,).

        For a multi-label task, return the labels above one half, (N, L) of 0 and 1; for a
        regression, the numbers, (N,).
        """
        answers = self.predict_proba(sequences)
        if self.report.setup.kind == "regression":
            return answers[:, 0]
        if self.report.setup.kind == "multi_label":
            return (answers > 0.5).astype(np.int64)
        return np.array(self.report.setup.labels)[answers.argmax(axis=1)]


def load_run(folder: str | Path, *, device: str = "cpu", batch_size: int = 64) -> LoadedRun:
    """Return a finished run, which can score other sequences.

    Args:
        folder: The folder of the run, as runs/TASK/METHOD/HASH.
        device: cpu, cuda or mps.
        batch_size: Rows of a forward pass.

    Raises:
        InputError: If the run is unfinished or damaged, or its backbone has changed since.
    """
    path = Path(folder).expanduser()
    method, report = load_method(path, device=device, batch_size=batch_size)
    return LoadedRun(report, method)


def cut_of_run(report: Report) -> Cut | None:
    """Return how a run cut its rows; None if it did not."""
    details = report.outcome.details
    if "max_bases" not in details:
        return None
    return Cut(report.setup.config["truncate"], details["max_bases"])


def _same_backbone(report: Report, device: str) -> "LanguageModel":
    from backbone.models import load, weights_sha256

    model = load(str(report.setup.backbone), device)
    if weights_sha256(model) != report.setup.weights_sha256:
        raise InputError(
            f"backbone={report.setup.backbone} has other weights than when the run was made; "
            f"restore them or run again"
        )
    return model


def interval_read(interval: Interval, cut: Cut) -> Interval:
    """Return the part of an interval that a run reads, so that only this is read from the file."""
    start, end = cut.span(interval.end - interval.start)
    if interval.strand == "-":
        return replace(interval, start=interval.end - end, end=interval.end - start)
    return replace(interval, start=interval.start + start, end=interval.start + end)


@dataclass(frozen=True)
class AnswerTable:
    """A tab-separated table: the intervals, the likeliest class and the probabilities.

    For a multi-label task there are only the probabilities, for a regression only the number.

    Attributes:
        labels: Of the task.
        kind: Of the task.
        columns: What follows: ["sequence"], or nothing.
    """

    labels: Sequence[str]
    kind: Kind = "classes"
    columns: Sequence[str] = ()

    def header(self) -> str:
        """Return the first line."""
        names = ["record", "start", "end", "name", "strand"]
        names += TASK_KINDS[self.kind].answer_columns(self.labels)
        return "\t".join([*names, *self.columns]) + "\n"

    def lines(
        self, intervals: Sequence[Interval], sequences: Sequence[str], answers: np.ndarray
    ) -> str:
        """Return a line for each of N intervals, with its sequence as it was read."""
        lines = []
        for at, sequence, row in zip(intervals, sequences, answers, strict=True):
            where = [at.record, str(at.start), str(at.end), at.name, at.strand]
            cells = TASK_KINDS[self.kind].answer_cells(self.labels, row)
            lines.append("\t".join([*where, *cells, *([sequence] if self.columns else [])]))
        return "".join(f"{line}\n" for line in lines)


def _check(config: PredictConfig) -> None:
    check_options(config)
    folder = Path(config.out).expanduser().parent
    if not folder.is_dir():
        raise InputError(f"out={config.out}: there is no folder {folder}")
    for name in ("step", "class_", "track"):
        if config.window is None and getattr(config, name) is not None:
            raise InputError(f"{name.rstrip('_')}= is for a scan: give window= too")
    if config.track is not None:
        check_track(config.track)


def job(cfg: DictConfig) -> None:
    """Score the records or intervals, and write the table."""
    config = PredictConfig(**OmegaConf.to_container(cfg))  # type: ignore[arg-type]
    _check(config)
    prepare_arithmetic(config.threads, config.device)
    method, report = load_method(
        Path(config.run).expanduser(),
        device=config.device,
        batch_size=config.batch_size,
        kept_bytes=None if config.window is None else 0,
    )
    genome = Genome(find_fasta([config.fasta]))
    if config.bed is None:
        intervals = [Interval(r.name, 0, r.length, r.name) for r in genome.records]
    else:
        intervals = read_bed(Path(config.bed).expanduser())
    for interval in intervals:
        genome.check(interval)
    answers = AnswerTable(report.setup.labels, report.setup.kind, config.columns)
    if config.window is not None:
        _scan(config, method, report, genome, intervals, answers)
        return
    cut = cut_of_run(report)
    sequences = [
        genome.cut(interval if cut is None else interval_read(interval, cut))
        for interval in intervals
    ]
    try:
        method.check([Example(sequence, 0) for sequence in sequences])
    except InputError as error:
        raise InputError(f"{error}; or scan long sequences with window=") from error
    found = predict(method, sequences, strands=config.strands)
    out = Path(config.out).expanduser()
    write_text(out, answers.header() + answers.lines(intervals, sequences, found))
    emit({"rows": len(intervals)})
    emit_files(f"{len(intervals)} row{'s' * (len(intervals) != 1)}: {out}", out)


def _scan(
    config: PredictConfig,
    method: Method,
    report: Report,
    genome: Genome,
    intervals: Sequence[Interval],
    answers: AnswerTable,
) -> None:
    """Score windows along the intervals, and write table and track.

    Raises:
        InputError: If the window is longer than what the run reads, or there is no such class.
    """
    assert config.window is not None
    labels, out = report.setup.labels, Path(config.out).expanduser()
    shown = labels[-1] if config.class_ is None else config.class_
    if shown not in labels:
        raise unknown("class", shown, labels)
    try:
        method.check([Example("A" * config.window, 0)])
    except InputError as error:
        reason = str(error).removeprefix("row 1: ")
        raise InputError(f"window={config.window}: {reason}") from error
    cut = cut_of_run(report)
    if cut is not None and config.window > cut.most:
        raise InputError(
            f"window={config.window}: the run reads {cut.most} bases of a row (max_bases)"
        )
    step = max(1, config.window // 2) if config.step is None else config.step
    track = out.with_suffix(".bedgraph") if config.track is None else Path(config.track)
    count = write_scan(
        genome,
        intervals,
        lambda order: scan(
            genome,
            order,
            config.window or 1,
            step,
            lambda texts: predict(method, texts, strands=config.strands),
        ),
        answers.lines,
        answers.header(),
        labels.index(shown),
        out,
        track.expanduser(),
    )
    emit({"windows": count})
    line = f"{count} windows: {out}; {shown} along the sequences: {track}"
    emit_files(line, out, track.expanduser())


def help_text(words: Sequence[str]) -> str:
    """Return the options and an example."""
    lines = [
        "Apply what a finished run has learned to unlabelled sequences.",
        "",
        "Example",
        "  python -m icl.predict run=runs/enhancer_cohn/soft_prompt/0123456789ab fasta=x.fa",
        "",
        "Options",
    ]
    return "\n".join([*lines, *aligned(option_lines(PredictConfig) | {JSON: JSON_HELP})])


COMMAND = Command(
    config_name="predict",
    schema=PredictConfig,
    groups={},
    required=("run", "fasta"),
    help_text=help_text,
    job=job,
    register=lambda: ConfigStore.instance().store(name="predict", node=PredictConfig),
)


@entry_point
def main(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    return launch(COMMAND, argv)


if __name__ == "__main__":
    sys.exit(main())
