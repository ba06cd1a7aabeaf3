"""Where the files of a backbone are, by its name; no torch."""

from pathlib import Path

from backbone.hf import place
from backbone.hyena import checkpoints

RANDOM = checkpoints.RANDOM
"""In front of a name: a model of the same shape with random weights."""


def files_of(name: str) -> Path:
    """Return the folder or file of a backbone, fetched from the Hub if it is there.

    Args:
        name: As `backbone.models.load` takes it.

    Raises:
        InputError: If there is no such checkpoint, or it cannot be fetched.
    """
    plain = name.removeprefix(RANDOM)
    if plain.startswith(place.PREFIX):
        return place.resolve(plain.removeprefix(place.PREFIX))
    return checkpoints.resolve(plain)


def pretraining_regions(name: str) -> Path | None:
    """Return the BED file of what a checkpoint saw in pretraining; None if it has none.

    Fourth column: train for what was seen, valid for what was held out.
    """
    if not name.startswith(place.PREFIX):
        return checkpoints.pretraining_regions(name)
    file = files_of(name) / "pretraining.bed"
    return file if file.is_file() else None
