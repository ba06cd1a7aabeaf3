"""What a backbone can read from its context: accuracy of probes, beside what controls leave of it.

`python -m experiments.probe backbone=bundled probe=[recall,copy] shots=[1,4]` draws episodes, asks
the frozen model each one's query after its demonstrations, in the template of every few-shot run,
and prints a line for each probe and number of shots. An answer is decoded greedily among the
letters that answers are written in, and right if all of it is; for words of one letter that is the
best label word.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import help_text, option, read_options
from backbone.engine.prefix import PrefixEngine
from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import TOKEN_ID, encode_dna
from backbone.hyena.zoo import load
from icl.environment import prepare_arithmetic
from prompts.demonstrations import Demonstration
from prompts.template import Template
from prompts.verbalizer import Verbalizer
from tasks.catalog import PROBES
from tasks.metrics.bootstrap import Estimate, proportion
from tasks.probes.probe import Episode, Pair, Passage, Probe, flipped

USUAL = ["recall", "recall_long", "copy", "copy_reverse_complement", "boolean"]


@dataclass
class Options:
    """What the command line can set."""

    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    probe: list[str] = option(USUAL, "probes by name")
    shots: list[int] = option([0, 1, 2, 4, 8], "pairs a word, demonstrations or copies shown")
    episodes: int = option(1000, "questions of a line")
    seed: int = option(0, "moves all draws")
    out: str = option("", "table to write (.tsv)")
    device: str = option("cpu", "cpu, cuda or mps")
    threads: int = option(2, "threads of the arithmetic")
    batch_size: int = option(64, "questions that the backbone reads at once")


class Writer:
    """Writes the questions of a probe as token ids."""

    def __init__(self, probe: Probe) -> None:
        """Takes the probe's words as label words."""
        self.template = Template(Verbalizer(probe.words))
        self.label = {word: i for i, word in enumerate(probe.words)}

    def ids(self, drawn: Episode | Passage) -> np.ndarray:
        """Returns token ids (L,) int64 after which the answer is to follow."""
        if isinstance(drawn, Passage):
            return encode_dna(drawn.text)
        shown = self.demonstrations(drawn.demonstrations)
        return self.template.prompt(shown, drawn.queries[0].sequence).ids

    def demonstrations(self, pairs: Sequence[Pair]) -> list[Demonstration]:
        """Returns pairs as what the template writes."""
        return [Demonstration(p.sequence, self.label[p.answer], i) for i, p in enumerate(pairs)]


@torch.inference_mode()
def continuations(
    model: HyenaDNA, ids: np.ndarray, letters: str, length: int, batch_size: int = 64
) -> list[str]:
    """Returns what the model writes after each row, greedily.

    Args:
        model: frozen backbone.
        ids: (N, L) token ids.
        letters: nucleotides to choose among.
        length: letters to write.
        batch_size: rows that the model reads at once.

    Raises:
        InputError: if row and continuation exceed the model's max_seq_len.
    """
    engine = PrefixEngine(model)
    device = model.get_input_embeddings().weight.device
    choices = torch.tensor([TOKEN_ID[letter] for letter in letters], device=device)
    written: list[str] = []
    for start in range(0, len(ids), batch_size):
        rows = torch.from_numpy(ids[start : start + batch_size]).to(device)
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
        probe: its name.
        shots: see the probe's generator.
        episodes: questions asked, each with a mapping of its own.
        accuracy: share of right answers, with Wilson's 95 % interval, as all below.
        mode: the same for the most frequent answer shown.
        shuffled: accuracy where the answers shown are permuted.
        flipped: accuracy where each answer shown is another one.
        follows: in that case, share of the answers that are right by what is shown.
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
        """The line as columns, intervals as `_low` and `_high`."""
        columns: dict[str, float | str] = {}
        for name, value in vars(self).items():
            if isinstance(value, Estimate):
                ends = {f"{name}_low": value.low, f"{name}_high": value.high}
                columns |= {name: value.value, **ends}
            else:
                columns[name] = value
        return columns


def measure(
    model: HyenaDNA, probe: Probe, shots: int, episodes: int, seed: int = 0, batch_size: int = 64
) -> Result:
    """Asks a model a probe's questions, plainly and under both controls, on the same episodes.

    Raises:
        InputError: if so much cannot be shown, or does not fit the model's context.
    """
    writer, letters = Writer(probe), probe.letters
    plain, shuffled, flip = [], [], []
    for row in range(episodes):
        random = np.random.default_rng([seed, shots, row])
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


def probe_all(options: Options) -> list[Result]:
    """Does what the command line asks for, printing each line as it is there.

    Raises:
        InputError: for unknown names, or numbers that cannot be used.
    """
    for name, least in {"episodes": 1, "seed": 0, "threads": 1, "batch_size": 1}.items():
        if getattr(options, name) < least:
            raise InputError(f"{name}={getattr(options, name)}: must be {least} or more")
    if min(options.shots, default=0) < 0:
        raise InputError(f"shots={options.shots}: must be 0 or more")
    if options.out and not Path(options.out).expanduser().parent.is_dir():
        raise InputError(f"out={options.out}: there is no folder {Path(options.out).parent}")
    probes = [PROBES.get(name) for name in options.probe]
    prepare_arithmetic(options.threads, options.device)
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
    if options.out:
        table = pd.DataFrame([result.row() for result in results])
        write_text(Path(options.out).expanduser(), table.to_csv(sep="\t", index=False))
    return results


_HEADER = (
    f"{'probe':<26}{'shots':>6}  {'accuracy':<21}{'mode':<7}{'shuffled':<21}{'flipped':<21}follows"
)


def line_of(result: Result) -> str:
    """A result as a line of the printed table."""

    def shown(estimate: Estimate) -> str:
        return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"

    return (
        f"{result.probe:<26}{result.shots:>6}  {shown(result.accuracy):<21} {result.mode:<6.3f} "
        f"{shown(result.shuffled):<21}{shown(result.flipped):<21}{shown(result.follows)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(help_text(Options, "python -m experiments.probe"))
        print("\n" + "\n".join(f"  {n:<28} {PROBES.get(n).description}" for n in PROBES.names()))
        return 0
    try:
        probe_all(read_options(Options, arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
