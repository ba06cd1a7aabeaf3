"""How important words are that one would look for: a TATA box, CpG, the motif of a factor."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from icl.explain.planted import mean_over_rows

IUPAC = {
    **{"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT"},
    **{"K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
"""Letters that stand for several bases (IUPAC-IUB 1984)."""

_COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


def check_word(word: str) -> str:
    """Return a word in upper case.

    Raises:
        InputError: If it is empty, or has a letter that is none of the IUPAC code.
    """
    if not word or not set(word.upper()) <= set(IUPAC):
        raise InputError(f"words: {word!r} is no word of the letters {''.join(IUPAC)}")
    return word.upper()


def places_of(sequence: str, word: str) -> list[int]:
    """Return where a word, or its reverse complement, begins in a sequence."""
    both = {word, word.translate(_COMPLEMENT)[::-1]}
    starts = set()
    for one in both:
        pattern = "".join(f"[{IUPAC[letter]}]" for letter in one)
        starts |= {found.start() for found in re.finditer(f"(?={pattern})", sequence)}
    return sorted(starts)


def word_table(
    runs: Mapping[str, pd.DataFrame], rows: pd.DataFrame, words: Sequence[str]
) -> pd.DataFrame:
    """Return how important the bases of words are, compared with the other bases of the same rows.

    Args:
        runs: The tables of bases that `icl.explain` writes, by the name of a run.
        rows: The table of the rows that they are about.
        words: Over the IUPAC code; a reverse complement is the same word.

    Returns:
        A row for each run, word and label (all where labels are not known): rows with the word,
        places where it stands, inside and elsewhere (the mean importance of bases, each row's mean
        counting once), difference, and its interval over rows, low and high.
    """
    labels = rows["label"] if "label" in rows else pd.Series("all", index=rows.index)
    table = []
    for word in words:
        starts = [places_of(sequence, word) for sequence in rows["sequence"]]
        inside = [
            _covered(len(sequence), own, len(word))
            for sequence, own in zip(rows["sequence"], starts, strict=True)
        ]
        for name, bases in runs.items():
            values = [part.to_numpy(float) for _, part in bases.groupby("row")["importance"]]
            for label in labels.unique():
                some = [
                    i
                    for i in np.flatnonzero(labels == label)
                    if 0 < inside[i].sum() < len(inside[i])
                ]
                own = np.array([values[i][inside[i]].mean() for i in some])
                other = np.array([values[i][~inside[i]].mean() for i in some])
                difference = mean_over_rows(own - other)
                table.append(
                    {"run": name, "word": word, "label": label, "rows": len(some)}
                    | {"places": sum(len(starts[i]) for i in some)}
                    | {"inside": own.mean() if some else np.nan}
                    | {"elsewhere": other.mean() if some else np.nan}
                    | {"difference": difference.value}
                    | {"low": difference.low, "high": difference.high}
                )
    return pd.DataFrame(table)


def _covered(length: int, starts: Sequence[int], width: int) -> np.ndarray:
    covered = np.zeros(length, dtype=bool)
    for start in starts:
        covered[start : start + width] = True
    return covered
