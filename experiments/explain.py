"""Figures of what runs read: `python -m experiments.explain explained=[DIR,DIR] out=PICTURES`.

Each folder was written by `icl.explain`, all for the same rows, so that the figures show what a
prompt reads above what a probe, k-mer counts and a network read. For some rows they show the
importance of each base as a logo and the effect of every replacement as a heat map; for rows of one
length, also the mean importance at each position by class. `words=` tabulates the importance of
known words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from experiments.common.command import run_command
from experiments.pictures.logos import (
    Track,
    draw_effects,
    draw_logos,
    draw_profiles,
    most_important_stretch,
    profiles,
)
from experiments.pictures.style import save
from icl.explain.known_words import check_word, word_table
from icl.explain.tables import BASES, ROWS, SUMMARY

WORDS = "words.csv"


@dataclass
class Options:
    """Options of the command."""

    explained: list[str] = option([], "output folders of icl.explain, for the same rows")
    names: list[str] = option([], "names of the runs in the figures; by default their methods")
    rows: list[int] = option([0], "numbers of the rows to draw, as in rows.tsv", least=0)
    words: list[str] = option(
        [], "words whose importance is tabulated, such as TATAWA (IUPAC codes) or CG"
    )
    origin: int = option(0, "position numbered 0 in the figures, such as a transcription start")
    bases: int = option(
        160, "maximum bases of a logo, which shows the most important segment of the row", least=1
    )
    out: str = option("runs-explain", "folder of the figures")


@dataclass(frozen=True)
class Explained:
    """A folder that `icl.explain` has written: its summary, rows and bases."""

    summary: dict[str, Any]
    rows: pd.DataFrame
    bases: pd.DataFrame

    @classmethod
    def read(cls, folder: str) -> Explained:
        """Read a folder.

        Raises:
            InputError: If a file is missing or damaged.
        """
        path = Path(folder).expanduser()
        if not (path / SUMMARY).is_file():
            raise InputError(f"{folder}: holds no explanation; give a folder of icl.explain")
        try:
            summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
            tables = [pd.read_csv(path / name, sep="\t") for name in (ROWS, BASES)]
        except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{folder}: cannot be read ({reason}); run icl.explain") from error
        return cls(summary, *tables)


def draw(options: Options) -> list[Path]:
    """Draw what the options ask for and return the paths of the files.

    Raises:
        InputError: If the folders cannot be read, or are not about the same rows.
    """
    if not options.explained:
        raise InputError("explained=[]: give at least one folder that icl.explain has written")
    found = [Explained.read(folder) for folder in options.explained]
    names = options.names or [str(one.summary["method"]) for one in found]
    if len(names) != len(found):
        raise InputError(f"names: {len(names)} names for {len(found)} folders; give one for each")
    first, out = found[0], Path(options.out).expanduser()
    for folder, one in zip(options.explained, found, strict=True):
        if list(one.rows["sequence"]) != list(first.rows["sequence"]):
            raise InputError(f"{folder}: is about other rows than {options.explained[0]}")
    for row in options.rows:
        if row >= len(first.rows):
            raise InputError(f"rows: there is no row {row}; there are {len(first.rows)}, from 0 on")
    words = [check_word(word) for word in options.words]
    tracks = [
        Track(name, one.bases.assign(position=one.bases["position"] - options.origin))
        for name, one in zip(names, found, strict=True)
    ]
    written: list[Path] = []
    if words:
        table = word_table({one.name: one.bases for one in tracks}, first.rows, words)
        write_text(out / WORDS, table.to_csv(index=False, float_format="%.4g"))
        written.append(out / WORDS)
    for row in options.rows:
        written += _draw_row(first, tracks, row, options.bases, out)
    if first.rows["sequence"].str.len().nunique() == 1:
        groups = _groups(first.rows)
        table = profiles(tracks, groups)
        facts = f"{first.summary['rows']} · bands: 95 % over rows"
        figure = draw_profiles(table, "mean importance at each position", facts)
        written += save(figure, table, "profile", out)
    return written


def _draw_row(
    first: Explained, tracks: Sequence[Track], row: int, most: int, out: Path
) -> list[Path]:
    of_row = [Track(one.name, one.bases[one.bases["row"] == row]) for one in tracks]
    stretch = most_important_stretch(of_row[0].bases, most)
    about = first.rows.iloc[row]
    facts = f"row {about['name']} of {first.summary['task']}"
    if "label" in about:
        facts += f", {about['label']}"
    facts += f" · explained: log-odds of {about['explained']}"
    table = pd.concat(
        [one.bases.iloc[stretch].assign(run=one.name) for one in of_row], ignore_index=True
    )
    logos = draw_logos(of_row, stretch, "importance of each base", facts)
    effects = draw_effects(of_row, stretch, "effect of every replacement", facts)
    written = save(logos, table, f"logo_row_{row}", out)
    return written + save(effects, table, f"effects_row_{row}", out)


def _groups(rows: pd.DataFrame) -> dict[str, list[int]]:
    if "label" not in rows:
        return {"all": rows["row"].tolist()}
    return {str(name): part["row"].tolist() for name, part in rows.groupby("label")}


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.explain", Options, draw, arguments)


if __name__ == "__main__":
    sys.exit(main())
