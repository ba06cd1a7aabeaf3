"""What a checkpoint saw in pretraining, and which rows of a task lie there.

A checkpoint's folder may hold `pretraining.bed`: intervals with `train` (seen) or `valid` (held
out) in the fourth column. Assemblies may differ from that of a task's coordinates, so chromosomes
are compared: rows on a chromosome of which some was seen, and rows on one of which none was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import backbone.common.errors
from backbone.common.errors import InputError
from backbone.sequence.bed import chromosome, read_bed
from tasks.audit.coordinates import Place
from tasks.task import Example

REGIONS = "pretraining.bed"
BUNDLED = Path(backbone.common.errors.__file__).parents[1] / "weights" / "bundled" / REGIONS
"""The regions of the checkpoint that comes with this project."""


@dataclass(frozen=True)
class Exposure:
    """On which rows a checkpoint's chromosomes are known to be seen or not.

    Attributes:
        seen: (N,) rows on a chromosome of which some was seen.
        unseen: (N,) rows on another one. A row whose place is not known is neither.
    """

    seen: np.ndarray
    unseen: np.ndarray


def exposure(examples: Sequence[Example], places: dict[str, Place], regions: Path) -> Exposure:
    """Compare rows with the regions of a checkpoint.

    Args:
        examples: N rows.
        places: Where sequences lie.
        regions: A checkpoint's `pretraining.bed`.

    Raises:
        InputError: If the file is no BED file, or names something else than train and valid.
    """
    chromosomes = seen_chromosomes(regions)
    known = [places.get(example.sequence) for example in examples]
    seen = np.array([at is not None and at.chromosome in chromosomes for at in known])
    return Exposure(seen, np.array([at is not None for at in known]) & ~seen)


def seen_chromosomes(regions: Path) -> set[str]:
    """Return the chromosomes of which a checkpoint saw some, named as `chromosome` does.

    Raises:
        InputError: If the file is no BED file, or names something else than train and valid.
    """
    intervals = read_bed(regions)
    for interval in intervals:
        if interval.name not in ("train", "valid"):
            raise InputError(
                f"{interval.where}: the fourth column must be train or valid, not {interval.name!r}"
            )
    return {chromosome(i.record) for i in intervals if i.name == "train"}
