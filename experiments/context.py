"""Perplexity by context length: the same bases, scored with short and with long contexts.

`python -m experiments.context backbone=bundled fasta=held_out.fa out=DIR` cuts the FASTA files into
windows that do not overlap, each as long as the checkpoint's context. The last bases of every
window are scored with 256, 1,024, 4,096 ... bases of context, up to the checkpoint's maximum, and
by Markov models fitted to other sequences. Intervals are bootstrapped over windows; the gain over
the shortest context is paired on the same windows.
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

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from backbone.devices import device_option
from backbone.pretraining.markov import ORDERS, MarkovModel
from backbone.sequence.fasta import Genome, find_fasta
from backbone.tokens import encode_dna
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
from tasks.metrics.bootstrap import Estimate, bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from backbone.protocol import LanguageModel

SHORTEST, FACTOR = 256, 4
"""Contexts are SHORTEST, FACTOR times that, and so on, and the longest that fits."""

MAX_UNKNOWN = 0.1
"""Windows with a larger share of N are skipped; scored bases are never N."""

RESAMPLES = 2000
"""Bootstrap resamples of the windows."""


@dataclass
class Options:
    """Options of the command."""

    backbone: str = option("bundled", "a bundled or published name, a folder, or hf:FOLDER_OR_ID")
    fasta: list[str] = option([], "files, folders or globs whose bases are scored (required)")
    markov_fasta: list[str] = option([], "FASTA files for Markov models, without the scored files")
    out: str = option("runs-context", "folder of the table and the figure")
    windows: int = option(200, "number of windows, evenly spaced", least=1)
    scored: int = option(128, "bases scored at the end of each window", least=1)
    device: str = device_option()
    threads: int = option(1, "CPU threads", least=1)


def measure(options: Options) -> Path:
    """Score everything, write table and picture, and return the table's path.

    Raises:
        InputError: If options or files cannot be used.
    """
    if not options.fasta:
        raise InputError("fasta= is missing; give the files whose bases are scored")
    prepare_arithmetic(options.threads, options.device)
    from backbone.models import load

    model = load(options.backbone, options.device)
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
    """Return the context lengths of a checkpoint: a geometric series, then the longest.

    The first scored base has exactly this many bases before it, the last one scored - 1 more.

    Raises:
        InputError: If the checkpoint is too short for one.
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
    """Cut records into windows that do not overlap, at most `most`, evenly chosen.

    Returns:
        (windows, length) ASCII codes, without N among the scored bases and those that the longest
        Markov context reads.

    Raises:
        InputError: If there is none.
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
        raise InputError(f"the FASTA files contain no window of {length} bases without much N")
    return windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)]


def model_bits(
    model: LanguageModel, windows: np.ndarray, lengths: Sequence[int], scored: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each context length and the bits (windows, scored) of the scored bases."""
    import torch

    device = model.device
    ids = torch.from_numpy(np.stack([encode_dna(row.tobytes().decode()) for row in windows]))
    for context in lengths:
        found = []
        with torch.inference_mode():
            for row in ids.to(device):  # one by one, so that nothing depends on the others
                seen = row[-(context + scored) :]
                hidden = model.encode(model.embed(seen[None, :-1]))[0, -scored:]
                logs = model.logits(hidden).float().log_softmax(-1)
                found.append(-logs.gather(1, seen[-scored:, None])[:, 0].cpu() / log(2))
        yield context, torch.stack(found).double().numpy()


def markov_bits(
    files: Sequence[Path], windows: np.ndarray, scored: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each order and the bits (windows, scored) by a Markov model of other files."""
    genome = Genome(files)
    sequences = [genome.letters(record) for record in genome.records]
    for order in ORDERS:
        model = MarkovModel(order).fit(sequences)
        rows = [model.log_probabilities(row[-(scored + order) :])[-scored:] for row in windows]
        yield order, -np.stack(rows) / log(2)


def table_of(scores: dict[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Return a row for each model and context.

    `gain` is the number of bits per base saved against the first row, paired on the same windows.
    Intervals are empty where no window differs from another, as for the gain of the first row.
    """
    first = next(iter(scores.values())).mean(axis=1)
    rows = []
    for (name, context), bits in scores.items():
        windows = bits.mean(axis=1)
        bits_per_base, gain = _mean_over_windows(windows), _mean_over_windows(first - windows)
        rows.append(
            {
                "model": name,
                "context": context,
                "bases": bits.size,
                "bits_per_base": bits_per_base.value,
                "low": bits_per_base.low,
                "high": bits_per_base.high,
                "perplexity": 2**bits_per_base.value,
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )
    return pd.DataFrame(rows)


def _mean_over_windows(values: np.ndarray) -> Estimate:
    """Return the mean of one value per window, (windows,), with its bootstrap interval."""
    blocks = bootstrap_weights(len(values), RESAMPLES, seed=0)
    draws = np.concatenate([weights @ values for weights in blocks]) / len(values)
    return percentile_interval(float(values.mean()), draws)


def draw(table: pd.DataFrame) -> Figure:
    """Draw bits per base against context; Markov models are horizontal lines."""
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


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    name = "python -m experiments.context"
    return run_command(name, Options, lambda options: [measure(options)], arguments)


if __name__ == "__main__":
    sys.exit(main())
