"""The cost of fixed demonstrations in an evaluation: the plain path and the prefix engine.

Every query follows the same demonstrations, on a model of two layers whose context holds 160,000
tokens. The engine encodes them once for all queries, and each query bears its share of that time.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from backbone.common.options import option
from experiments.speed.paths import LAYERS, Shape
from experiments.speed.prompt import line, prepare, rows_of, write_as_measured

BAR = 20.0
"""Ratio to reach on two cores, with 16 demonstrations a class of 500 bases."""

WIDTH = 128


@dataclass
class Options:
    """Options of the subcommand."""

    out: str = option("runs-speed", "folder of the table")
    shots: int = option(16, "demonstrations per class", least=1)
    classes: int = option(2, "classes", least=1)
    length: int = option(500, "bases of a demonstration and of a query", least=1)
    batch: int = option(8, "queries per batch; 256 share one encoding of the prompt", least=1)
    threads: int = option(2, "CPU threads", least=1)
    device: str = option("cpu", "device of the model", choices=("cpu", "cuda", "mps"))
    repeats: int = option(3, "repetitions; the median is reported", least=1)


def measure_all(options: Options) -> Path:
    """Measure the case, write its table and return the table's path.

    Raises:
        InputError: If the device is missing, or the folder cannot be written.
    """
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_k_shot.csv"
    prompt = options.shots * options.classes * options.length
    shape = Shape(WIDTH, LAYERS[WIDTH], prompt, options.batch, options.length)
    rows = rows_of(shape, ("evaluate",), options, plain=True)
    write_as_measured((replace(row, bar=BAR) for row in rows), table, line)
    return table
