"""The few-shot curve: performance against the number of shots, over many sets.

`python -m experiments.shots recipe=shots data=DIR` scores test rows with each readout of few-shot
prompting, with Markov chains and nearest neighbours on exactly the same demonstrations, and with
demonstrations swapped between the classes as a control. Demonstrations and test rows are drawn
again for every draw, and no labels other than those of the demonstrations are used. The command
writes shots.csv (a row for each run), shots_mean.csv (means over the sets), shots_pairs.csv (paired
differences), shots.md and figures. If the demonstrations do not fit a backbone's context, or a
class has too few rows, the run is left out and listed in shots.csv. Finished runs are not repeated.
`minutes` sets the time after which no new run starts; call the command again to continue.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from backbone.common.command import entry_point
from experiments.common.cells import Key, run_cells, write_tables
from experiments.common.command import MethodOptions, command_line, run_with_methods
from experiments.pictures.shots import draw_means, draw_sets
from experiments.pictures.style import save_figure
from experiments.shots.lines import Options, cells
from experiments.shots.table import means, pairs, runs_table
from experiments.shots.words import markdown

COMMAND = "python -m experiments.shots"


def shots(options: Options, words: MethodOptions) -> list[Path]:
    """Do the runs, write tables and pictures, and return their paths.

    Raises:
        InputError: If options, data or backbone cannot be used.
    """
    left_out: dict[Key, str] = {}
    planned = cells(options, words)
    finished = run_cells(planned, minutes=options.minutes, left_out=left_out)
    runs = runs_table(finished, left_out)
    mean, paired = means(finished), pairs(finished)
    text = markdown(runs, mean, paired, command_line(COMMAND, options, words))
    print(f"\n{text}")
    tables = {"shots": runs, "shots_mean": mean, "shots_pairs": paired}
    contents = {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()}
    paths = write_tables(options.out_folder, contents | {"shots.md": text})
    if len(mean):
        paths += _pictures(options, runs, mean)
    return paths


def _pictures(options: Options, runs: pd.DataFrame, mean: pd.DataFrame) -> list[Path]:
    figures = {
        "shots_mean": draw_means(mean, ("auroc", "mcc")),
        "shots_clean": draw_means(mean, ("clean_auroc", "clean_mcc")),
        "shots_sets_auroc": draw_sets(runs, mean, "auroc"),
        "shots_sets_mcc": draw_sets(runs, mean, "mcc"),
    }
    return [
        path
        for stem, figure in figures.items()
        for path in save_figure(figure, stem, options.out_folder)
    ]


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    forms = ("method.NAME=VALUE", "method.METHOD.NAME=VALUE")
    return run_with_methods(COMMAND, Options, shots, arguments, forms=forms)


if __name__ == "__main__":
    sys.exit(main())
