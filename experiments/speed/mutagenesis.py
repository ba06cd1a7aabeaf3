"""In-silico mutagenesis under a prompt: whole forward passes, and shared states.

Every base of some rows is replaced by the other three, and the class scores after
[query ; SEP ; vectors] are read. The ways take turns on the same mutants:

    published  one forward pass of the published operator a mutant, the whole row, all layers
    modules    the same by the model's own, faster modules
    engine     the prefix engine, which reads only the last position in its last layer
    shared     states before the mutated base shared, and only what differs computed

Whole passes take minutes, so they are timed on some of the mutants, drawn at random; scores are
compared on all that were passed whole.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backbone.common.files import write_text
from backbone.common.streams import stream
from backbone.hyena import reference
from backbone.hyena.model import HyenaDNA
from backbone.hyena.zoo import load
from backbone.sequence.edits import Edit, substitutions
from backbone.tokens import encode_dna
from experiments.speed.floor import seconds
from experiments.speed.options import MutagenesisOptions
from experiments.speed.paths import shared_by
from experiments.speed.prompt import device_name, prepare
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.edited_queries import edited_queries
from icl.inference.reader import LabelWordScorer, PromptReader
from icl.method import Context
from prompts.soft_prompt import PromptShape, SoftPrompt
from prompts.verbalizer import verbalizer

BAR = 8.0
"""Ratio of whole passes to shared states to reach on two cores, with rows of 500 bases."""

CLASSES = ("first", "second")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        way: How mutants are scored.
        mutants: How many were timed.
        ms_a_mutant: Milliseconds a mutant: the median over rounds.
        ratio: ms_a_mutant over that of shared states.
        difference: Largest difference of a class score from that of shared states.
        bar: The ratio to reach, where there is one.
    """

    way: str
    rows: int
    length: int
    prompt_tokens: int
    mutants: int
    ms_a_mutant: float
    ratio: float
    difference: float
    device: str
    bar: float | None


class Mutagenesis:
    """A prompt, some rows, and the ways to score their mutants."""

    def __init__(self, options: MutagenesisOptions) -> None:
        """Draw the rows and the prompt, always the same for the same options."""
        self.batch = options.batch
        draw = stream(0, "mutated rows")
        letters = draw.choice(list("ACGT"), size=(options.rows, options.length))
        self.sequences = ["".join(row) for row in letters]
        self.edits = substitutions(self.sequences)
        model: HyenaDNA = load(options.backbone, options.device)
        shape = PromptShape.of(options.prompt_tokens, "after", 0)
        prompt = SoftPrompt(model, shape, len(CLASSES), "normal", seed=0)
        prompt.to(options.device).requires_grad_(False)
        context = Context(CLASSES, 0, lambda: model, device=options.device, shots=0)
        nothing = DemonstrationSet(DemonstrationConfig(), context, lambda: 0)
        scorer = LabelWordScorer(model, verbalizer(len(CLASSES), None))
        self.reader = PromptReader(scorer, prompt, nothing, context)
        self.model = model

    @torch.no_grad()
    def shared(self, row: int) -> np.ndarray:
        """Return the scores (3 L, C) of all mutants of a row, by shared states."""
        edits = [Edit(0, e.start, e.end, e.letters) for e in self.edits if e.row == row]
        return edited_queries(self.reader, [self.sequences[row]], edits, "forward").values()[1]

    @torch.no_grad()
    def whole(self, way: str, edits: list[Edit]) -> np.ndarray:
        """Return the scores (N, C) of mutants, each passed whole."""
        texts = [edit.of(self.sequences[edit.row]) for edit in edits]
        ids = torch.from_numpy(np.stack([encode_dna(text) for text in texts]))
        with shared_by(way):
            found = [self._pass(way, some.to(self.model.device)) for some in ids.split(self.batch)]
        return torch.cat(found).double().cpu().numpy()

    def _pass(self, way: str, ids: Tensor) -> Tensor:
        scorer, prompt = self.reader.scorer, self.reader.prompt
        ending, _ = scorer.ending(prompt)
        if way == "engine":
            state = scorer.engine.extend(None, ids, room=len(ending))
            return scorer.answer(prompt, state)[0]
        vectors = torch.cat([self.model.embed(ids), ending.expand(len(ids), -1, -1)], dim=1)
        encode = self.model.encode if way == "modules" else self._published
        return scorer.on_state(prompt, encode(vectors)[:, -1])[0]

    def _published(self, vectors: Tensor) -> Tensor:
        return reference.encode(self.model, vectors)


def measure_all(options: MutagenesisOptions) -> Path:
    """Measure all ways, write their table and return the table's path.

    Raises:
        InputError: If the device is missing, a row does not fit, or the folder cannot be written.
    """
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_mutagenesis.csv"
    rows = list(measurements(options))
    frame = pd.DataFrame([asdict(row) for row in rows])
    write_text(table, frame.to_csv(index=False, float_format="%.4g"))
    for row in rows:
        print(line(row), flush=True)
    return table


def measurements(options: MutagenesisOptions) -> Iterator[Row]:
    """Time the ways in turn, a share of the mutants per round, and compare their scores."""
    case = Mutagenesis(options)
    every = len(case.edits)
    count = every if options.passes is None else min(options.passes, every)
    chosen = stream(0, "mutants passed whole").permutation(every)[:count]
    shares = np.array_split(chosen, options.rounds)
    turns = np.array_split(np.arange(options.rows), options.rounds)
    found = {way: np.zeros((every, len(CLASSES))) for way in (*WHOLE, "shared")}
    taken: dict[str, list[float]] = {way: [] for way in found}
    first = np.cumsum([0, *(3 * len(sequence) for sequence in case.sequences)])
    case.shared(0)  # the first call of a way finds cold caches
    for way in WHOLE:
        case.whole(way, case.edits[: case.batch])
    for share, rows in zip(shares, turns, strict=True):
        if not len(share) or not len(rows):
            continue

        def by_sharing(rows: np.ndarray = rows) -> None:
            for row in rows:
                found["shared"][first[row] : first[row + 1]] = case.shared(int(row))

        work: Mapping[str, tuple[Callable[[], object], int]] = {
            "shared": (by_sharing, int(sum(first[row + 1] - first[row] for row in rows)))
        } | {way: (_whole(case, way, share, found[way]), len(share)) for way in WHOLE}
        for way, (step, mutants) in work.items():
            taken[way].append(seconds(step, options.device) / mutants)
    shared = median(taken["shared"])
    for way in found:
        difference = np.abs(found[way] - found["shared"])[chosen].max()
        yield Row(
            way,
            options.rows,
            options.length,
            options.prompt_tokens,
            every if way == "shared" else count,
            1000 * median(taken[way]),
            median(taken[way]) / shared,
            float(difference),
            device_name(options.device),
            BAR if way == "published" else None,
        )


WHOLE = ("published", "modules", "engine")
"""Ways that pass every mutant whole."""


def _whole(
    case: Mutagenesis, way: str, share: np.ndarray, found: np.ndarray
) -> Callable[[], object]:
    def step() -> None:
        found[share] = case.whole(way, [case.edits[i] for i in share])

    return step


def line(row: Row) -> str:
    """Return a row as a line for the terminal."""
    target = "" if row.bar is None else f" (target: {row.bar:g})"
    return (
        f"{row.way:<9} {row.ms_a_mutant:7.3f} ms a mutant, {row.ratio:5.1f} times shared{target}, "
        f"scores differ by {row.difference:.1e} at most"
    )
