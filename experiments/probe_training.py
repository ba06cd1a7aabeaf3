"""Trains a small model to learn from its context: the positive control of all that measures it.

`python -m experiments.probe_training probe=recall shots=4 out=DIR ...` runs the trainer of
`backbone.pretraining.trainer` on episodes in place of genomes. A row shows demonstrations in the
template of every few-shot run and asks queries until it is full; only the answers of queries count,
because nothing tells the other tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import MISSING

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.hyena.tokenizer import PAD
from backbone.pretrain import command, train
from backbone.pretraining.config import TrainerConfig, check
from backbone.pretraining.data import IGNORED, Batch
from backbone.pretraining.progress import Status
from backbone.pretraining.trainer import Trainer
from experiments.probe import Writer
from tasks.catalog import PROBES
from tasks.probes.boolean import BitFunction
from tasks.probes.probe import Pair, Probe
from tasks.probes.recall import Recall

HELD_OUT_ROWS = 256


@dataclass
class Options(TrainerConfig):
    """Every option of the trainer, and what it is trained on."""

    probe: str = option(MISSING, "what is drawn: recall, boolean, ... (required)")
    shots: int = option(4, "most that a row shows; each row draws its own number, from 1")


class EpisodeSource:
    """Rows of episodes; see `backbone.pretraining.data.Source`."""

    def __init__(self, probe: Probe, shots: int) -> None:
        """Checks that the probe can be asked several times in a row.

        Raises:
            InputError: if it cannot, or so much cannot be shown.
        """
        if not isinstance(probe.generator, Recall | BitFunction):
            raise InputError(f"probe={probe.name}: train on recall or on a boolean one")
        if shots < 1:
            raise InputError(f"shots={shots}: must be 1 or more")
        self.generator, self.shots, self.writer = probe.generator, shots, Writer(probe)
        most = self.generator.draw(shots, np.random.default_rng(0))
        self.pair = len(self._ids(most.queries))
        self.least = self.pair * (len(most.demonstrations) + 1)

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draws rows of one step, from row `first` on.

        Raises:
            InputError: if the longest episode does not fit.
        """
        if length + 1 < self.least:
            raise InputError(
                f"{self.shots} shots and one query take {self.least - 1} tokens, and a row has "
                f"{length}; give a longer max_seq_len and batch_tokens, or fewer shots"
            )
        return self._rows([(seed, step, row, 0) for row in range(first, first + rows)], length)

    def held_out(self, length: int, most: int) -> Batch:
        """Rows from draws of their own."""
        return self._rows([(0, 0, row, 1) for row in range(min(most, HELD_OUT_ROWS))], length)

    def _rows(self, seeds: Sequence[tuple[int, ...]], length: int) -> Batch:
        drawn = [self._row(np.random.default_rng(seed), length + 1) for seed in seeds]
        ids, counted = (np.stack(part) for part in zip(*drawn, strict=True))
        targets = np.where(counted, ids, IGNORED).astype(np.int8)
        return Batch(ids[:, :-1].astype(np.int8), targets[:, 1:])

    def _row(self, random: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (length,) and which of them are answers of queries."""
        pairs = length // self.pair
        drawn = self.generator.draw(int(random.integers(1, self.shots + 1)), random, pairs)
        shown = len(drawn.demonstrations)
        asked = drawn.queries[: pairs - shown]
        ids = np.full(length, PAD, dtype=np.int64)
        ids[: pairs * self.pair] = self._ids([*drawn.demonstrations, *asked])
        counted = np.zeros(length, dtype=bool)
        # A pair ends with its answer and [SEP].
        answers = counted[: pairs * self.pair].reshape(pairs, self.pair)
        answers[shown:, -1 - len(drawn.answer) : -1] = True
        return ids, counted

    def _ids(self, pairs: Sequence[Pair]) -> np.ndarray:
        return self.writer.template.shown(self.writer.demonstrations(pairs))


def train_on_episodes(options: Options, show: Callable[[Status], None]) -> Path:
    """Runs or resumes a training run and returns the folder of the exported model.

    Args:
        options: all options.
        show: is told about every step.

    Raises:
        InputError: for options that cannot be used.
        NonFiniteLossError: if training diverges.
    """
    check(options)
    torch.set_num_threads(options.threads)
    source = EpisodeSource(PROBES.get(options.probe), options.shots)
    return train(Trainer(options, source), show)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see `backbone.pretrain.command`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = "python -m experiments.probe_training"
    return command(Options, name, train_on_episodes, arguments)


if __name__ == "__main__":
    sys.exit(main())
