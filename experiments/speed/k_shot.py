"""What fixed demonstrations cost an evaluation: the plain path against the prefix engine.

Every query follows the same demonstrations, on a model of two layers whose context holds 160,000
tokens. The engine encodes them once for all queries, and that time is part of every query's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.speed.paths import LAYERS, Shape
from experiments.speed.prompt import prepare, rows_of, write_as_measured

BAR = 20.0
"""The ratio a query asked for on two cores, with 16 demonstrations a class of 500 bases."""

WIDTH = 128


@dataclass
class Options:
    """What the command line can set."""

    out: str = option("runs-speed", "folder for the table")
    shots: int = option(16, "demonstrations a class")
    classes: int = option(2, "classes")
    length: int = option(500, "bases of a demonstration and of a query")
    batch: int = option(8, "queries at a time; 256 in all follow one encoding of the prompt")
    threads: int = option(2, "threads of the arithmetic")
    device: str = option("cpu", "cpu, cuda or mps")
    repeats: int = option(3, "the median of so many; of one where a step takes over 20 s")


def measure_all(options: Options) -> Path:
    """Measures the case and writes its table; returns the table's path.

    Raises:
        InputError: for options out of range, a missing device, or a folder that cannot be written.
    """
    for name in ("shots", "classes", "length", "batch", "threads", "repeats"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}={getattr(options, name)}: must be at least 1")
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_k_shot.csv"
    shown = options.shots * options.classes * options.length
    shape = Shape(WIDTH, LAYERS[WIDTH], shown, options.batch, options.length)
    rows = rows_of(shape, ("evaluate",), options, plain=True)
    write_as_measured((replace(row, bar=BAR) for row in rows), table)
    return table
