"""Other splits of a task's rows: without relatives of test rows, by cluster, by chromosome."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream
from tasks.audit.coordinates import Place, places_of, published
from tasks.audit.kinship import NONE, Kinship, counted, kinship
from tasks.division import divide, joined
from tasks.kinds import kind_of
from tasks.sources.published import POOL_SHARES
from tasks.task import Example, Splits, Task, make_splits, strata


def redivided(
    task: Task, splits: Splits, division: str, split_seed: int, data: Path | None
) -> Splits:
    """Split the rows of a task again.

    Args:
        task: Task of the rows.
        splits: As its source divides them.
        division: One of `DIVISIONS`.
        split_seed: Seed of a division of all rows.
        data: Where the rows come from; their coordinates are read there.

    Raises:
        InputError: If a class is left without rows, or coordinates that are needed are unknown.
    """
    if division == "official":
        return splits
    if division == "clean":
        return clean_splits(task, splits)
    rows = (*splits.train, *splits.val, *splits.test)
    if division == "by_cluster":
        groups = joined(kinship(splits).clusters, [row.group for row in rows])
        largest = int(np.bincount(groups).max())
        if largest > POOL_SHARES[0] * len(rows):
            raise InputError(
                f"split=by_cluster: {largest} of {len(rows)} rows of {task.name} are connected as "
                f"relatives; they cannot be divided"
            )
        parts = divide(strata(rows), groups, POOL_SHARES, split_seed)
        named = " and groups" if any(row.group for row in rows) else ""
        kept = f"rows that are relatives{named} kept together"
    else:
        places = places_of(published(task, data))
        chromosomes = _chromosomes(task, rows, places)
        parts = divide_by_chromosome(chromosomes, POOL_SHARES, split_seed)
        names = ["+".join(sorted({chromosomes[row] for row in part})) for part in parts]
        kept = "chromosomes kept together: train {}, validation {}, test {}".format(*names)
    origin = f"70/10/20, {kept}, split_seed={split_seed}, of all rows of this: {splits.origin}"
    train, val, test = ([rows[row] for row in part] for part in parts)
    made = make_splits(task, train, val, test, origin, splits.revision)
    return replace(made, ambiguous_letters=splits.ambiguous_letters, notes=splits.notes)


def clean_splits(task: Task, splits: Splits) -> Splits:
    """Return the same division without test rows that have a relative in train or validation.

    Raises:
        InputError: If a class has no test row left.
    """
    keep = kinship(splits).test == NONE
    test = [example for example, good in zip(splits.test, keep, strict=True) if good]
    origin = f"{splits.origin}; {int((~keep).sum())} of {len(keep)} test rows with a relative in "
    origin += "train or validation left out"
    made = make_splits(task, splits.train, splits.val, test, origin, splits.revision)
    return replace(made, ambiguous_letters=splits.ambiguous_letters, notes=splits.notes)


def check_strict(task: Task, found: Kinship) -> None:
    """Refuse a division in which test rows are copies of training or validation rows.

    Raises:
        InputError: With the numbers.
    """
    counts = counted(found.test)
    copies = counts["same"] + counts["reverse_complement"]
    if copies:
        raise InputError(
            f"strict=true: {copies} of {counts['rows']} test rows of {task.name} are in train or "
            f"validation ({counts['same']} the same, {counts['reverse_complement']} as reverse "
            f"complement; {counts['near']} more are near-duplicates); split=clean leaves them out"
        )


def removed_by_class(task: Task, splits: Splits, found: Kinship) -> dict[str, tuple[int, int]]:
    """Return how many test rows the clean split drops and keeps, by class."""
    gone = found.test != NONE
    return {
        name: (int(gone[rows].sum()), int((~gone)[rows].sum()))
        for name, rows in kind_of(task).groups(task, splits.test).items()
    }


def divide_by_chromosome(
    chromosomes: Sequence[str], shares: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Divide rows so that each chromosome is in one part, and parts are near their shares.

    Chromosomes are assigned from the largest down, each to the part that lacks most rows;
    chromosomes of equal size come in random order.

    Args:
        chromosomes: N names.
        shares: Share of each part; they sum to 1.
        seed: Seed of that order.

    Returns:
        The ascending row numbers of each part.

    Raises:
        InputError: If there are fewer chromosomes than parts.
    """
    names, group, sizes = np.unique(chromosomes, return_inverse=True, return_counts=True)
    if len(names) < len(shares):
        raise InputError(
            f"split=by_chromosome: the rows are on {len(names)} chromosomes ({', '.join(names)}); "
            f"{len(shares)} are needed"
        )
    generator = stream(seed, "chromosomes of splits")
    order = generator.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    lacking = np.array(shares) * len(group)
    part_of = np.empty(len(names), dtype=np.int64)
    for done, one in enumerate(order):
        empty = [part for part in range(len(shares)) if part not in part_of[order[:done]]]
        # The last chromosomes go to parts that are still empty.
        open_parts = empty if len(empty) == len(order) - done else list(range(len(shares)))
        part_of[one] = max(open_parts, key=lambda part: lacking[part])
        lacking[part_of[one]] -= sizes[one]
    return [np.flatnonzero(part_of[group] == part) for part in range(len(shares))]


def _chromosomes(task: Task, rows: Sequence[Example], places: dict[str, Place]) -> list[str]:
    unknown = sum(row.sequence not in places for row in rows)
    if unknown:
        raise InputError(
            f"split=by_chromosome: the coordinates of {unknown} of {len(rows)} rows of {task.name} "
            f"are not known; a table gives them in the columns region, start, end, or in a column "
            f"name or id such as chr1:100-200"
        )
    chromosomes = [places[row.sequence].chromosome for row in rows]
    found: dict[str, str] = {}
    for row, one in zip(rows, chromosomes, strict=True):
        if row.group and found.setdefault(row.group, one) != one:
            raise InputError(
                f"split=by_chromosome: group {row.group!r} has rows on chromosomes "
                f"{found[row.group]} and {one}; give task.group= to divide regardless of groups"
            )
    return chromosomes
