"""Pretrains a HyenaDNA model on FASTA files: `python -m backbone.pretrain key=value ...`."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from transformers.utils.logging import disable_progress_bar

from backbone.errors import InputError
from backbone.options import help_text, read_options
from backbone.pretrain_config import PretrainConfig, check_pretraining
from backbone.source import GenomeSource
from backbone.trainer import NonFiniteLossError, Status, Trainer
from backbone.windows import divide

SHOW_SECONDS = 10.0

T = TypeVar("T")


def line_of(status: Status) -> str:
    """Describes where a run stands in one line."""
    minutes, seconds = divmod(int(min(status.seconds_left, 359_999)), 60)
    return (
        f"{status.progress:6.1%}  step {status.step}  stage {status.stage + 1}  "
        f"length {status.length}  {status.tokens_per_second:,.0f} tokens/s  "
        f"loss {status.loss:.4f}  perplexity {math.exp(status.loss):.3f}  "
        f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"
    )


def pretrain(config: PretrainConfig, show: Callable[[str], None] = lambda line: None) -> Path:
    """Runs or resumes a pretraining run and returns the folder of the exported model.

    Args:
        config: all options.
        show: receives a line about every step.

    Raises:
        InputError: for options or data that cannot be used.
        NonFiniteLossError: if training diverges.
    """
    check_pretraining(config)
    torch.set_num_threads(config.threads)
    division = divide(config.fasta, config.valid_fasta, config.holdout, config.bed)
    return train(Trainer(config, GenomeSource(division, config.max_unknown)), show)


def train(trainer: Trainer, show: Callable[[str], None]) -> Path:
    """Lets a trainer run to its end and returns the folder of the exported model; see `pretrain`.

    Raises:
        NonFiniteLossError: if training diverges.
    """
    for status in trainer.run():
        show(line_of(status))
    return trainer.out / "model"


class _Terminal:
    """Shows lines over one another on a terminal, and one every few seconds elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.last = -math.inf

    def show(self, line: str) -> None:
        if self.live:
            print(f"\r{line}\033[K", end="", flush=True)
        elif time.monotonic() - self.last >= SHOW_SECONDS:
            print(line, flush=True)
            self.last = time.monotonic()


def command(
    options: type[T],
    name: str,
    job: Callable[[T, Callable[[str], None]], Path],
    arguments: Sequence[str],
) -> int:
    """Runs the command line of a job that trains, and returns its exit code.

    Args:
        options: dataclass of its options.
        name: how it is called, for the help.
        job: takes its options and what receives a line a step, and returns the model's folder.
        arguments: `key=value` each.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text(options, name))
        return 0
    disable_progress_bar()
    try:
        model = job(read_options(options, arguments), _Terminal().show)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        print(f"\nstopped: {error}", file=sys.stderr)
        return 1
    print(f"\nmodel: {model}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    return command(PretrainConfig, "python -m backbone.pretrain", pretrain, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
