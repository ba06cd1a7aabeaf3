"""Evaluation of generated DNA: do classifiers assign it to the class of its prompt?

`python -m experiments.generation run=RUN_DIR` samples sequences after the prompt or demonstrations
of every class of a run with `method.readout=channel`. Classifiers of another kind (k-mers, a
convolutional network), trained on real training rows, judge them. For comparison they also judge
real test rows, sequences of the backbone without a prompt, and sequences of Markov chains of each
class's training rows. The table also gives GC content, the distance of 4-mer frequencies from those
of the class's test rows, and the number of segments copied from training rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import MISSING

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from backbone.common.streams import stream
from backbone.devices import device_option
from backbone.generate import Sampling
from backbone.pretraining.markov import MarkovModel
from backbone.sequence.dna import gc_content, reverse_complement
from backbone.sequence.kmers import kmer_counts
from experiments.common.command import run_command
from icl.environment import prepare_arithmetic
from icl.explain.rows import splits_of
from icl.generate import ClassPrompt, draw_sequences
from icl.method import Context, Method
from icl.methods.catalog import METHODS
from icl.predict import load_method
from icl.run import shared_backbone
from tasks.metrics.bootstrap import Estimate, proportion
from tasks.task import Example, subset

COPIED = 24
"""Bases of a stretch that is called copied; in random DNA two such stretches never agree."""

KMER = 4


@dataclass
class Options:
    """Options of the command."""

    run: str = option(MISSING, "folder of a finished run with method.readout=channel")
    data: str | None = option(None, "folder of tables; by default the run's own")
    count: int = option(200, "sequences of each class and source", least=2)
    bases: int | None = option(
        None, "bases of each; by default the median of the test rows", least=1
    )
    judges: list[str] = option(
        ["kmer_logreg", "cnn"], "methods that judge the sequences; they must need no backbone"
    )
    n_train: int = option(
        2000, "maximum number of training rows for the judges and the Markov chains", least=2
    )
    orders: list[int] = option([3, 5], "orders of the Markov chains", least=0, most=8)
    temperature: float = option(1.0, "0 takes the most probable base at every position")
    seed: int = option(0, "seed of all draws", least=0)
    out: str = option("runs-generation", "folder of the table and the sequences")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)


@dataclass(frozen=True)
class Source:
    """Sequences of one origin for one class.

    Attributes:
        name: Where they come from.
        label: The class that they are meant for.
        sequences: N sequences.
    """

    name: str
    label: int
    sequences: Sequence[str]


def judge_generation(options: Options) -> Iterator[object]:
    """Draw, judge, write the table and the sequences, and yield lines and paths.

    Raises:
        InputError: If the run has no prompt of a class, or an option cannot be used.
    """
    for name in options.judges:
        if METHODS.get(name).uses_backbone:
            raise InputError(f"judges: {name} uses the backbone; give methods that read the DNA")
    Sampling(options.temperature).check()
    prepare_arithmetic(options.threads, options.device)
    method, report = load_method(Path(options.run).expanduser(), device=options.device)
    labels = report.setup.labels
    prompts = [ClassPrompt.of(method, label) for label in labels]
    train, val, test = splits_of(report, options.data)
    fewer = subset(train, min(options.n_train, len(train)), options.seed)
    lengths = [len(example.sequence) for example in test]
    bases = options.bases or int(np.median(lengths))
    prompts[0].context(bases)
    judges = {name: fitted_judge(name, labels, fewer, val, options.seed) for name in options.judges}
    sources = list(_sources(options, method, prompts, fewer, test, bases))
    table = judged(sources, judges, labels, fewer, test)
    out = Path(options.out).expanduser()
    stem = f"generation_{report.setup.task}_{method.name}"
    write_text(out / f"{stem}.csv", table.to_csv(index=False, float_format="%.4g"))
    write_text(out / f"{stem}.fa", _fasta(sources, labels))
    for row in table.itertuples():
        shares = ", ".join(
            f"{name} {getattr(row, name):.2f} [{getattr(row, f'{name}_low'):.2f}, "
            f"{getattr(row, f'{name}_high'):.2f}]"
            for name in judges
        )
        yield (
            f"{row.source:<18} {row.label:<12} taken for it by {shares}; GC {row.gc:.3f}, "
            f"{KMER}-mers {row.kmer_distance:.4f} away, {row.copied} copied"
        )
    yield out / f"{stem}.csv"
    yield out / f"{stem}.fa"


def fitted_judge(
    name: str,
    labels: tuple[str, ...],
    train: Sequence[Example],
    val: Sequence[Example],
    seed: int,
) -> Method:
    """Return a method that has learned from real rows, with its default options."""
    entry = METHODS.get(name)
    context = Context(labels, seed, load_backbone=partial(shared_backbone, "bundled", "cpu"))
    made: Method = entry.cls(entry.config(name=name), context)
    made.check([*train, *val])
    made.fit(train, val)
    return made


def _sources(
    options: Options,
    method: Method,
    prompts: Sequence[ClassPrompt],
    train: Sequence[Example],
    test: Sequence[Example],
    bases: int,
) -> Iterator[Source]:
    """Yield sequences of every origin for every class."""
    sampling = Sampling(options.temperature, seed=options.seed)
    alone = draw_sequences(prompts[0].model, None, options.count, bases, sampling)
    for label, prompt in enumerate(prompts):
        real = (e.sequence for e in test if e.label == label)
        yield Source("real test rows", label, list(islice(real, options.count)))
        context = prompt.context(bases)
        drawn = draw_sequences(prompt.model, context, options.count, bases, sampling)
        yield Source(f"prompt ({method.name})", label, drawn)
        yield Source("no prompt", label, alone)
        rows = [
            np.frombuffer(e.sequence.encode(), dtype=np.uint8) for e in train if e.label == label
        ]
        for order in options.orders:
            random = stream(options.seed, "Markov chains", label, order)
            chain = MarkovModel(order).fit(rows).draw(options.count, bases, random)
            yield Source(f"Markov, order {order}", label, chain)


def judged(
    sources: Sequence[Source],
    judges: dict[str, Method],
    labels: Sequence[str],
    train: Sequence[Example],
    test: Sequence[Example],
) -> pd.DataFrame:
    """Return a row for each source.

    Columns: source, label and n; for each judge the share taken for the class, with Wilson's
    interval as NAME_low and NAME_high; gc and gc_real, mean GC content of the sequences and of the
    class's test rows; kmer_distance, the Jensen-Shannon divergence (bits) between the 4-mers of
    both; copied, sequences with a stretch of COPIED bases that a training row has on either strand.
    """
    stretches = {word for example in train for word in _words(example.sequence)}
    real = {label: [e.sequence for e in test if e.label == label] for label in range(len(labels))}
    rows = []
    for source in sources:
        examples = [Example(sequence, 0) for sequence in source.sequences]
        row: dict[str, object] = {
            "source": source.name,
            "label": labels[source.label],
            "n": len(examples),
        }
        for name, judge in judges.items():
            taken = judge.scores(examples).argmax(axis=1) == source.label
            share: Estimate = proportion(int(taken.sum()), len(taken))
            row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        row["gc"] = float(np.mean([gc_content(sequence) for sequence in source.sequences]))
        row["gc_real"] = float(np.mean([gc_content(s) for s in real[source.label]]))
        row["kmer_distance"] = kmer_distance(source.sequences, real[source.label])
        row["copied"] = sum(
            not stretches.isdisjoint(_words(sequence)) for sequence in source.sequences
        )
        rows.append(row)
    return pd.DataFrame(rows)


def kmer_distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the Jensen-Shannon divergence (bits) between the 4-mers of two sets of sequences."""
    shares = []
    for sequences in (one, other):
        counts = kmer_counts(sequences, KMER).sum(axis=0)
        shares.append(counts / max(counts.sum(), 1))
    mean = (shares[0] + shares[1]) / 2
    bits = 0.0
    for share in shares:
        seen = share > 0
        bits += float((share[seen] * np.log2(share[seen] / mean[seen])).sum()) / 2
    return bits


def _words(sequence: str) -> set[str]:
    """Return every stretch of COPIED bases, on the strand that sorts first."""
    opposite = reverse_complement(sequence)
    last = len(sequence) - COPIED
    return {
        min(sequence[i : i + COPIED], opposite[last - i : last - i + COPIED])
        for i in range(last + 1)
    }


def _fasta(sources: Sequence[Source], labels: Sequence[str]) -> str:
    lines = []
    for source in sources:
        if source.name.startswith("prompt"):
            for number, sequence in enumerate(source.sequences, start=1):
                lines += [f">{labels[source.label]}_{number} {source.name}", sequence]
    return "\n".join(lines) + "\n"


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.generation", Options, judge_generation, arguments)


if __name__ == "__main__":
    sys.exit(main())
