"""The cost of a shared prompt in time and memory: the plain path against the prefix engine.

An evaluation encodes its prompt once for EVALUATED queries; the engine's seconds for a batch
include the batch's share of that. The plain path has no such part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol, TypeVar

import pandas as pd
import torch

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.memory import faults_of_a_step
from backbone.side_by_side import thread_count
from experiments.pictures.style import save_png
from experiments.speed.floor import arithmetic, matmul_rate, seconds
from experiments.speed.options import PromptOptions
from experiments.speed.paths import LAYERS, PHASES, Paths, Phase, Shape, Way, plain_bytes
from experiments.speed.peak import peak_of
from experiments.speed.pictures import draw_prompt
from icl.environment import prepare_arithmetic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RowT = TypeVar("RowT")
WayT = TypeVar("WayT", bound=str)

EVALUATED = 256
"""Queries of one evaluation, which share one encoding of the prompt."""

MEMORY_SHARE = 0.65
"""Share of the machine's memory that the plain path may take."""

SLOW = 20.0
"""A step of more seconds is timed once."""

TURN = 1.0
"""Seconds for which a short step is repeated in its turn."""

BARS: dict[tuple[int, int, int, Phase], float] = {
    (128, 16, 32, "train"): 1,
    (128, 16, 32, "evaluate"): 1,
    (128, 512, 32, "train"): 8,
    (128, 4096, 32, "train"): 60,
    (128, 4096, 32, "evaluate"): 40,
    (128, 32768, 16, "train"): 60,
}
"""Ratios to reach on two cores, by width, prompt tokens, batch and phase."""


@dataclass(frozen=True)
class Row:
    """A row of the table, without figures of a plain path that would not fit in memory.

    Attributes:
        seconds_prefix: Encoding the prompt alone; `seconds_engine` of an evaluation includes the
            share batch / EVALUATED of it.
        operations: Floating-point operations of the engine's matrix products and transforms.
        floor_ratio: seconds_engine over the time that `operations` would take at the rate of
            matrix products, measured next to them; an evaluation's without its share of the prefix.
        bar: The ratio to reach, where there is one.
        faults_plain: Minor page faults of a step, after those that were timed.
        faults_engine: The same of the engine.
    """

    width: int
    layers: int
    prompt_tokens: int
    batch: int
    query_length: int
    phase: Phase
    seconds_plain: float | None
    seconds_engine: float
    ratio: float | None
    peak_bytes_plain: int | None
    peak_bytes_engine: int
    device: str
    dtype: str
    seconds_prefix: float
    operations: int
    floor_ratio: float
    bar: float | None
    faults_plain: int | None
    faults_engine: int


def measure_all(options: PromptOptions) -> Path:
    """Measure all cases, write table and picture after each row, and return the table's path.

    Raises:
        InputError: If the device is missing, or the folder cannot be written.
    """
    check(options)
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_prompt.csv"
    write_as_measured(measurements(options), table, line, draw_prompt)
    return table


def prepare(threads: int, device: str) -> None:
    """Set threads and device, and print the rate of their matrix products."""
    prepare_arithmetic(threads, device)
    torch.use_deterministic_algorithms(False)  # a choice for repeatable runs, which has its price
    rate = matmul_rate(device) / 1e9
    print(f"matrix products: {rate:.0f} GFLOP/s on {threads} threads", flush=True)


def write_as_measured(
    rows: Iterable[RowT],
    table: Path,
    line: Callable[[RowT], str],
    picture: Callable[[pd.DataFrame], Figure] | None = None,
) -> None:
    """Write the table and the picture after each row, and print the row.

    Args:
        rows: Instances of a dataclass, measured as they are asked for.
        table: The CSV file.
        line: Returns what is printed of a row.
        picture: Draws the table, to a file of its name.

    Raises:
        InputError: If the folder cannot be written.
    """
    written = []
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        for row in rows:
            written.append(asdict(row))  # type: ignore[call-overload]
            frame = pd.DataFrame(written)
            write_text(table, frame.to_csv(index=False, float_format="%.4g"))
            if picture is not None:
                save_png(picture(frame), table.with_suffix(".png"))
            print(line(row), flush=True)
    except OSError as error:
        raise InputError(f"cannot write to {table.parent}: {error.strerror}") from error


def check(options: PromptOptions) -> None:
    """Refuse widths without a number of layers.

    Raises:
        InputError: If there is one.
    """
    for width in options.widths:
        if width not in LAYERS:
            raise InputError(f"widths: {width} is not one of {', '.join(map(str, LAYERS))}")


def measurements(options: PromptOptions) -> Iterator[Row]:
    """Yield a row for each case; print which plain paths are left out."""
    memory = memory_of(options.device)
    for width in options.widths:
        for tokens in options.prompt_tokens:
            whole = Shape(width, LAYERS[width], tokens, options.batch, options.query_length)
            fitting = fitting_batch(whole, memory * MEMORY_SHARE)
            if fitting:
                shape = Shape(width, LAYERS[width], tokens, fitting, options.query_length)
                yield from rows_of(shape, PHASES, options, plain=True)
            if fitting < options.batch:
                needed = plain_bytes(whole, "train") / 1e9
                print(
                    f"width {width}, {tokens} prompt tokens, batch {options.batch}: the plain path "
                    f"needs about {needed:.0f} GB of {memory / 1e9:.0f} GB and is left out",
                    flush=True,
                )
                yield from rows_of(whole, PHASES, options, plain=False)


def memory_of(device: str) -> float:
    """Return the memory of the machine or of the accelerator, in bytes."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fitting_batch(shape: Shape, memory: float) -> int:
    """Halve the batch until the plain path's training step fits; 0 if one row does not."""
    a_row = plain_bytes(shape, "train") / shape.batch
    batch = shape.batch
    while batch * a_row > memory:
        batch //= 2
    return batch


class Measuring(Protocol):
    """Options that decide how a case is measured."""

    threads: int
    device: str
    repeats: int


def rows_of(
    shape: Shape, phases: tuple[Phase, ...], options: Measuring, plain: bool
) -> Iterator[Row]:
    """Measure one shape; the ways take turns, so that a change of load affects both."""
    device = options.device
    paths = Paths(shape, device)
    ways: tuple[Way, ...] = ("plain", "engine") if plain else ("engine",)
    with torch.no_grad():
        paths.encode_prefix()
        prefix_seconds = median(
            seconds(paths.encode_prefix, device) for _ in range(options.repeats)
        )
        prefix = paths.encode_prefix()
    for phase in phases:
        work = {way: partial(paths.step, phase, way, prefix) for way in ways}
        times = taking_turns(work, device, options.repeats)
        medians = {way: median(taken[way] for taken in times) for way in ways}
        faults = {way: faults_of_a_step(work[way]) for way in ways}
        operations = arithmetic(work["engine"])
        floor_ratio = medians["engine"] / (operations / matmul_rate(device))
        if phase == "evaluate":
            medians["engine"] += prefix_seconds * shape.batch / EVALUATED
        peaks = {
            way: peak_of(once, shape, phase, way, device, threads=options.threads, device=device)
            for way in ways
        }
        case = shape.width, shape.prompt_tokens, shape.batch, phase
        yield Row(
            **asdict(shape),
            phase=phase,
            seconds_plain=medians.get("plain"),
            seconds_engine=medians["engine"],
            ratio=medians["plain"] / medians["engine"] if plain else None,
            peak_bytes_plain=peaks.get("plain"),
            peak_bytes_engine=peaks["engine"],
            device=device_name(device),
            dtype="float32",
            seconds_prefix=prefix_seconds,
            operations=operations,
            floor_ratio=floor_ratio,
            bar=BARS.get(case) if device == "cpu" else None,
            faults_plain=faults.get("plain"),
            faults_engine=faults["engine"],
        )


def taking_turns(
    work: Mapping[WayT, Callable[[], object]], device: str, repeats: int
) -> list[dict[WayT, float]]:
    """Time each way for `repeats` rounds, after one that is not counted; a slow one once.

    In its turn a fast step is repeated for TURN seconds, because the first one after the other way
    finds cold memory and caches; the median is the time of the turn.
    """

    def turn(step: Callable[[], object]) -> float:
        taken = [seconds(step, device)]
        while sum(taken) < TURN:
            taken.append(seconds(step, device))
        return median(taken)

    first = {way: seconds(step, device) for way, step in work.items()}
    rounds = 1 if max(first.values()) > SLOW else repeats
    return [{way: turn(step) for way, step in work.items()} for _ in range(rounds)]


def once(shape: Shape, phase: Phase, way: Way, device: str) -> None:
    """Do one step in a new process, which measures its memory."""
    Paths(shape, device).step(phase, way, None)


def device_name(device: str) -> str:
    """Return the accelerator's name, or cpu with its threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{device} ({thread_count()} threads)" if device == "cpu" else device


def line(row: Row) -> str:
    """Return a row as a line for the terminal."""
    start = (
        f"width {row.width}, {row.prompt_tokens:>6,} prompt tokens, batch {row.batch:>2}, "
        f"{row.phase:<8}  engine {row.seconds_engine:7.3f} s {row.peak_bytes_engine / 1e9:5.1f} GB "
        f"({row.floor_ratio:.2f} times the arithmetic floor, "
        f"{row.faults_engine} page faults)"
    )
    if row.ratio is None or row.peak_bytes_plain is None:
        return start
    return (
        f"{start}  plain {row.seconds_plain:7.3f} s {row.peak_bytes_plain / 1e9:5.1f} GB  "
        f"ratio {row.ratio:.1f}" + (f" (target: {row.bar:g})" if row.bar is not None else "")
    )
