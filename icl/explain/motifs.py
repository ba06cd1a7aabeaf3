"""Words that recur among the most important stretches of rows, against shuffled rows.

A stretch of `kmer` bases is important if the sum of its bases' importances exceeds 95 % of those of
dinucleotide-shuffled rows. A word that is read wherever it stands is important in more of its
places than one in twenty; a binomial tail says how surprising that is, and Benjamini and Hochberg's
procedure (1995) corrects for the number of words.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backbone.sequence.dna import reverse_complement
from icl.explain.attribution import Attribution

CONTROL_SHARE = 0.05
"""Share of the stretches of shuffled rows that are called important."""


def recurring_motifs(
    found: Sequence[Attribution], control: Sequence[Attribution], kmer: int
) -> pd.DataFrame:
    """Return how often each word, or its reverse complement, is important.

    Args:
        found: Explanations of rows.
        control: Explanations of shuffled rows.
        kmer: Length of the words.

    Returns:
        A row for each word that is important anywhere, the least likely first: motif and
        reverse_complement; rows, those in which it is important; places, all places where it
        stands; important, those of them that are; expected, how many would be; p and q, the
        probability of as many and its correction; importance, the mean sum over all places; and
        control_places and control_important, the same in shuffled rows.
    """
    from scipy.stats import binom, false_discovery_control

    columns = ["motif", "row", "importance"]
    real = pd.DataFrame(_stretches(found, kmer), columns=columns)
    null = pd.DataFrame(_stretches(control, kmer), columns=columns)
    if real.empty or null.empty:
        return pd.DataFrame(columns=_COLUMNS)
    threshold = np.quantile(null["importance"], 1 - CONTROL_SHARE)
    tables = []
    for table in (real, null):
        important = table["importance"] > threshold
        groups = table.assign(important=important).groupby("motif")
        tables.append(
            pd.DataFrame(
                {
                    "places": groups.size(),
                    "important": groups["important"].sum(),
                    "importance": groups["importance"].mean(),
                    "rows": table[important].groupby("motif")["row"].nunique(),
                }
            )
        )
    counts = tables[0]
    counts["rows"] = counts["rows"].fillna(0).astype(int)
    counts["expected"] = counts["places"] * CONTROL_SHARE
    counts["p"] = binom.sf(counts["important"] - 1, counts["places"], CONTROL_SHARE)
    counts["q"] = false_discovery_control(counts["p"])
    for name in ("places", "important"):
        others = tables[1][name].reindex(counts.index).fillna(0)
        counts[f"control_{name}"] = others.astype(int)
    counts = counts[counts["important"] > 0].reset_index()
    counts["reverse_complement"] = [reverse_complement(word) for word in counts["motif"]]
    counts = counts.sort_values(["p", "important"], ascending=[True, False], kind="stable")
    return counts[_COLUMNS].reset_index(drop=True)


_COLUMNS = [
    *("motif", "reverse_complement", "rows", "places", "important", "expected", "p", "q"),
    *("importance", "control_places", "control_important"),
]


def _stretches(found: Sequence[Attribution], kmer: int) -> list[tuple[str, int, float]]:
    """Return every stretch without N: its word on the strand that sorts first, row and sum."""
    stretches = []
    for row, one in enumerate(found):
        sums = np.convolve(one.importance, np.ones(kmer), mode="valid")
        for start in range(len(one.sequence) - kmer + 1):
            word = one.sequence[start : start + kmer]
            if "N" not in word:
                word = min(word, reverse_complement(word))
                stretches.append((word, row, float(sums[start])))
    return stretches
