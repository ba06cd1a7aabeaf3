"""Time and memory of prompts and of pretraining, measured on this machine.

Usage:

    python -m experiments.speed prompt [key=value ...]     (prompt --help lists the options)
    python -m experiments.speed k_shot [key=value ...]
    python -m experiments.speed channel [key=value ...]
    python -m experiments.speed mutagenesis [key=value ...]
    python -m experiments.speed pretrain [key=value ...]
    python -m experiments.speed variants [key=value ...]
    python -m experiments.speed commits old=FOLDER data=FOLDER [key=value ...]
    python -m experiments.speed scale [key=value ...]
    python -m experiments.speed peers python=INTERPRETER [key=value ...]

`prompt` measures the cost of a shared prompt: time and peak memory of a training step and of the
evaluation of a batch, on the plain path (prompt and query concatenated, the whole sequence through
all layers, as published) and with the prefix engine. Table and figure grow row by row.
`k_shot` measures the evaluation of queries after fixed demonstrations in the same two ways.
`channel` measures queries after the context of every class: the evaluation after demonstrations,
and a training step of learned vectors, compared with a step of vectors for the direct readout.
`mutagenesis` measures the scoring of all mutants of some rows under a prompt, as whole rows and
with shared states.
`pretrain` measures a training step against the length of the sequence, up to a million tokens,
compared with the published operator and a Transformer. A length that is already in the table is not
measured again.
`variants` measures the scoring of variants on both strands, compared with whole passes over both
alleles.
`commits` alternates between runs and steps of two checkouts, counts their page faults, and repeats
the comparison while a busy loop runs.
`scale` measures the load of a large study on its database and file system, with workers that only
sleep, and the cost of reading many reports.
`peers` compares MultiMolecule's HyenaDNA, if installed, and the published operator with ours, with
the same weights.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from backbone.common.command import entry_point
from experiments.common.command import Work, run_one_of
from experiments.speed.options import (
    ChannelOptions,
    CommitsOptions,
    KShotOptions,
    MutagenesisOptions,
    PeersOptions,
    PretrainOptions,
    PromptOptions,
    ScaleOptions,
    VariantsOptions,
)


def work_of(name: str) -> Work:
    """Return the work of a subcommand: `measure_all` in the module of its name."""
    return lambda options: [import_module(f"experiments.speed.{name}").measure_all(options)]


COMMANDS: dict[str, tuple[type, Work]] = {
    "prompt": (PromptOptions, work_of("prompt")),
    "k_shot": (KShotOptions, work_of("k_shot")),
    "channel": (ChannelOptions, work_of("channel")),
    "mutagenesis": (MutagenesisOptions, work_of("mutagenesis")),
    "pretrain": (PretrainOptions, work_of("pretrain")),
    "variants": (VariantsOptions, work_of("variants")),
    "commits": (CommitsOptions, work_of("commits")),
    "scale": (ScaleOptions, work_of("scale")),
    "peers": (PeersOptions, work_of("peers")),
}
"""Options and work of each subcommand."""


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_one_of(
        "python -m experiments.speed", __doc__, COMMANDS, arguments, without_arguments="work"
    )


if __name__ == "__main__":
    sys.exit(main())
