"""What a backbone uses from its context: accuracy on probes, with and without controls.

`python -m experiments.probe backbone=bundled probe=[recall,copy] shots=[1,4]` draws episodes and
prints a line for each probe and number of shots. An episode is a query after its demonstrations, in
the template of all few-shot runs, to which the frozen model gives an answer. The answer is decoded
greedily among the letters that answers consist of, and is correct if all its letters are; for words
of one letter this is the most likely label word.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backbone.common.command import emit, entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import aligned, option
from backbone.common.streams import stream
from backbone.devices import device_option
from backbone.tokens import TOKEN_ID, encode_dna
from experiments.common.command import run_command, wants_help
from icl.environment import prepare_arithmetic
from prompts.demonstrations import Demonstration
from prompts.template import Template
from prompts.verbalizer import Verbalizer
from tasks.catalog import PROBES
from tasks.metrics.bootstrap import Estimate, as_figure, proportion
from tasks.probes.probe import Episode, Pair, Passage, Probe, flipped

if TYPE_CHECKING:
    from backbone.protocol import LanguageModel

DEFAULT_PROBES = ["recall", "recall_long", "copy", "copy_reverse_complement", "boolean"]


@dataclass
class Options:
    """Options of the command."""

    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    probe: list[str] = option(DEFAULT_PROBES, "names of probes")
    shots: list[int] = option([0, 1, 2, 4, 8], "demonstrations per word, or copies", least=0)
    episodes: int = option(1000, "questions per line of the table", least=1)
    seed: int = option(0, "random seed", least=0)
    out: str | None = option(None, "table to write (.tsv)")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)
    batch_size: int = option(64, "questions per forward pass", least=1)


class Writer:
    """The questions of a probe as token ids."""

    def __init__(self, probe: Probe) -> None:
        """Take the probe's words as label words."""
        self.template = Template(Verbalizer(probe.words))
        self.label = {word: i for i, word in enumerate(probe.words)}

    def ids(self, drawn: Episode | Passage) -> np.ndarray:
        """Return the token ids (L,) int64 that the answer is to follow."""
        if isinstance(drawn, Passage):
            return encode_dna(drawn.text)
        shown = self.demonstrations(drawn.demonstrations)
        return self.template.prompt(shown, drawn.queries[0].sequence).ids

    def demonstrations(self, pairs: Sequence[Pair]) -> list[Demonstration]:
        """Return pairs as demonstrations of the template."""
        return [Demonstration(p.sequence, self.label[p.answer], i) for i, p in enumerate(pairs)]


def continuations(
    model: LanguageModel, ids: np.ndarray, letters: str, length: int, batch_size: int = 64
) -> list[str]:
    """Return the greedy continuation of each row.

    Args:
        model: Frozen backbone.
        ids: (N, L) token ids.
        letters: Nucleotides to choose among.
        length: Letters to write.
        batch_size: Rows of a forward pass.

    Raises:
        InputError: If row and continuation exceed the model's max_seq_len.
    """
    import torch

    from backbone.models import context_engine

    engine = context_engine(model)
    device = model.device
    choices = torch.tensor([TOKEN_ID[letter] for letter in letters], device=device)
    written: list[str] = []
    for start in range(0, len(ids), batch_size):
        rows = torch.from_numpy(ids[start : start + batch_size]).to(device)
        with torch.inference_mode():
            for _ in range(length):
                logits = model.logits(engine.encode_last(None, model.embed(rows)))[:, choices]
                rows = torch.cat([rows, choices[logits.argmax(dim=1)][:, None]], dim=1)
        of_id = {int(choice): letter for choice, letter in zip(choices, letters, strict=True)}
        written += ["".join(of_id[i] for i in row) for row in rows[:, ids.shape[1] :].tolist()]
    return written


@dataclass(frozen=True)
class Result:
    """One line: a probe at a number of shots.

    Attributes:
        probe: Name of the probe.
        shots: Number of demonstrations or copies; see the probe's generator.
        episodes: Questions, each with a mapping of its own.
        accuracy: Share of right answers, with Wilson's 95 % interval, as all below.
        mode: Accuracy of always giving the most frequent answer of the demonstrations.
        shuffled: Accuracy with the answers of demonstrations permuted.
        flipped: Accuracy with each answer of a demonstration replaced by another one.
        follows: In that case, share of answers that are right by the demonstrations.
    """

    probe: str
    shots: int
    episodes: int
    accuracy: Estimate
    mode: float
    shuffled: Estimate
    flipped: Estimate
    follows: Estimate

    def row(self) -> dict[str, float | str]:
        """Return the line as columns, intervals as `_low` and `_high`."""
        columns: dict[str, float | str] = {}
        for name, value in vars(self).items():
            if isinstance(value, Estimate):
                ends = {f"{name}_low": value.low, f"{name}_high": value.high}
                columns |= {name: value.value, **ends}
            else:
                columns[name] = value
        return columns


def measure(
    model: LanguageModel,
    probe: Probe,
    shots: int,
    episodes: int,
    seed: int = 0,
    batch_size: int = 64,
) -> Result:
    """Score a model on a probe, plainly and under both controls, on the same episodes.

    Raises:
        InputError: If there are not so many demonstrations, or they exceed the model's context.
    """
    writer, letters = Writer(probe), probe.letters
    plain, shuffled, flip = [], [], []
    for row in range(episodes):
        random = stream(seed, "episodes", shots, row)
        drawn = probe.generator.draw(shots, random)
        plain.append(drawn)
        shuffled.append(drawn.shuffled(letters, random))
        flip.append(drawn.flipped(letters))
    right = [drawn.answer for drawn in plain]

    def answers(asked: Sequence[Episode | Passage]) -> list[str]:
        ids = np.stack([writer.ids(drawn) for drawn in asked])
        return continuations(model, ids, letters, len(probe.words[0]), batch_size)

    of_flipped = answers(flip)
    return Result(
        probe=probe.name,
        shots=shots,
        episodes=episodes,
        accuracy=_share(answers(plain), right),
        mode=float(np.mean([drawn.mode_accuracy() for drawn in plain])),
        shuffled=_share(answers(shuffled), right),
        flipped=_share(of_flipped, right),
        follows=_share(of_flipped, [flipped(answer, letters) for answer in right]),
    )


def _share(answers: Sequence[str], right: Sequence[str]) -> Estimate:
    """Return the share of right answers; episodes are independent of one another."""
    return proportion(sum(a == r for a, r in zip(answers, right, strict=True)), len(right))


def probe_all(options: Options) -> None:
    """Measure every probe at every number of shots, print each line and write the table.

    Raises:
        InputError: If a name is unknown, or the table cannot be written.
    """
    if options.out and not Path(options.out).expanduser().parent.is_dir():
        raise InputError(f"out={options.out}: there is no folder {Path(options.out).parent}")
    probes = [PROBES.get(name) for name in options.probe]
    prepare_arithmetic(options.threads, options.device)
    from backbone.models import load

    model = load(options.backbone, options.device)
    print(_HEADER)
    results = []
    for probe in probes:
        for shots in options.shots:
            result = measure(
                model, probe, shots, options.episodes, options.seed, options.batch_size
            )
            print(line_of(result), flush=True)
            results.append(result)
    table = pd.DataFrame([result.row() for result in results])
    emit({"probes": table.to_dict("records")})
    if options.out:
        write_text(Path(options.out).expanduser(), table.to_csv(sep="\t", index=False))


_HEADER = (
    f"{'probe':<26}{'shots':>6}  {'accuracy':<21}{'mode':<7}{'shuffled':<21}{'flipped':<21}follows"
)


def line_of(result: Result) -> str:
    """Return a result as a line of the printed table."""
    of_all = (result.accuracy, result.shuffled, result.flipped, result.follows)
    accuracy, shuffled, changed, follows = map(str, of_all)
    return (
        f"{result.probe:<26}{result.shots:>6}  {accuracy:<21} {as_figure(result.mode):<6} "
        f"{shuffled:<21}{changed:<21}{follows}"
    )


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    command = "python -m experiments.probe"
    code = run_command(command, Options, probe_all, arguments, without_arguments="work")
    if wants_help(arguments):
        probes = {name: PROBES.get(name).description for name in PROBES.names()}
        print("\n" + "\n".join(aligned(probes)))
    return code


if __name__ == "__main__":
    sys.exit(main())
