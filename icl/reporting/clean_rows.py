"""Leakage in a run: its metrics on rows without relatives, and on rows the backbone never saw.

Relatives are searched for among all training and validation rows of the division, whichever of them
`n_train` draws, so that all runs on one division have the same clean rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icl.config.options import RunConfig
from icl.controls import controlled_backbone
from icl.reporting.report import Report
from tasks.audit.coordinates import HasTables, Place, places_of, published
from tasks.audit.exposure import exposure
from tasks.audit.kinship import NONE, counted, kinship
from tasks.kinds import TASK_KINDS, kind_of
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Splits, Task, data_folder


def relations(config: RunConfig, splits: Splits, scored: np.ndarray) -> np.ndarray | None:
    """Return the closest relation of each scored row, (N,); None if the run has no audit.

    Args:
        config: Configuration of the run.
        splits: The rows of its task.
        scored: (N,) places of the scored rows in the evaluated split.
    """
    return None if config.audit == "none" else kinship(splits).of(config.evaluate)[scored]


def clean_outcome(
    task: Task,
    examples: Sequence[Example],
    scores: np.ndarray,
    relation: np.ndarray | None,
    metrics: dict[str, Estimate],
) -> dict[str, Any]:
    """Return the counts of relatives for the report, and the metrics of the rows without any.

    Args:
        task: Task of the rows.
        examples: N evaluated rows.
        scores: Scores of the rows.
        relation: (N,) closest relation of each, as `tasks.audit.kinship.Kinship` has it; None if
            no relatives were searched for.
        metrics: Metrics of all rows.

    Returns:
        audit, n_clean, clean_metrics and clean_reason, as `icl.reporting.report.Outcome` has them.
    """
    if relation is None:
        return {"clean_reason": "no relatives were searched for (audit=none)"}
    clean = np.flatnonzero(relation == NONE)
    found: dict[str, Any] = {"audit": counted(relation), "n_clean": len(clean)}
    if not len(clean):
        return found | {"clean_reason": "every evaluated row has a relative"}
    if len(clean) < len(examples):
        rows = [examples[row] for row in clean.tolist()]
        metrics = kind_of(task).measure(task, rows, scores[clean])[0]
    return found | {"clean_metrics": metrics}


def exposure_details(
    config: RunConfig, task: Task, splits: Splits, scored: np.ndarray, scores: np.ndarray
) -> dict[str, float]:
    """Return the first metric on chromosomes that the backbone saw in pretraining, and on others.

    Args:
        config: Configuration of the run.
        task: Task of the rows.
        splits: The rows.
        scored: (N,) places of the scored rows in the evaluated split.
        scores: Their scores.

    Returns:
        seen_rows and seen_METRIC with the ends of its interval, and the same for unseen; nothing
        where it is unknown what the backbone saw, or where the rows lie.
    """
    from backbone.places import pretraining_regions

    regions = pretraining_regions(controlled_backbone(config.backbone, config.control))
    places = {} if regions is None else _places(task, splits, data_folder(config.data))
    if regions is None or not places:
        return {}
    whole = splits.val if config.evaluate == "val" else splits.test
    examples = [whole[row] for row in scored]
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


_PLACES: dict[tuple[object, ...], dict[str, Place]] = {}
"""Coordinates of the rows of the last division, which the runs of a sweep share.

The hash of the rows does not name them: two tables may hold the same sequences at other places.
"""


def _places(task: Task, splits: Splits, data: Path | None) -> dict[str, Place]:
    tables = task.source.tables(data) if isinstance(task.source, HasTables) else ()
    key = (splits.sha256, type(task.source), *tables)
    if key not in _PLACES:
        _PLACES.clear()
        _PLACES[key] = places_of(published(task, data))
    return _PLACES[key]


def leak_lines(reports: Sequence[Report]) -> list[str]:
    """Return the lines below the table of one task where evaluated rows have relatives."""
    setup, outcome = reports[0].setup, reports[0].outcome
    if outcome.audit is None:
        return [f"clean rows: not known, {outcome.clean_reason}"] if outcome.clean_reason else []
    found = outcome.audit
    if outcome.n_clean == found["rows"]:
        return []
    learned = "train or validation" if setup.evaluated_on == "test" else "train"
    lines = [
        f"of {found['rows']} {setup.evaluated_on} rows {found['same']} are in {learned}, "
        f"{found['reverse_complement']} as reverse complement, and {found['near']} have a "
        f"near-duplicate there; {outcome.n_clean} are clean"
    ]
    metric = TASK_KINDS[setup.kind].metrics[0]
    for report in reports:
        if report.outcome.clean_metrics is not None:
            lines.append(
                f"{report.setup.method}, seed {report.setup.seed}, {metric} on the clean rows: "
                f"{report.outcome.clean_metrics[metric]}"
            )
    return lines
