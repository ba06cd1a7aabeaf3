"""Perplexity by context length: the same bases, scored with little and with much before them.

Usage:
    python -m experiments.context backbone=bundled fasta=held_out.fa out=DIR [key=value ...]

Windows that do not overlap are cut from the FASTA files, each as long as the checkpoint reads. The
last bases of every window are scored with 256, 1,024, 4,096 ... bases before the first of them, as
far as the checkpoint goes, and by Markov models of other bases. Intervals are bootstrapped over
windows; the gain over the shortest context is paired on the same windows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from backbone.hyena import zoo
from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import encode_dna
from backbone.pretraining.markov import ORDERS, MarkovModel
from backbone.sequence.fasta import Genome, find_fasta
from experiments.common.command import run_command
from experiments.pictures.style import (
    CHANCE,
    FONT_SIZE,
    LINES,
    baseline,
    doubling_axis,
    frame,
    save_png,
)
from icl.environment import prepare_arithmetic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORTEST, FACTOR = 256, 4
"""Contexts are SHORTEST, FACTOR times that, and so on, and the longest that fits."""

MAX_UNKNOWN = 0.1
"""Windows with a larger share of N are passed over; scored bases are never N."""

DRAWS = 2000
"""Of the bootstrap."""


@dataclass
class Options:
    """What the command line can set."""

    backbone: str = option("bundled", "a bundled or published name, or a folder")
    fasta: list[str] = option([], "files, folders or globs whose bases are scored (required)")
    markov_fasta: list[str] = option([], "what Markov models count; scored files are left out")
    out: str = option("runs-context", "folder for the table and the picture")
    windows: int = option(200, "windows, evenly chosen from all that there are")
    scored: int = option(128, "bases scored at the end of each")
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(1, "threads of the arithmetic")


def measure(options: Options) -> Path:
    """Scores everything and writes table and picture; returns the table's path.

    Raises:
        InputError: for options or files that cannot be used.
    """
    for name in ("windows", "scored", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)}: must be at least 1")
    if not options.fasta:
        raise InputError("fasta= is missing; name the files whose bases are to be scored")
    prepare_arithmetic(options.threads, options.device)
    model = zoo.load(options.backbone, options.device)
    files = find_fasta(options.fasta)
    lengths = contexts(model.config.max_seq_len, options.scored)
    windows = cut(Genome(files), lengths[-1] + options.scored, options.scored, options.windows)
    scores: dict[tuple[str, int], np.ndarray] = {}
    for context, bits in model_bits(model, windows, lengths, options.scored):
        scores[options.backbone, context] = bits
        print(f"{context:>9,} bases of context: {bits.mean():.4f} bits a base", flush=True)
    if options.markov_fasta:
        known = {path.resolve() for path in files}
        rest = [path for path in find_fasta(options.markov_fasta) if path.resolve() not in known]
        for order, bits in markov_bits(rest, windows, options.scored):
            scores[f"Markov, order {order}", order] = bits
            print(f"Markov, order {order:>3}: {bits.mean():.4f} bits a base", flush=True)
    table = table_of(scores)
    path = Path(options.out) / "context.csv"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, table.to_csv(index=False, float_format="%.5g"))
        save_png(draw(table), path.with_suffix(".png"))
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror}") from error
    return path


def contexts(max_seq_len: int, scored: int) -> list[int]:
    """Returns the context lengths for a checkpoint: a ladder, then the longest.

    The first scored base has exactly so many bases before it, the last one scored - 1 more.

    Raises:
        InputError: if the checkpoint is too short for one.
    """
    longest = max_seq_len - scored
    if longest < SHORTEST:
        raise InputError(
            f"max_seq_len {max_seq_len} leaves {longest} bases before {scored} scored ones, "
            f"fewer than {SHORTEST}; lower scored="
        )
    ladder = []
    context = SHORTEST
    while context < longest:
        ladder.append(context)
        context *= FACTOR
    return [*ladder, longest]


def cut(genome: Genome, length: int, scored: int, most: int) -> np.ndarray:
    """Cuts records into windows that do not overlap, at most `most`, evenly chosen.

    Returns:
        (windows, length) ASCII codes. The last bases, those that are scored and those that the
        longest Markov context reads, hold no N.

    Raises:
        InputError: if there is none.
    """
    clean = scored + max(ORDERS)
    found = []
    for record in genome.records:
        letters = genome.letters(record)
        tiles = letters[: len(letters) // length * length].reshape(-1, length)
        unknown = tiles == ord("N")
        good = (unknown.mean(axis=1) <= MAX_UNKNOWN) & ~unknown[:, -clean:].any(axis=1)
        found.append(tiles[good])
    windows = np.concatenate(found)
    if not len(windows):
        raise InputError(f"the FASTA files hold no window of {length} bases without much N")
    return windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)]


@torch.inference_mode()
def model_bits(
    model: HyenaDNA, windows: np.ndarray, lengths: Sequence[int], scored: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each context length and the bits (windows, scored) of the scored bases."""
    device = model.lm_head.weight.device
    ids = torch.from_numpy(np.stack([encode_dna(row.tobytes().decode()) for row in windows]))
    for context in lengths:
        found = []
        for row in ids.to(device):  # one by one, so that nothing depends on the others
            seen = row[-(context + scored) :]
            hidden = model.encode(model.embed(seen[None, :-1]))[0, -scored:]
            logs = model.logits(hidden).float().log_softmax(-1)
            found.append(-logs.gather(1, seen[-scored:, None])[:, 0].cpu() / log(2))
        yield context, torch.stack(found).double().numpy()


def markov_bits(
    files: Sequence[Path], windows: np.ndarray, scored: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each order and the bits (windows, scored) by a Markov model of other files."""
    genome = Genome(files)
    sequences = [genome.letters(record) for record in genome.records]
    for order in ORDERS:
        model = MarkovModel(order).fit(sequences)
        rows = [model.log_probabilities(row[-(scored + order) :])[-scored:] for row in windows]
        yield order, -np.stack(rows) / log(2)


def table_of(scores: dict[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Returns one row a model and context; the first one is what gains are counted from.

    `gain` is how many bits a base fewer than the first row, with its 95 % interval on the same
    windows.
    """
    first = next(iter(scores.values())).mean(axis=1)
    draws = np.random.default_rng(0).integers(len(first), size=(DRAWS, len(first)))
    rows = []
    for (name, context), bits in scores.items():
        windows = bits.mean(axis=1)
        low, high = np.percentile(windows[draws].mean(axis=1), [2.5, 97.5])
        gain = first - windows
        gain_low, gain_high = np.percentile(gain[draws].mean(axis=1), [2.5, 97.5])
        rows.append(
            {
                "model": name,
                "context": context,
                "bases": bits.size,
                "bits_per_base": windows.mean(),
                "low": low,
                "high": high,
                "perplexity": 2 ** windows.mean(),
                "gain": gain.mean(),
                "gain_low": gain_low,
                "gain_high": gain_high,
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Draws bits a base against context; Markov models are level lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    markov = table["model"].str.startswith("Markov")
    ours = table[~markov]
    style = LINES[0]
    axes.fill_between(ours["context"], ours["low"], ours["high"], color=style.color, alpha=0.15)
    axes.plot(ours["context"], ours["bits_per_base"], **style.line)
    axes.annotate(
        f"{ours['model'].iloc[0]}, 95 % over windows",
        (ours["context"].iloc[0], ours["bits_per_base"].iloc[0]),
        xytext=(6, 8),
        textcoords="offset points",
        fontsize=FONT_SIZE - 1,
    )
    levels = table[markov]
    for number, (model, level) in enumerate(
        zip(levels["model"], levels["bits_per_base"], strict=True)
    ):
        line = baseline(number)
        axes.axhline(level, color=line.color, linestyle=line.linestyle, linewidth=1)
        axes.annotate(
            model, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=FONT_SIZE - 1, color=line.color,
        )  # fmt: skip
    axes.axhline(2, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1)
    doubling_axis(axes)
    frame(axes, "context before the first scored base (bases)", "bits per base (2 is a guess)", "")
    axes.set_title(f"The same {table['bases'].iloc[0]:,} held-out bases", fontsize=FONT_SIZE + 1)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    name = "python -m experiments.context"
    return run_command(name, Options, lambda options: [measure(options)], arguments)


if __name__ == "__main__":
    sys.exit(main())
