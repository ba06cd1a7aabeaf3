"""Pretrain a HyenaDNA model on FASTA files: `python -m backbone.pretrain key=value ...`.

To use several processes, on one machine or many: `accelerate launch -m backbone.pretrain
device=cuda ...`. On CPUs, use `torchrun --nproc-per-node=2 -m backbone.pretrain ...`, because
accelerate launch starts only one process there.
"""

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from backbone.common.command import emit_files, entry_point, exit_code, fail
from backbone.common.errors import InputError, NonFiniteLossError
from backbone.common.memory import keep_freed_memory
from backbone.common.options import Sources, help_text, read_options
from backbone.pretraining import recipes
from backbone.pretraining.config import PretrainConfig, check_pretraining
from backbone.pretraining.data import GenomeSource, MixedSource, Source
from backbone.pretraining.progress import Status, View
from backbone.pretraining.related.contrast import Contrast, ContrastSource
from backbone.pretraining.related.genomes import read_genomes
from backbone.pretraining.related.label_words import LabelWords, LabelWordSource
from backbone.pretraining.related.source import RelatedSource
from backbone.pretraining.related.stream import read_mixture
from backbone.pretraining.windows import divide
from backbone.sequence.dna import ALPHABETS

if TYPE_CHECKING:
    from backbone.pretraining.trainer import Trainer

T = TypeVar("T")

NAME = "python -m backbone.pretrain"
EXAMPLES = """
  one genome     size=tiny-1k fasta=hg38.fa bed=regions.bed
  several        genomes.human.fasta=hg38.fa genomes.human.holdout=[chr8] genomes.human.weight=3
                 genomes.yeast.fasta=yeast.fa.gz genomes.yeast.holdout=[IV]
  related        source=related fasta=genomes/ streams=[neighbourhood:2,markov:1] max_seq_len=8192
                 (rows of several related windows: in-context pretraining)
  processes      accelerate launch -m backbone.pretrain device=cuda key=value ...
                 (accelerate config describes machines, GPUs and sharding)
  on CPUs        torchrun --nproc-per-node=2 -m backbone.pretrain key=value ...
"""


FEW_STEPS = 100
"""A budget below this is good for a test of the installation, and hardly for a model."""


def show_nothing(status: Status) -> None:
    """Ignore a run's progress."""


def source_of(config: PretrainConfig) -> Source:
    """Read the genome or the genomes of a run.

    Raises:
        InputError: If files, regions or intervals cannot be used.
    """
    if config.source == "related":
        return _related(config)
    if config.genomes:
        weights = {name: genome.weight for name, genome in config.genomes.items()}
        sources = {name: _genome(genome, config) for name, genome in config.genomes.items()}
        return MixedSource(sources, weights)
    return _genome(config, config)


def _related(config: PretrainConfig) -> RelatedSource:
    mixture = read_mixture(config.streams)
    given: Mapping[str, Sources] = config.genomes or {"genome": config}
    divisions = {
        name: divide(files.fasta, files.valid_fasta, files.holdout, files.bed)
        for name, files in given.items()
    }
    train, valid = (
        read_genomes(divisions, part, config.exclude, config.max_unknown)
        for part in ("train", "valid")
    )
    assert train is not None  # `divide` leaves something to train on
    return RelatedSource(train, valid, mixture, config.separator_targets)


def _contrast(config: PretrainConfig, source: Source) -> Contrast | None:
    """Return the questions about classes that a run asks, from the same genomes as its rows."""
    if not config.contrast or not isinstance(source, RelatedSource):
        return None
    mixture = read_mixture(config.contrast_streams)
    questions = ContrastSource(source.genomes, mixture)
    return Contrast(questions, config.contrast, config.contrast_tokens or config.batch_tokens)


def _label_words(config: PretrainConfig, source: Source) -> LabelWords | None:
    """Return the rows with label words of a run, from the same genomes as its other rows."""
    if not config.words or not isinstance(source, RelatedSource):
        return None
    rows = LabelWordSource(source.genomes, read_mixture(config.contrast_streams))
    return LabelWords(rows, config.words, config.words_tokens or config.batch_tokens)


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


def pretrain(config: PretrainConfig, show: Callable[[Status], None] = show_nothing) -> Path:
    """Run or resume a pretraining run, and return the folder of the exported model.

    Args:
        config: All options.
        show: Called with the status after every step.

    Raises:
        InputError: If options or data cannot be used, or the disk is full.
        NonFiniteLossError: If training diverges.
    """
    check_pretraining(config)
    source = source_of(config)
    import torch  # a mistake is answered without it

    from backbone.pretraining.related.context_gain import watched_gains
    from backbone.pretraining.trainer import Trainer

    keep_freed_memory()
    torch.set_num_threads(config.threads)
    measure = partial(watched_gains, source) if isinstance(source, RelatedSource) else None
    trainer = Trainer(
        config,
        source,
        measure=measure,
        contrast=_contrast(config, source),
        words=_label_words(config, source),
    )
    warn_of_few_steps(trainer)
    _run(trainer, show)
    if isinstance(source, MixedSource):
        _score_each(trainer, source)
    warn_of_no_gain(trainer, len(ALPHABETS[config.alphabet].letters) - 1)
    trainer.processes.leave()
    return trainer.out / "model"


def warn_of_few_steps(trainer: "Trainer") -> None:
    """Warn on standard error of a budget that no model can learn much in."""
    config = trainer.config
    if config.tokens is None or not trainer.processes.is_first:
        return
    steps = math.ceil(config.tokens / config.batch_tokens)
    if steps < FEW_STEPS:
        print(
            f"warning: tokens={config.tokens} is {steps} step{'s' * (steps > 1)} of "
            f"batch_tokens={config.batch_tokens}; a model needs hundreds: raise tokens, or lower "
            f"batch_tokens",
            file=sys.stderr,
        )


def warn_of_no_gain(trainer: "Trainer", letters: int) -> None:
    """Warn on standard error of a model that predicts worse than one that gives all letters alike.

    Args:
        trainer: At its end.
        letters: Letters of the alphabet, without the unknown one.
    """
    if trainer.final_perplexity > letters and trainer.processes.is_first:
        rows = "the last steps" if trainer.valid_all is None else "the held-out rows"
        print(
            f"warning: the model is worse than a uniform guess: loss "
            f"{math.log(trainer.final_perplexity):.4f} nats a letter on {rows}, and ln {letters} = "
            f"{math.log(letters):.4f} without any learning; train longer",
            file=sys.stderr,
        )


def train(trainer: "Trainer", show: Callable[[Status], None]) -> Path:
    """Run a trainer to its end, and return the folder of the exported model; see `pretrain`.

    Raises:
        InputError: If the disk is full.
        NonFiniteLossError: If training diverges.
    """
    _run(trainer, show)
    trainer.processes.leave()
    return trainer.out / "model"


def _run(trainer: "Trainer", show: Callable[[Status], None]) -> None:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for status in trainer.run():
        if trainer.processes.is_first:
            show(status)


def _score_each(trainer: "Trainer", source: MixedSource) -> None:
    """Log the perplexity on everything that is held out of each genome."""
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
    """Run the command line of a job that trains, and return its exit code.

    Args:
        options: Dataclass of its options.
        name: The command, for the help.
        job: Takes the options and a function to call after every step; returns the model's folder.
        arguments: `key=value` each.
        more_help: Follows the options in the help.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return exit_code(lambda: [help_text(options, name) + more_help])
    is_first = os.environ.get("RANK", "0") == "0"  # of several processes that a launcher started

    def work() -> None:
        try:
            with View(Console(quiet=not is_first)) as view:
                model = job(read_options(options, arguments), view.show)
        except InputError:
            if is_first:
                raise
            raise SystemExit(2) from None  # the first process says it
        if is_first:
            emit_files(f"model: {model}", model)

    try:
        return exit_code(work)
    except NonFiniteLossError as error:
        if is_first:
            print(f"stopped: {error}", file=sys.stderr)
        return 1


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return its exit code."""
    more = f"\n\n{recipes.help_lines()}\n{EXAMPLES}"
    try:
        expanded = recipes.expand(arguments)
    except InputError as error:
        return fail(str(error))
    return command(PretrainConfig, NAME, pretrain, expanded, more)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
