"""Train a small model to learn in context, as a positive control for the probes.

`python -m experiments.probe_training probe=recall shots=4 out=DIR ...` runs the trainer of
`backbone.pretraining.trainer` on episodes instead of genomes. A row consists of demonstrations, in
the template of all few-shot runs, followed by as many queries as fit. Only the answers of the
queries count in the loss, because no other token can be predicted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import MISSING

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.memory import keep_freed_memory
from backbone.common.options import option
from backbone.common.streams import stream
from backbone.pretrain import command, train
from backbone.pretraining.config import TrainerConfig, check
from backbone.pretraining.data import IGNORED, Batch
from backbone.pretraining.progress import Status
from backbone.tokens import PAD
from experiments.probe import Writer
from tasks.catalog import PROBES
from tasks.probes.boolean import BitFunction
from tasks.probes.probe import Pair, Probe
from tasks.probes.recall import Recall

HELD_OUT_ROWS = 256


@dataclass
class Options(TrainerConfig):
    """Options of the trainer, and what it is trained on."""

    probe: str = option(MISSING, "name of a probe: recall, boolean, ... (required)")
    shots: int = option(4, "maximum shots per row; each row draws its own number", least=1)


class EpisodeSource:
    """Rows of episodes; see `backbone.pretraining.data.Source`."""

    def __init__(self, probe: Probe, shots: int) -> None:
        """Check that a row can have several queries of the probe.

        Raises:
            InputError: If it cannot, or the probe has not so many demonstrations.
        """
        if not isinstance(probe.generator, Recall | BitFunction):
            raise InputError(f"probe={probe.name}: train on recall or on a boolean one")
        if shots < 1:
            raise InputError(f"shots={shots}: must be 1 or more")
        self.generator, self.shots, self.writer = probe.generator, shots, Writer(probe)
        most = self.generator.draw(shots, stream(0, "longest episode"))
        self.pair = len(self._ids(most.queries))
        self.least = self.pair * (len(most.demonstrations) + 1)

    def batch(self, rows: int, length: int, seed: int, step: int, first: int = 0) -> Batch:
        """Draw the rows of one step, from row `first` on.

        Raises:
            InputError: If the longest episode does not fit.
        """
        if length + 1 < self.least:
            raise InputError(
                f"{self.shots} shots and one query take {self.least - 1} tokens, and a row has "
                f"{length}; give a longer max_seq_len and batch_tokens, or fewer shots"
            )
        drawn = range(first, first + rows)
        return self._rows([stream(seed, "episodes", step, row) for row in drawn], length)

    def held_out(self, length: int, most: int) -> Batch:
        """Return rows that training never draws."""
        drawn = range(min(most, HELD_OUT_ROWS))
        return self._rows([stream(0, "held-out episodes", row) for row in drawn], length)

    def _rows(self, streams: Sequence[np.random.Generator], length: int) -> Batch:
        drawn = [self._row(random, length + 1) for random in streams]
        ids, counted = (np.stack(part) for part in zip(*drawn, strict=True))
        targets = np.where(counted, ids, IGNORED).astype(np.int8)
        return Batch(ids[:, :-1].astype(np.int8), targets[:, 1:])

    def _row(self, random: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return token ids (length,), and which of them are answers of queries."""
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
        return self.writer.template.encode_demonstrations(self.writer.demonstrations(pairs))


def train_on_episodes(options: Options, show: Callable[[Status], None]) -> Path:
    """Start or resume a training run and return the folder of the exported model.

    Args:
        options: All options.
        show: Called after every step.

    Raises:
        InputError: If the options cannot be used.
        NonFiniteLossError: If training diverges.
    """
    check(options)
    source = EpisodeSource(PROBES.get(options.probe), options.shots)
    import torch  # a mistake is answered without it

    from backbone.pretraining.trainer import Trainer

    keep_freed_memory()
    torch.set_num_threads(options.threads)
    return train(Trainer(options, source), show)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; see `backbone.pretrain.command`."""
    name = "python -m experiments.probe_training"
    return command(Options, name, train_on_episodes, arguments)


if __name__ == "__main__":
    sys.exit(main())
