"""Comparison of pretraining runs.

Usage:

    python -m experiments.pretraining curves runs=[NAME=DIR,...] [out=DIR]
    python -m experiments.pretraining genomes models=[NAME=DIR,...] held_out=[NAME=FASTA,...]

`curves` reads metrics.jsonl of finished or running runs and writes perplexity on held-out regions
against time and tokens, as a table and a figure. `genomes` scores models on held-out FASTA files,
with a row for each model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import atomic_write
from backbone.common.memory import keep_freed_memory
from backbone.common.options import option
from backbone.devices import check_device, device_option
from experiments.common.command import run_one_of
from experiments.pictures.style import FONT_SIZE, frame, look, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass
class Curves:
    """Options of `curves`."""

    runs: list[str] = option([], "runs, each as NAME=DIR (required)")
    out: str = option(".", "folder of curves.csv and curves.png")


@dataclass
class Genomes:
    """Options of `genomes`."""

    models: list[str] = option([], "models, each as NAME=DIR (required)")
    held_out: list[str] = option(
        [], "bases, each as NAME=FASTA or NAME=FASTA:RECORD:START-END (required)"
    )
    length: int | None = option(
        None, "bases of a window; by default the models' max_seq_len", least=1
    )
    device: str = device_option("device of the models")
    threads: int = option(1, "CPU threads", least=1)
    out: str = option(".", "folder of genomes.csv")


def named(pairs: Sequence[str], key: str) -> dict[str, str]:
    """Return `NAME=VALUE` pairs as a dictionary.

    Raises:
        InputError: If there is none, or one has no name.
    """
    if not pairs:
        raise InputError(f"{key}= is missing; write {key}=[NAME=DIR,...]")
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"{key}: {pair!r} has no name; write NAME=DIR")
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}


def read_curve(folder: str) -> pd.DataFrame:
    """Return the evaluations of a run: step, tokens, seconds, cpu_seconds, perplexity.

    Raises:
        InputError: If the folder has no run, or one that was not evaluated.
    """
    path = Path(folder, "metrics.jsonl")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    kept = ["step", "tokens", "seconds", "cpu_seconds", "valid_perplexity"]
    found = [[line[k] for k in kept] for line in lines if "valid_perplexity" in line]
    if not found:
        raise InputError(f"{path} has no valid_perplexity; hold something out in pretraining")
    return pd.DataFrame(found, columns=[*kept[:-1], "perplexity"])


def draw(table: pd.DataFrame) -> Figure:
    """Draw a table of curves: perplexity against computing time and against tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for number, (name, curve) in enumerate(table.groupby("run", sort=False)):
        line = {**look(number).line, "markersize": 4, "label": str(name)}
        panels[0].plot(curve["cpu_seconds"], curve["perplexity"], **line)
        panels[1].plot(curve["tokens"] / 1e6, curve["perplexity"], **line)
    frame(panels[0], "processor time (s)", "perplexity on held-out regions", grid="both")
    frame(panels[1], "tokens (millions)", grid="both")
    panels[0].legend(frameon=False, fontsize=FONT_SIZE)
    _skip_first_evaluations(panels[0], table)
    return figure


def _skip_first_evaluations(axes: Axes, table: pd.DataFrame) -> None:
    """Scale perplexity to all evaluations but each run's first, and name those that lie above."""
    later = table[table.duplicated("run")]["perplexity"]
    if later.empty:
        return
    margin = 0.06 * max(later.max() - later.min(), 0.01)
    top = later.max() + margin
    axes.set_ylim(later.min() - margin, top)
    above = table[table["perplexity"] > top]
    if len(above):
        said = ", ".join(
            f"{p:.2f} ({run})" for run, p in zip(above["run"], above["perplexity"], strict=True)
        )
        axes.set_title(
            f"above the picture, at the start: {said}", fontsize=FONT_SIZE - 1, loc="left"
        )


def curves(options: Curves) -> list[Path]:
    """Write table and picture of runs and return their paths.

    Raises:
        InputError: If a folder has no run.
    """
    runs = named(options.runs, "runs")
    tables = [read_curve(folder).assign(run=name) for name, folder in runs.items()]
    table = pd.concat(tables, ignore_index=True)
    table = table[["run", *(c for c in table.columns if c != "run")]]
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "curves.csv") as path:
        table.to_csv(path, index=False)
    save_png(draw(table), folder / "curves.png")
    return [folder / "curves.csv", folder / "curves.png"]


def perplexity(model: str, held_out: str, length: int | None, device: str = "cpu") -> float:
    """Return a model's perplexity on the windows of a FASTA file, each scored by itself.

    Args:
        model: Folder or name, as `load` takes it.
        held_out: `FASTA`, `FASTA:RECORD` or `FASTA:RECORD:START-END`.
        length: Length of the windows; the model's `max_seq_len` if None.
        device: Device of the model.

    Raises:
        InputError: If something cannot be read, or has no window of that length.
    """
    import torch

    from backbone.hyena.zoo import load
    from backbone.pretraining.data import GenomeSource
    from backbone.pretraining.optimization import loss_sum
    from backbone.pretraining.progress import perplexity_of
    from backbone.pretraining.windows import Division
    from backbone.sequence.bed import Interval
    from backbone.sequence.fasta import Genome, Region

    path, _, place = held_out.partition(":")
    genome = Genome([path])
    name, _, span = place.partition(":")
    records = [genome.record(name)] if name else genome.records
    regions = [Region(record, 0, record.length) for record in records]
    if span:
        try:
            start, end = map(int, span.split("-"))
        except ValueError:
            raise InputError(f"held_out={held_out}: write RECORD:START-END") from None
        regions = [Region(genome.check(Interval(name, start, end)), start, end)]
    network = load(model, device)
    source = GenomeSource(Division(genome, tuple(regions), tuple(regions)), max_unknown=0.1)
    rows = source.held_out(length or network.config.max_seq_len, sys.maxsize)
    assert rows is not None
    summed, counted = 0.0, 0
    with torch.inference_mode():
        for i in range(len(rows)):
            inputs, targets = (
                torch.from_numpy(ids).to(device, torch.int64)
                for ids in (rows[i : i + 1].inputs, rows[i : i + 1].targets)
            )
            total, count = loss_sum(network, inputs, targets)
            summed, counted = summed + float(total), counted + int(count)
    return perplexity_of(summed / counted)


def genomes(options: Genomes) -> list[Path]:
    """Score every model on every held-out file and return the table's path.

    Raises:
        InputError: If models or files cannot be read.
    """
    import torch

    check_device(options.device)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    sets = named(options.held_out, "held_out")
    rows = []
    for name, model in named(options.models, "models").items():
        scores = {
            one: perplexity(model, fasta, options.length, options.device)
            for one, fasta in sets.items()
        }
        rows.append({"model": name, **{k: round(v, 4) for k, v in scores.items()}})
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "genomes.csv") as path:
        pd.DataFrame(rows).to_csv(path, index=False)
    return [folder / "genomes.csv"]


COMMANDS: dict[str, tuple[type, Callable[..., list[Path]]]] = {
    "curves": (Curves, curves),
    "genomes": (Genomes, genomes),
}


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_one_of("python -m experiments.pretraining", __doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
