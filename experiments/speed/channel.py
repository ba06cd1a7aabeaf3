"""The cost of the channel readout: queries after the context of every class.

The plain way puts each class's context before the queries, runs the whole and reads the likelihood
of the queries' bases; the prefix engine encodes the contexts once and reads all classes at once. An
evaluation has contexts of demonstrations, which EVALUATED queries share; a training step has
learned vectors, and beside it stands the step of as many vectors read directly: after the queries,
whose states are kept, by label words, as `soft_prompt` does by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.common.memory import faults_of_a_step
from backbone.engine.prefix import PrefixState, Targets
from backbone.hyena import reference
from backbone.tokens import NUCLEOTIDES, SEP
from experiments.speed.floor import seconds
from experiments.speed.options import ChannelOptions
from experiments.speed.paths import LAYERS, PHASES, Paths, Phase, Shape, Way, shared_by
from experiments.speed.prompt import (
    EVALUATED,
    device_name,
    prepare,
    taking_turns,
    write_as_measured,
)

BAR = 8.0
"""Ratio to reach on two cores in an evaluation, after 4,096 tokens per class."""

WIDTH = 128

ChannelWay = Literal["plain", "engine", "direct"]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        prompt_tokens: Positions before the queries, per class.
        seconds_engine: Of an evaluation, with the share batch / EVALUATED of `seconds_prefix`.
        seconds_direct: A training step of as many vectors, read directly.
        seconds_prefix: Encoding the contexts of all classes alone.
        bar: The ratio to reach, where there is one.
        faults_engine: Minor page faults of a step of the engine, after those that were timed.
    """

    width: int
    layers: int
    classes: int
    prompt_tokens: int
    batch: int
    query_length: int
    phase: Phase
    seconds_plain: float
    seconds_engine: float
    ratio: float
    seconds_direct: float | None
    device: str
    dtype: str
    seconds_prefix: float
    bar: float | None
    faults_engine: int


class ChannelPaths(Paths):
    """A model with random weights, a context for each class, and the ways to score a batch."""

    def __init__(self, shape: Shape, classes: int, device: str) -> None:
        """Draw contexts besides what `Paths` draws; `prompt` holds those of all classes."""
        super().__init__(shape, device)
        draw = torch.Generator("cpu").manual_seed(1)
        letters = torch.tensor(NUCLEOTIDES, device="cpu")
        size = classes, shape.prompt_tokens
        tokens = letters[torch.randint(4, size, generator=draw, device="cpu")]
        self.contexts = nn.Parameter(self.model.embed(tokens.to(device)).clone())
        own = torch.randint(classes, (shape.batch,), generator=draw, device="cpu")
        self.classes = own.to(device)
        self.letters = letters.to(device)
        index = (self.ids[..., None] == self.letters).int().argmax(-1).roll(-1, dims=1)
        counted = torch.ones_like(self.ids, dtype=torch.bool)
        counted[:, -1] = False
        self.targets = Targets(self.letters, index, counted)
        self.channel_optimizer = torch.optim.AdamW([self.contexts], lr=0.01)
        vectors = nn.Parameter(self.contexts[0].detach().clone())
        self.direct, self.direct_optimizer = vectors, torch.optim.AdamW([vectors], lr=0.01)
        self._kept: PrefixState | None = None

    def encode_contexts(self) -> list[PrefixState | None]:
        """Encode every class's context for the engine."""
        room = self.shape.query_length
        return [self.engine.extend(None, one[None], room) for one in self.contexts]

    def likelihood(self, way: Way, states: list[PrefixState | None] | None = None) -> Tensor:
        """Return the log-likelihood (B, C) of every base of the queries but the first."""
        if way == "engine":
            known = self.encode_contexts() if states is None else states
            return self.engine.log_likelihood(known, self.ids, self.targets)
        queries, start, found = self.model.embed(self.ids), self.shape.prompt_tokens, []
        for context in self.contexts:
            whole = torch.cat([context.expand(len(queries), -1, -1), queries], dim=1)
            logits = self.model.logits(reference.encode(self.model, whole)[:, start:-1])
            log_p = logits[..., self.letters].log_softmax(-1)
            found.append(log_p.gather(2, self.targets.index[:, :-1, None]).sum(dim=(1, 2)))
        return torch.stack(found, dim=1)

    def train_channel(self, way: ChannelWay) -> None:
        """Do one training step; `direct` is that of vectors after the queries."""
        if way == "direct":
            self._train_direct()
            return
        self.channel_optimizer.zero_grad()
        with shared_by(way):
            scores = self.likelihood(way) / (self.shape.query_length - 1) ** 0.5
            F.cross_entropy(scores, self.classes).backward()
        self.channel_optimizer.step()

    @torch.no_grad()
    def evaluate_channel(self, way: Way, states: list[PrefixState | None]) -> None:
        """Score one batch; the engine is given its contexts."""
        with shared_by(way):
            self.likelihood(way, states)

    def _train_direct(self) -> None:
        if self._kept is None:
            with torch.no_grad():
                self._kept = self.engine.extend(None, self.ids, room=1 + len(self.direct))
        self.direct_optimizer.zero_grad()
        end = self.model.embed(torch.tensor([SEP], device=self.direct.device))
        segment = torch.cat([end, self.direct]).expand(len(self.ids), -1, -1)
        logits = self.model.logits(self.engine.encode_last(self._kept, segment))
        F.cross_entropy(logits[:, self.letters[:2]], self.labels).backward()
        self.direct_optimizer.step()


def measure_all(options: ChannelOptions) -> Path:
    """Measure the two cases, write their table and return its path.

    Raises:
        InputError: If the device is missing, or the folder cannot be written.
    """
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_channel.csv"
    write_as_measured(measurements(options), table, line=line)
    return table


def measurements(options: ChannelOptions) -> Iterator[Row]:
    """Yield a row for the training step and for the evaluation."""
    for phase in PHASES:
        yield row_of(phase, options)


def row_of(phase: Phase, options: ChannelOptions) -> Row:
    """Measure one case; the ways take turns, so that a change of load affects all."""
    before = options.prompt_tokens if phase == "train" else options.context
    shape = Shape(WIDTH, LAYERS[WIDTH], before, options.batch, options.length)
    paths, device = ChannelPaths(shape, options.classes, options.device), options.device
    with torch.no_grad():
        states = paths.encode_contexts()
        prefix = median(seconds(paths.encode_contexts, device) for _ in range(options.repeats))
    work: dict[ChannelWay, Callable[[], object]] = {
        "plain": partial(paths.evaluate_channel, "plain", states),
        "engine": partial(paths.evaluate_channel, "engine", states),
    }
    if phase == "train":
        work = {way: partial(paths.train_channel, way) for way in get_args(ChannelWay)}
    turns = taking_turns(work, device, options.repeats)
    medians = {way: median(taken[way] for taken in turns) for way in work}
    if phase == "evaluate":
        medians["engine"] += prefix * shape.batch / EVALUATED
    return Row(
        width=shape.width,
        layers=shape.layers,
        classes=options.classes,
        prompt_tokens=before,
        batch=shape.batch,
        query_length=shape.query_length,
        phase=phase,
        seconds_plain=medians["plain"],
        seconds_engine=medians["engine"],
        ratio=medians["plain"] / medians["engine"],
        seconds_direct=medians.get("direct"),
        device=device_name(device),
        dtype="float32",
        seconds_prefix=prefix,
        bar=BAR if (phase, before, device) == ("evaluate", 4096, "cpu") else None,
        faults_engine=faults_of_a_step(work["engine"]),
    )


def line(row: Row) -> str:
    """Return a row as a line for the terminal."""
    direct = "" if row.seconds_direct is None else f"  direct {row.seconds_direct:7.3f} s"
    target = "" if row.bar is None else f" (target: {row.bar:g})"
    return (
        f"{row.classes} classes, {row.prompt_tokens:>5,} positions before each, batch {row.batch}, "
        f"{row.phase:<8}  engine {row.seconds_engine:7.3f} s  plain {row.seconds_plain:7.3f} s  "
        f"ratio {row.ratio:.1f}{target}{direct}  {row.faults_engine} page faults"
    )
