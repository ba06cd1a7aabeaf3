"""The cost of scoring variants: whole passes over both alleles, or alleles that branch off.

Random windows of the bundled backbone, or of another one, with a single base replaced in the
middle, both strands. The plain way encodes each allele on each strand from its first base to its
last, a few at a time, and reads all states; it is timed on the first PLAIN variants.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch

from backbone.common.files import write_text
from backbone.common.streams import stream
from backbone.engine.branches import BranchEngine
from backbone.engine.prefix import PrefixEngine
from backbone.hyena.model import HyenaDNA
from backbone.hyena.zoo import load
from backbone.letters import log_probabilities
from backbone.sequence.dna import reverse_complement
from backbone.sequence.edits import Edit
from backbone.sequence.variants import Variant
from backbone.side_by_side import inside_operations
from backbone.tokens import encode_dna
from experiments.speed.options import VariantsOptions
from experiments.speed.prompt import prepare
from icl.variants.alleles import Allele
from icl.variants.effects import zero_shot

PLAIN = 64
"""Variants that the plain way scores."""

AT_ONCE = 16
"""Sequences that the plain way encodes at a time."""

CHUNK = 256
"""Variants that branch at a time."""


@dataclass(frozen=True)
class Row:
    """The row of the table.

    Attributes:
        seconds: Of all variants, both alleles and strands, by branches.
        cpu_seconds: The processor time of it, which other processes hardly change.
        ratio: Processor time of the plain way over that of branches, per variant.
        largest_difference: Between the two, of a change of log-likelihood.
        load: Mean number of processes that wanted to run in the last minute, before the start.
    """

    backbone: str
    count: int
    window: int
    threads: int
    seconds: float
    cpu_seconds: float
    ratio: float
    largest_difference: float
    load: float


def measure_all(options: VariantsOptions) -> Path:
    """Measure, write the table and return its path.

    Raises:
        InputError: If the backbone or the device cannot be used, or the folder not be written.
    """
    prepare(options.threads, options.device)
    model = load(options.backbone, options.device)
    alleles = random_alleles(options.count, options.window, options.seed)
    engine = BranchEngine(PrefixEngine(model))
    load_before = os.getloadavg()[0]
    zero_shot(engine, alleles[:AT_ONCE])  # filters and their transforms are kept from here on
    wall, cpu, found = _timed(lambda: branched(engine, alleles))
    few = alleles[:PLAIN]
    _, plain_cpu, expected = _timed(lambda: plain(model, few))
    row = Row(
        options.backbone,
        options.count,
        options.window,
        options.threads,
        wall,
        cpu,
        (plain_cpu / len(few)) / (cpu / len(alleles)),
        float(np.abs(found[: len(few)] - expected).max()),
        load_before,
    )
    table = Path(options.out) / "speed_variants.csv"
    write_text(table, pd.DataFrame([asdict(row)]).to_csv(index=False, float_format="%.4g"))
    print(
        f"{row.count:,} variants in windows of {row.window:,}: {row.seconds:.1f} s on "
        f"{row.threads} threads ({row.cpu_seconds:.1f} s of processor time, load {row.load:.1f}), "
        f"{row.ratio:.1f} times faster than whole passes"
    )
    return table


def random_alleles(count: int, window: int, seed: int) -> list[Allele]:
    """Return alleles that replace the middle base of random windows."""
    random = stream(seed, "windows with a variant")
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    alleles = []
    for row in range(count):
        codes = random.integers(4, size=window)
        text, at = letters[codes].tobytes().decode(), window // 2
        other = "ACGT"[(codes[at] + random.integers(1, 4)) % 4]
        variant = Variant(str(row), at, text[at], other)
        alleles.append(Allele(variant, text, Edit(0, at, at + 1, other)))
    return alleles


def branched(engine: BranchEngine, alleles: Sequence[Allele]) -> np.ndarray:
    """Return the change of log-likelihood (E,) of alleles that branch off their windows."""
    starts = range(0, len(alleles), CHUNK)
    return np.concatenate([zero_shot(engine, alleles[i : i + CHUNK])[:, 0] for i in starts])


@torch.no_grad()
@inside_operations()
def plain(model: HyenaDNA, alleles: Sequence[Allele]) -> np.ndarray:
    """Return the same of whole passes over both alleles and strands."""
    both = [text for a in alleles for text in (a.sequence, a.change.of(a.sequence))]
    texts = [one for text in both for one in (text, reverse_complement(text))]
    sums = []
    for start in range(0, len(texts), AT_ONCE):
        some = np.stack([encode_dna(text) for text in texts[start : start + AT_ONCE]])
        ids = torch.from_numpy(some).to(model.device)
        hidden = model.encode(model.embed(ids))
        sums.append(log_probabilities(model, hidden[:, :-1], ids[:, 1:]).double().sum(1).cpu())
    found = torch.cat(sums).view(len(alleles), 2, 2).mean(dim=2)
    return (found[:, 1] - found[:, 0]).numpy()


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Return seconds, processor seconds and the result of some work."""
    wall, cpu = perf_counter(), process_time()
    found = work()
    return perf_counter() - wall, process_time() - cpu, found
