"""Time and memory of prompts and of pretraining, measured on this machine.

Usage:

    python -m experiments.speed prompt [key=value ...]     (prompt --help lists the options)
    python -m experiments.speed k_shot [key=value ...]
    python -m experiments.speed channel [key=value ...]
    python -m experiments.speed mutagenesis [key=value ...]
    python -m experiments.speed pretrain [key=value ...]
    python -m experiments.speed variants [key=value ...]

`prompt` measures the cost of a shared prompt: a training step and the evaluation of a batch, on the
plain path (prompt and query concatenated, the whole sequence through all layers, as published) and
with the prefix engine, and the peak memory of each. Table and picture grow row by row.
`k_shot` measures the evaluation of queries behind fixed demonstrations in the same two ways.
`channel` measures queries behind the context of every class: the evaluation behind demonstrations,
and a training step of learned vectors, next to that of vectors that are read directly.
`mutagenesis` measures the scores of all mutants of some rows under a prompt, whole and shared.
`pretrain` measures a training step against its length, up to a million tokens, next to the operator
as published and a Transformer. A length that is in the table is not measured again.
`variants` measures the scores of variants on both strands, next to whole passes over both alleles.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.common.command import run_one_of
from experiments.speed import channel as speed_channel
from experiments.speed import k_shot as speed_k_shot
from experiments.speed import mutagenesis as speed_mutagenesis
from experiments.speed import pretrain as speed_pretrain
from experiments.speed import prompt as speed_prompt
from experiments.speed import variants as speed_variants

COMMANDS: dict[str, tuple[type, Callable[..., Path]]] = {
    "prompt": (speed_prompt.Options, speed_prompt.measure_all),
    "k_shot": (speed_k_shot.Options, speed_k_shot.measure_all),
    "channel": (speed_channel.Options, speed_channel.measure_all),
    "mutagenesis": (speed_mutagenesis.Options, speed_mutagenesis.measure_all),
    "pretrain": (speed_pretrain.Options, speed_pretrain.measure_all),
    "variants": (speed_variants.Options, speed_variants.measure_all),
}
"""Subcommands: the options of each, and the function that returns its table's path."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    works = {
        name: (options, lambda given, measure_all=measure_all: [measure_all(given)])
        for name, (options, measure_all) in COMMANDS.items()
    }
    return run_one_of(
        "python -m experiments.speed", __doc__, works, arguments, without_arguments="work"
    )


if __name__ == "__main__":
    sys.exit(main())
