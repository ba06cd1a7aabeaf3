"""What a run says about leaks: how its rows are divided, and its metrics on rows that leak nothing.

Relatives are sought among all training and validation rows of the division, whatever `n_train`
draws of them, so that the clean rows of all runs on one division are the same.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icl.config.options import RunConfig
from icl.reporting.report import Report
from tasks.audit.coordinates import Place, places_of, published
from tasks.audit.exposure import exposure
from tasks.audit.kinship import NONE, kinship
from tasks.audit.resplit import check_strict, redivided
from tasks.kinds import TASK_KINDS, kind_of
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Splits, Task


def divided(config: RunConfig, task: Task, data: Path | None) -> Splits:
    """The rows of a run, divided as it asks for.

    Raises:
        InputError: If the rows cannot be had or divided so, or if `strict` is on and test rows are
            copies of rows that are learned from.
    """
    splits = task.splits(config.split_seed, data)
    splits = redivided(task, splits, config.split, config.split_seed, data)
    if config.strict:
        check_strict(task, kinship(splits))
    return splits


def clean_metrics(
    task: Task,
    examples: Sequence[Example],
    scores: np.ndarray,
    relation: np.ndarray,
    metrics: dict[str, Estimate],
) -> dict[str, Estimate] | None:
    """The metrics of the rows without a relative among those that are learned from.

    Args:
        task: Whose rows they are.
        examples: N evaluated rows.
        scores: Of the rows, made once.
        relation: (N,) closest relation of each, as `tasks.audit.kinship.Kinship` has it.
        metrics: Of all rows.

    Returns:
        The same metrics; None where no row is left.
    """
    clean = np.flatnonzero(relation == NONE)
    if len(clean) == len(examples):
        return metrics
    if not len(clean):
        return None
    return kind_of(task).measure(task, [examples[row] for row in clean.tolist()], scores[clean])[0]


def exposure_details(
    config: RunConfig, task: Task, splits: Splits, data: Path | None, scores: np.ndarray
) -> dict[str, float]:
    """The first metric on chromosomes that the backbone saw in pretraining, and on others.

    Args:
        config: Of the run.
        task: Whose rows they are.
        splits: The rows.
        data: Where they come from.
        scores: Of the evaluated rows, made once.

    Returns:
        seen_rows and seen_METRIC with the ends of its interval, and the same for unseen; nothing
        where it is not known what the backbone saw, or where the rows lie.
    """
    from backbone.hyena.zoo import pretraining_regions

    regions = pretraining_regions(config.backbone)
    places = {} if regions is None else _places(task, splits, data)
    if regions is None or not places:
        return {}
    examples = splits.val if config.evaluate == "val" else splits.test
    metric = kind_of(task).metrics[0]
    details: dict[str, float] = {}
    for name, rows in vars(exposure(examples, places, regions)).items():
        details[f"{name}_rows"] = int(rows.sum())
        if rows.any():
            chosen = [examples[row] for row in np.flatnonzero(rows).tolist()]
            one = kind_of(task).measure(task, chosen, scores[rows])[0][metric]
            ends = {"": one.value, "_low": one.low, "_high": one.high}
            details |= {f"{name}_{metric}{end}": value for end, value in ends.items()}
    return details


_PLACES: dict[str, dict[str, Place]] = {}
"""Where the rows of the last division lie, by its hash: the runs of a sweep share it."""


def _places(task: Task, splits: Splits, data: Path | None) -> dict[str, Place]:
    if splits.sha256 not in _PLACES:
        _PLACES.clear()
        _PLACES[splits.sha256] = places_of(published(task, data))
    return _PLACES[splits.sha256]


def leak_lines(reports: Sequence[Report]) -> list[str]:
    """What the reports of one task say beside the table, where evaluated rows have relatives."""
    first = reports[0]
    if not first.outcome.audit or first.outcome.n_clean == first.outcome.audit["rows"]:
        return []
    found = first.outcome.audit
    learned = "train or validation" if first.setup.evaluated_on == "test" else "train"
    lines = [
        f"of {found['rows']} {first.setup.evaluated_on} rows {found['same']} are in {learned}, "
        f"{found['reverse_complement']} as reverse complement, and {found['near']} have a "
        f"near-duplicate there; {first.outcome.n_clean} are clean"
    ]
    metric = TASK_KINDS[first.setup.kind].metrics[0]
    for report in reports:
        if report.outcome.clean_metrics is not None:
            one = report.outcome.clean_metrics[metric]
            lines.append(
                f"{report.setup.method}, seed {report.setup.seed}, {metric} on the clean rows: "
                f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
            )
    return lines
