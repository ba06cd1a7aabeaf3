"""Metrics of multi-label tasks, where each label is present or not: AUROC and AUPRC."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.metrics.bootstrap import Estimate, bootstrap_weights, percentile_interval
from tasks.metrics.classification import Ranking, mean_of_defined

WORK = 4_000_000_000
"""Rows times labels times resamples at most: about half a minute."""

CONSTANT_LABEL = "the label is in all rows or in none"
NO_LABEL = "every label is in all rows or in none"


def evaluate_labels(
    present: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return mean AUROC and AUPRC, and the AUROC of every label, with 95 % intervals over rows.

    A label that all evaluated rows have, or none, has no AUROC and is left out of means.

    Args:
        present: (N, L) 1 where a row has a label, else 0.
        scores: (N, L); higher where a label is likelier.
        labels: L names.
        groups: Names of labels that are also averaged by themselves, by the name of their group.
        resamples: Number of bootstrap resamples; fewer, but 100 at least, where there are so many
            rows and labels that they would take minutes.
        seed: Seed of the resampling; a resample is the same for all labels.

    Returns:
        The metrics: auroc and auprc over all labels, auroc_GROUP and auprc_GROUP for each group.
        And the AUROC of each label, by its name.

    Raises:
        ValueError: If shapes disagree, or a score is NaN.
    """
    present, scores = np.asarray(present), np.asarray(scores, dtype=np.float64)
    if present.shape != scores.shape or scores.shape != (len(scores), len(labels)):
        raise ValueError(f"labels {present.shape} do not fit scores {scores.shape}")
    if not len(scores) or np.isnan(scores).any():
        raise ValueError("there are no rows, or a score is NaN")
    resamples = min(resamples, max(100, WORK // scores.size))
    values = _areas(present, scores, [np.ones((1, len(scores)))])
    drawn = _areas(present, scores, list(bootstrap_weights(len(scores), resamples, seed)))
    place = {label: i for i, label in enumerate(labels)}
    sets = {"": list(labels), **{f"_{name}": list(names) for name, names in groups.items()}}
    metrics = {}
    for suffix, names in sets.items():
        rows = [place[name] for name in names]
        for metric in ("auroc", "auprc"):
            value, draws = (mean_of_defined(found[metric][rows]) for found in (values, drawn))
            metrics[metric + suffix] = percentile_interval(float(value[0]), draws, NO_LABEL)
    by_label = {
        label: percentile_interval(float(values["auroc"][i, 0]), drawn["auroc"][i], CONSTANT_LABEL)
        for label, i in place.items()
    }
    return metrics, by_label


def _areas(
    present: np.ndarray, scores: np.ndarray, weightings: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return AUROC and AUPRC of each label for all r weightings (r, N) of the rows, (L, r).

    The AUPRC of a label that every row has, or none, is constant and left undefined (NaN) too.
    """
    found: dict[str, list[np.ndarray]] = {"auroc": [], "auprc": []}
    for label in range(scores.shape[1]):
        ranking = Ranking(scores[:, label], present[:, label] == 1)
        auroc = np.concatenate([ranking.auroc(weights) for weights in weightings])
        auprc = np.concatenate([ranking.auprc(weights) for weights in weightings])
        found["auroc"].append(auroc)
        found["auprc"].append(np.where(np.isnan(auroc), np.nan, auprc))
    return {name: np.stack(values) for name, values in found.items()}
