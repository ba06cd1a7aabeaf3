"""Windows of equal length, cut from the regions of a genome."""

from collections.abc import Iterator, Sequence

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from backbone.sequence.fasta import Genome, Record
from tasks.sets.regions import Stretch

IN_MEMORY = 1 << 28
"""Bases up to which a genome is read whole; windows of a larger one are read one by one."""

UNKNOWN = ord("N")
PROBE = 1000
"""Bases at both ends of a record that are looked for in records of other files."""


def cut_windows(
    genome: Genome,
    stretches: Sequence[Stretch],
    length: int,
    rows: int,
    random: np.random.Generator,
    *,
    step: int | None = None,
    max_unknown: float = 0.1,
) -> list[str]:
    """Draw windows without replacement, each on a strand of its own.

    Windows may start every `step` bases, from a place that is drawn for each stretch.

    Args:
        genome: Where the stretches lie.
        stretches: Every window lies inside one of them.
        length: Bases of a window.
        rows: Windows.
        random: Moves the draws.
        step: Bases between two starts; the length by default, so that windows never overlap.
        max_unknown: Windows with a larger share of N are passed over.

    Raises:
        InputError: If there are fewer windows than rows, with how many there are.
    """
    step = length if step is None else step
    starts = []
    for number, stretch in enumerate(stretches):
        room = stretch.end - stretch.start - length
        first = int(random.integers(min(step, room + 1))) if room >= 0 else 0
        places = np.arange(stretch.start + first, stretch.start + room + 1, step)
        starts.append(np.stack([np.full(len(places), number), places], axis=1))
    order = random.permutation(np.concatenate(starts))
    in_memory = sum(record.length for record in genome.records) <= IN_MEMORY
    found: list[str] = []
    for number, start in order.tolist():
        if len(found) == rows:
            break
        record = stretches[number].record
        if in_memory:
            genome.letters(record)
        window = genome.stretch(record, start, start + length)
        if np.count_nonzero(window == UNKNOWN) > max_unknown * length:
            continue
        text = window.tobytes().decode("ascii")
        found.append(reverse_complement(text) if random.random() < 0.5 else text)
    if len(found) < rows:
        raise InputError(
            f"{rows} windows of {length} bases are wanted and there are {len(found)} "
            f"with at most {max_unknown:.0%} N"
        )
    return found


def shared_ends(genome: Genome) -> Iterator[tuple[Record, Record]]:
    """Gives the pairs of records of different files that hold the same DNA.

    The first and the last bases of every record are looked for in the records of the other files.
    Genomes too large for memory are not looked at.
    """
    if sum(record.length for record in genome.records) > IN_MEMORY:
        return
    if len({record.path for record in genome.records}) == 1:
        return
    text = {record: genome.letters(record).tobytes() for record in genome.records}
    for one in genome.records:
        ends = [text[one][:PROBE], text[one][-PROBE:]]
        probes = [end for end in ends if len(end) == PROBE and b"N" not in end]
        for other in genome.records:
            if other.path != one.path and any(_holds(text[other], probe) for probe in probes):
                yield one, other


def _holds(text: bytes, probe: bytes) -> bool:
    """`probe in text`, ten times as fast where there are four letters: eight are compared at once.

    The search of bytes skips ahead on letters that the probe lacks, and DNA has none.
    """
    width = 8
    first = np.frombuffer(probe[:width], dtype=np.uint64)
    for offset in range(min(width, len(text) - width + 1)):
        words = np.frombuffer(text, np.uint64, (len(text) - offset) // width, offset)
        for word in np.flatnonzero(words == first).tolist():
            start = offset + width * word
            if text[start : start + len(probe)] == probe:
                return True
    return False
