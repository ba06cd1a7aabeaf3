"""How well scores of alleles tell two labels apart, compared with baselines without a model.

AUROC and AUPRC, with bootstrap intervals over alleles, for all alleles and by their kind. Scores
are used as they are; baselines are logistic regressions, and every allele is judged by one that was
fitted without the alleles near it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.sequence.dna import gc_content
from backbone.sequence.kmers import kmer_counts, kmer_frequencies
from backbone.sequence.variants import KINDS
from icl.baselines.linear import choose_logistic
from icl.variants.alleles import Allele
from icl.variants.effects import CHANGE, COSINE, DISTANCE, LIKELIHOOD, NUMBER_CHANGE
from tasks.metrics.bootstrap import Estimate, bootstrap_weights, percentile_interval
from tasks.metrics.classification import ONE_CLASS, Ranking

FOLDS = 5
"""Parts of the alleles; a baseline is fitted on all but two, of which one chooses the penalty."""

WINDOW_KMER, CHANGE_KMER = 4, 3
"""Lengths of the k-mers counted in a window, and of those that an allele makes and breaks."""

RANKINGS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "likelihood lost": (LIKELIHOOD, np.negative),
    "likelihood changed": (LIKELIHOOD, np.abs),
    "state distance": (DISTANCE, np.asarray),
    "state cosine distance": (COSINE, np.asarray),
    "log-odds gained": (CHANGE, np.asarray),
    "log-odds changed": (CHANGE, np.abs),
    "number gained": (NUMBER_CHANGE, np.asarray),
    "number changed": (NUMBER_CHANGE, np.abs),
}
"""What is ranked: from which score, and how it becomes higher for positives."""


@dataclass(frozen=True)
class Traits:
    """What of an allele is known without a model.

    Attributes:
        kind: See `backbone.sequence.variants.KINDS`.
        transition: 1 for transitions, 0 for other substitutions of one base, NaN for the rest.
        at_cpg: 1 where a single base of a CpG is replaced, 0 for other single bases, NaN else.
        gc: Change of the number of G and C.
        cpg: Change of the number of CpG.
    """

    kind: str
    transition: float
    at_cpg: float
    gc: int
    cpg: int


def traits_of(allele: Allele) -> Traits:
    """Return what of an allele is known without a model."""
    change, text, variant = allele.change, allele.sequence, allele.variant
    edited = change.of(text)
    before = text[max(0, change.start - 1) : change.end + 1]
    after = edited[max(0, change.start - 1) : change.start + len(change.letters) + 1]
    is_snv = variant.kind == "snv"
    at = change.start
    in_cpg = "CG" in (text[at : at + 2], text[max(0, at - 1) : at + 1])
    return Traits(
        variant.kind,
        float(variant.is_transition) if is_snv else np.nan,
        float(in_cpg) if is_snv else np.nan,
        sum(map(after.count, "GC")) - sum(map(before.count, "GC")),
        after.count("CG") - before.count("CG"),
    )


def kmer_features(alleles: Sequence[Allele]) -> np.ndarray:
    """Return k-mers of windows and those that alleles make and break, (E, F) float32."""
    reach = CHANGE_KMER - 1
    windows = kmer_frequencies([allele.sequence for allele in alleles], WINDOW_KMER)
    near = []
    for allele in alleles:
        change, text = allele.change, allele.sequence
        first = max(0, change.start - reach)
        after = text[change.end : change.end + reach]
        near.append(text[first : change.end] + after)
        near.append(text[first : change.start] + change.letters + after)
    counts = kmer_counts(near, CHANGE_KMER).reshape(len(alleles), 2, -1)
    gc = [[gc_content(allele.sequence)] for allele in alleles]
    return np.hstack([windows, counts[:, 1] - counts[:, 0], gc]).astype(np.float32)


def labels_of(
    values: Sequence[str | None], positive: Sequence[str], negative: Sequence[str]
) -> np.ndarray:
    """Return 1 for positive alleles, 0 for negative ones and -1 for those without a label, (E,).

    Args:
        values: Labels as text.
        positive: Labels that are positive; without any, labels must be 0 and 1.
        negative: Labels that are negative; without any, all others are.

    Raises:
        InputError: If the labels are not 0 and 1 and none is called positive, a given label does
            not occur, or all alleles are alike.
    """
    known = sorted({value for value in values if value is not None})
    few = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    if not positive:
        if not {*known} <= {"0", "1"}:
            raise InputError(
                f"the labels are {few}: say which are positive, as positive=[{known[0]}]"
            )
        positive = ["1"]
    elif missing := [one for one in (*positive, *negative) if one not in known]:
        raise InputError(f"no allele has the label {missing[0]!r}; the labels are {few}")
    others = set(negative) or set(known) - set(positive)
    found = np.array([1 if v in positive else 0 if v in others else -1 for v in values])
    if not ((found == 1).any() and (found == 0).any()):
        raise InputError(f"metrics need positive and negative alleles; the labels are {few}")
    return found


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """Return the log-odds (E,) of logistic regressions that did not see an allele's group.

    Args:
        features: (E, F).
        labels: (E,) of 0 and 1.
        groups: (E,) numbers of groups.
        seed: Seed of the division.
    """
    names, group = np.unique(groups, return_inverse=True)
    fold = stream(seed, "folds of variants").permutation(np.arange(len(names)) % FOLDS)[group]
    found = np.zeros(len(labels))
    for test in range(FOLDS):
        val = fold == (test + 1) % FOLDS
        train = ~val & (fold != test)
        if not (train.any() and val.any() and len(set(labels[train])) == 2):
            return np.full(len(labels), np.nan)
        model = choose_logistic(
            (features[train], labels[train]), (features[val], labels[val]), n_classes=2, seed=seed
        ).model
        scores = model.scores(features[fold == test])
        found[fold == test] = scores[:, 1] - scores[:, 0]
    return found


def neighbourhoods(alleles: Sequence[Allele]) -> np.ndarray:
    """Return numbers of groups (E,): alleles whose windows overlap, or are alike, share one."""
    spans = []
    for allele in alleles:
        start = allele.variant.trimmed().start - allele.change.start
        spans.append((allele.variant.record, start, start + len(allele.sequence)))
    order = sorted(range(len(spans)), key=spans.__getitem__)
    groups, group, record, reach = np.zeros(len(spans), dtype=int), -1, "", -1
    for i in order:
        if spans[i][0] != record or spans[i][1] >= reach:
            group, record, reach = group + 1, spans[i][0], -1
        groups[i], reach = group, max(reach, spans[i][2])
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(a.sequence, int(g)) for a, g in zip(alleles, groups, strict=True)]
    )


def baselines(
    traits: Sequence[Traits], kmers: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Return the log-odds (E,) of every baseline by its name."""
    gc = np.array([[one.gc, abs(one.gc)] for one in traits], dtype=float)
    cpg = np.array([[one.cpg, abs(one.cpg), one.at_cpg == 1] for one in traits], dtype=float)
    substitution = np.array([[one.transition == 1, one.transition == 0] for one in traits])
    kinds = np.array([[one.kind == kind for kind in KINDS] for one in traits], dtype=float)
    features = {
        "baseline: GC change": gc,
        "baseline: CpG": cpg,
        "baseline: transition or transversion": substitution.astype(float),
        "baseline: all of these and the kind": np.hstack([gc, cpg, substitution, kinds]),
        f"baseline: {WINDOW_KMER}-mers of the window, changed {CHANGE_KMER}-mers": kmers,
    }
    return {name: out_of_fold(one, labels, groups, seed) for name, one in features.items()}


def subsets(traits: Sequence[Traits]) -> dict[str, np.ndarray]:
    """Return which alleles (E,) are of each kind that there is, all of them first."""
    found = {"all": np.ones(len(traits), dtype=bool)}
    found |= {kind: np.array([one.kind == kind for one in traits]) for kind in KINDS}
    for name, value in (("transition", 1.0), ("transversion", 0.0)):
        found[name] = np.array([one.transition == value for one in traits])
    for name, value in (("at CpG", 1.0), ("not at CpG", 0.0)):
        found[name] = np.array([one.at_cpg == value for one in traits])
    return {name: rows for name, rows in found.items() if rows.any()}


def ranked(
    scores: np.ndarray, labels: np.ndarray, resamples: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Return AUROC and AUPRC of scores (E,) for labels (E,) of 0 and 1, with intervals."""
    if np.isnan(scores).any():
        undefined = Estimate.undefined("too few alleles to fit it on others")
        return undefined, undefined
    ranking, once = Ranking(scores, labels == 1), np.ones((1, len(labels)))
    if len(set(labels)) < 2:
        return Estimate.undefined(ONE_CLASS), Estimate.undefined(ONE_CLASS)
    draws = list(bootstrap_weights(len(labels), resamples, seed))
    auroc, auprc = (
        percentile_interval(float(area(once)[0]), np.concatenate([area(w) for w in draws]))
        for area in (ranking.auroc, ranking.auprc)
    )
    return auroc, auprc


def metrics_table(
    scores: Mapping[str, np.ndarray],
    traits: Sequence[Traits],
    kmers: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Return AUROC and AUPRC of scores and baselines, for all alleles and by their kind.

    Args:
        scores: By name (E,) of all labelled alleles.
        traits: Of each allele.
        kmers: (E, F) of `kmer_features`.
        labels: (E,) of 0 and 1.
        groups: (E,) of `neighbourhoods`.
        seed: Seed of folds and resamples.
        resamples: Number of bootstrap resamples.

    Returns:
        A row for each kind and score.
    """
    compared = {
        name: turned(scores[column])
        for name, (column, turned) in RANKINGS.items()
        if column in scores
    }
    compared |= baselines(traits, kmers, labels, groups, seed)
    rows = []
    for kind, chosen in subsets(traits).items():
        for name, values in compared.items():
            auroc, auprc = ranked(values[chosen], labels[chosen], resamples, seed)
            rows.append(
                {
                    "kind": kind,
                    "score": name,
                    "alleles": int(chosen.sum()),
                    "positives": int(labels[chosen].sum()),
                    "auroc": auroc.value,
                    "auroc_low": auroc.low,
                    "auroc_high": auroc.high,
                    "auprc": auprc.value,
                    "auprc_low": auprc.low,
                    "auprc_high": auprc.high,
                }
            )
    return pd.DataFrame(rows)
