"""The cost of fixed demonstrations in an evaluation: the plain path and the prefix engine.

Every query follows the same demonstrations, on a model of two layers whose context holds 160,000
tokens. The engine encodes them once for all queries, and each query bears its share of that time.
"""

from dataclasses import replace
from pathlib import Path

from experiments.speed.options import KShotOptions
from experiments.speed.paths import LAYERS, Shape
from experiments.speed.prompt import line, prepare, rows_of, write_as_measured

BAR = 20.0
"""Ratio to reach on two cores, with 16 demonstrations of 500 bases per class."""

WIDTH = 128


def measure_all(options: KShotOptions) -> Path:
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
