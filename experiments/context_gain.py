"""Context gain: the bits per base that preceding related windows save, against their number.

`python -m experiments.context_gain backbones=[bundled,bundled-icl] fasta=GENOMES holdout=[...]`
reads windows of the held-out regions after 0, 1, 2, 4 ... related windows, and after the same
number of unrelated ones, and writes a table and a figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.memory import keep_freed_memory
from backbone.common.options import Sources, option
from backbone.devices import check_device, device_option
from backbone.pretraining.related.context_gain import COUNTS, ContextGain, context_gain
from backbone.pretraining.related.genomes import Genomes, read_genomes
from backbone.pretraining.related.source import STREAMS
from backbone.pretraining.related.stream import read_mixture
from backbone.pretraining.windows import divide
from experiments.common.command import run_command
from experiments.pictures.context_gain import draw
from experiments.pictures.style import save
from tasks.metrics.bootstrap import Estimate, mean_over_divisions

COLUMNS = (
    "backbone", "stream", "windows", "related", "related_low", "related_high", "unrelated",
    "unrelated_low", "unrelated_high", "gain", "gain_low", "gain_high", "queries", "bases",
)  # fmt: skip
"""Bits a base, with 95 % intervals over the queries; the gain is unrelated minus related."""


@dataclass
class Options(Sources):
    """Options of the command."""

    backbones: list[str] = option(["bundled"], "checkpoint names or folders")
    streams: list[str] = option(
        ["neighbourhood", "enriched", "genome", "markov"], "what related windows share"
    )
    counts: list[int] = option(list(COUNTS), "numbers of preceding windows", least=0)
    queries: int = option(
        64, "number of query windows, which are read after the preceding ones", least=2
    )
    bases: int = option(100, "length of every window", least=10)
    seed: int = option(0, "random seed of the windows", least=0)
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)
    out: str = option("runs-context-gain", "folder of the table and the figure")


def measure(options: Options) -> pd.DataFrame:
    """Return a row for each backbone, stream and number of windows, with the columns COLUMNS.

    Raises:
        InputError: If backbones, genomes or streams cannot be used.
    """
    from backbone.models import load

    streams = list(read_mixture(options.streams))
    if not options.counts or not options.backbones:
        raise InputError("give at least one of counts and backbones")
    genomes = _held_out(options)
    rows = []
    for name in options.backbones:
        model = load(name, options.device)
        for stream in streams:
            print(f"{name}: {stream}", file=sys.stderr)
            found = context_gain(
                model,
                STREAMS[stream](genomes),
                options.counts,
                options.queries,
                options.bases,
                options.seed,
            )
            rows += [
                (name, stream, *values, options.queries, options.bases) for values in _rows(found)
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _held_out(options: Options) -> Genomes:
    """Read the held-out regions, or all of the genomes where nothing is held out."""
    if not options.fasta:
        raise InputError("fasta= is missing: give FASTA files, a folder or a glob")
    division = divide(options.fasta, options.valid_fasta, options.holdout, options.bed)
    part = "valid" if division.valid else "train"
    genomes = read_genomes({"genome": division}, part)
    assert genomes is not None  # `divide` leaves something to train on
    return genomes


def _rows(found: ContextGain) -> list[tuple[float, ...]]:
    rows = []
    for place, count in enumerate(found.counts):
        estimates = [
            mean_over_divisions([Estimate(float(bits), bits, bits) for bits in values[:, place]])
            for values in (found.related, found.unrelated, found.gain)
        ]
        flat = [end for one in estimates for end in (one.value, one.low, one.high)]
        rows.append((count, *flat))
    return rows


def write_context_gain(options: Options) -> list[object]:
    """Measure, write the table and the picture, and return the table with the paths.

    Raises:
        InputError: If options cannot be used, or the files cannot be written.
    """
    import torch

    check_device(options.device)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    table = measure(options)
    paths = save(draw(table), table, "context_gain", Path(options.out).expanduser())
    shown = table[["backbone", "stream", "windows", "related", "unrelated", "gain"]]
    return [shown.to_string(index=False, float_format="%.4f"), *paths]


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    name = "python -m experiments.context_gain"
    return run_command(name, Options, write_context_gain, arguments)


if __name__ == "__main__":
    sys.exit(main())
