"""Explanations as files: tables, bedGraph, and the arrays that TF-MoDISco reads."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from backbone.common.files import atomic_write, write_text
from backbone.sequence.edits import NUCLEOTIDES
from icl.explain.attribution import Attribution, one_hot
from icl.explain.rows import Rows

ROWS, BASES, TRACK, MOTIFS, SUMMARY = (
    "rows.tsv",
    "bases.tsv",
    "importance.bedgraph",
    "motifs.tsv",
    "summary.json",
)
ONE_HOT, HYPOTHETICAL = "modisco_one_hot.npz", "modisco_attributions.npz"


def row_table(rows: Rows, found: Sequence[Attribution], labels: Sequence[str]) -> pd.DataFrame:
    """Return a row for each sequence: what it is, what is explained and how well gradients agree.

    Args:
        rows: N sequences.
        found: Their explanations.
        labels: Names of the run's classes.
    """
    table = pd.DataFrame({"row": range(len(found)), "name": rows.names})
    if rows.intervals:
        for name in ("record", "start", "end", "strand"):
            table[name] = [getattr(interval, name) for interval in rows.intervals]
    if rows.labels:
        table["label"] = rows.labels
    table["explained"] = [labels[one.output] for one in found]
    table["log_odds"] = [one.log_odds for one in found]
    table["agreement"] = [one.agreement for one in found]
    table["sequence"] = rows.sequences
    return table


def base_table(rows: Rows, found: Sequence[Attribution]) -> pd.DataFrame:
    """Return a row for each base of each sequence.

    Columns: row, position (from 0), base, importance, gradient (the importance to first order), the
    change of the log-odds by A, C, G and T in its place, and planted where that is known.
    """
    tables = []
    for row, one in enumerate(found):
        length = len(one.sequence)
        table = pd.DataFrame(
            {"row": row, "position": range(length), "base": list(one.sequence)}
            | {"importance": one.importance}
            | {"gradient": np.full(length, np.nan) if one.slope is None else one.slope}
            | dict(zip(NUCLEOTIDES, one.effects.T, strict=True))
        )
        if rows.planted is not None:
            table["planted"] = rows.planted[row].astype(int)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def bedgraph(rows: Rows, found: Sequence[Attribution]) -> str:
    """Return importances along the genome; the mean where intervals overlap."""
    at: dict[tuple[str, int], list[float]] = defaultdict(list)
    for interval, one in zip(rows.intervals, found, strict=True):
        values = one.importance[::-1] if interval.strand == "-" else one.importance
        for offset, value in enumerate(values.tolist()):
            at[interval.record, interval.start + offset].append(value)
    lines = ['track type=bedGraph name="importance"']
    for (record, position), covering in sorted(at.items()):
        lines.append(f"{record}\t{position}\t{position + 1}\t{np.mean(covering):.6g}")
    return "\n".join(lines) + "\n"


def write_modisco(folder: Path, found: Sequence[Attribution]) -> list[Path]:
    """Write letters and hypothetical contributions as `modisco motifs -s ... -a ...` reads them.

    Both are (N, 4, L) under the name arr_0. The contribution of a letter is its effect less the
    mean over the four letters; shorter rows end in zeros.
    """
    length = max(len(one.sequence) for one in found)
    letters = np.zeros((len(found), len(NUCLEOTIDES), length), dtype=np.int8)
    values = np.zeros(letters.shape, dtype=np.float32)
    for row, one in enumerate(found):
        centred = one.effects - one.effects.mean(axis=1, keepdims=True)
        letters[row, :, : len(one.sequence)] = one_hot(one.sequence).T
        values[row, :, : len(one.sequence)] = centred.T
    written = []
    for name, array in ((ONE_HOT, letters), (HYPOTHETICAL, values)):
        with atomic_write(folder / name) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, arr_0=array)
        written.append(folder / name)
    return written


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table with tabs; numbers have eight digits."""
    write_text(path, table.to_csv(sep="\t", index=False, float_format="%.8g"))
    return path
