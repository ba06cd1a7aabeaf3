"""Pretrains a HyenaDNA model on FASTA files: `python -m backbone.pretrain key=value ...`.

Several processes, on one machine or many: `accelerate launch -m backbone.pretrain device=cuda ...`;
on CPUs `torchrun --nproc-per-node=2 -m backbone.pretrain ...`: accelerate launch starts one there.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from backbone.common.errors import InputError
from backbone.common.options import Sources, help_text, read_options
from backbone.pretraining import recipes as pretrain_sizes
from backbone.pretraining.config import PretrainConfig, check_pretraining
from backbone.pretraining.data import GenomeSource, MixedSource, Source
from backbone.pretraining.progress import View
from backbone.pretraining.status import Status
from backbone.pretraining.trainer import NonFiniteLossError, Trainer
from backbone.pretraining.windows import divide
from backbone.sequence.dna import ALPHABETS

T = TypeVar("T")

NAME = "python -m backbone.pretrain"
EXAMPLES = """
  one genome     size=tiny-1k fasta=hg38.fa bed=regions.bed
  several        genomes.human.fasta=hg38.fa genomes.human.holdout=[chr8] genomes.human.weight=3
                 genomes.yeast.fasta=yeast.fa.gz genomes.yeast.holdout=[IV]
  processes      accelerate launch -m backbone.pretrain device=cuda key=value ...
                 (accelerate config describes machines, GPUs and sharding)
  on CPUs        torchrun --nproc-per-node=2 -m backbone.pretrain key=value ...
"""


def unseen(status: Status) -> None:
    """Shows nothing."""


def source_of(config: PretrainConfig) -> Source:
    """Reads the genome or the genomes of a run.

    Raises:
        InputError: for files, regions or intervals that cannot be used.
    """
    if config.genomes:
        weights = {name: genome.weight for name, genome in config.genomes.items()}
        sources = {name: _genome(genome, config) for name, genome in config.genomes.items()}
        return MixedSource(sources, weights)
    return _genome(config, config)


def _genome(files: Sources, config: PretrainConfig) -> GenomeSource:
    alphabet = ALPHABETS[config.alphabet]
    division = divide(files.fasta, files.valid_fasta, files.holdout, files.bed, alphabet)
    return GenomeSource(
        division,
        config.max_unknown,
        config.max_soft_masked,
        config.soft_masked_targets,
        config.both_strands,
    )


def pretrain(config: PretrainConfig, show: Callable[[Status], None] = unseen) -> Path:
    """Runs or resumes a pretraining run and returns the folder of the exported model.

    Args:
        config: all options.
        show: is told about every step.

    Raises:
        InputError: for options or data that cannot be used, or a full disk.
        NonFiniteLossError: if training diverges.
    """
    check_pretraining(config)
    torch.set_num_threads(config.threads)
    source = source_of(config)
    trainer = Trainer(config, source)
    _run(trainer, show)
    if isinstance(source, MixedSource):
        _score_each(trainer, source)
    trainer.processes.leave()
    return trainer.out / "model"


def train(trainer: Trainer, show: Callable[[Status], None]) -> Path:
    """Lets a trainer run to its end and returns the folder of the exported model; see `pretrain`.

    Raises:
        InputError: if the disk is full.
        NonFiniteLossError: if training diverges.
    """
    _run(trainer, show)
    trainer.processes.leave()
    return trainer.out / "model"


def _run(trainer: Trainer, show: Callable[[Status], None]) -> None:
    for status in trainer.run():
        if trainer.processes.is_first:
            show(status)


def _score_each(trainer: Trainer, source: MixedSource) -> None:
    """Logs the perplexity on everything that is held out of each genome."""
    length = trainer.config.valid_length or trainer.config.max_seq_len
    found = {name: one.held_out(length, sys.maxsize) for name, one in source.sources.items()}
    scores = {
        f"final_valid_perplexity.{name}": trainer.evaluate(rows)
        for name, rows in found.items()
        if rows is not None
    }
    if scores:
        trainer.log(step=trainer.step, tokens=trainer.tokens, **scores)


def command(
    options: type[T],
    name: str,
    job: Callable[[T, Callable[[Status], None]], Path],
    arguments: Sequence[str],
    more_help: str = "",
) -> int:
    """Runs the command line of a job that trains, and returns its exit code.

    Args:
        options: dataclass of its options.
        name: how it is called, for the help.
        job: takes its options and what is told about every step, and returns the model's folder.
        arguments: `key=value` each.
        more_help: what the help says besides the options.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(options, name) + more_help)
        return 0
    disable_progress_bar()
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes that a launcher started
    try:
        with View(Console(quiet=not speaks)) as view:
            model = job(read_options(options, arguments), view.show)
    except InputError as error:
        if speaks:
            print(f"error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        if speaks:
            print(f"stopped: {error}", file=sys.stderr)
        return 1
    if speaks:
        print(f"model: {model}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    more = f"\n\n{pretrain_sizes.help_lines()}\n{EXAMPLES}"
    try:
        expanded = pretrain_sizes.expand(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return command(PretrainConfig, NAME, pretrain, expanded, more)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
