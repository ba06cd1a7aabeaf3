"""Exponents, ratios and targets from a table of `experiments.speed.pretrain`."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

SHORT, MIDDLE, MILLION = 1 << 12, 1 << 16, 1 << 20


def fits(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each path: the exponent of time against length, and the range of lengths.

    The exponent is the slope of a straight line through log seconds against log length. `linear`
    and `quadratic` are the coefficients of seconds = linear L + quadratic L^2 (relative least
    squares), by which the Transformer is extrapolated: its slope is still growing where it ends.
    """
    rows = []
    for path, group in table[table["seconds"].notna()].groupby("path", sort=False):
        if len(group) < 2:
            continue
        length = group["length"].to_numpy(float)
        taken = group["seconds"].to_numpy(float)
        exponent = np.polyfit(np.log(length), np.log(taken), 1)[0]
        design = np.stack([length, length**2], axis=1) / taken[:, None]
        linear, quadratic = np.linalg.lstsq(design, np.ones(len(taken)), rcond=None)[0]
        rows.append([path, exponent, int(length.min()), int(length.max()), linear, quadratic])
    columns = ["path", "exponent", "shortest", "longest", "linear", "quadratic"]
    return pd.DataFrame(rows, columns=columns)


def extrapolated(table: pd.DataFrame, path: str, length: int) -> float | None:
    """Return the seconds that `fits` expects of a path at a length beyond what was measured."""
    found = fits(table)
    found = found[found["path"] == path]
    if found.empty or found["longest"].iloc[0] >= length:
        return None
    row = found.iloc[0]
    return float(row["linear"] * length + row["quadratic"] * length**2)


def seconds_of(table: pd.DataFrame, path: str, length: int) -> float | None:
    """Return the measured seconds of a path at a length, if there are any."""
    found = table[(table["path"] == path) & (table["length"] == length)]["seconds"].dropna()
    return None if found.empty else float(found.iloc[0])


def report(table: pd.DataFrame) -> Iterator[str]:
    """Yield what the table shows, a line each, as far as it has what a line needs."""
    for row in fits(table).itertuples():
        span = f"{row.shortest:,} to {row.longest:,}"
        yield f"{row.path}: time grows as length^{row.exponent:.2f} ({span})"
    for path in ("published", "transformer"):
        for length in sorted(table["length"].unique()):
            ours, other = (seconds_of(table, name, int(length)) for name in ("ours", path))
            if ours and other:
                yield f"{path} / ours at {length:,}: {other / ours:.2f}"
    million, ours = extrapolated(table, "transformer", MILLION), seconds_of(table, "ours", MILLION)
    if million and ours:
        yield f"transformer / ours at {MILLION:,}, EXTRAPOLATED: {million / ours:.0f}"
    short = seconds_of(table, "ours", SHORT)
    if ours and short:
        ratio = ours / MILLION / (short / SHORT)
        yield f"seconds a base at {MILLION:,} over those at {SHORT:,}: {ratio:.2f} (target: 2.5)"
    peaks = table[(table["path"] == "ours") & (table["length"] == MILLION)]["peak_bytes"].dropna()
    if not peaks.empty:
        yield f"peak memory at {MILLION:,}: {peaks.iloc[0] / 1e9:.1f} GB (target: 20)"
