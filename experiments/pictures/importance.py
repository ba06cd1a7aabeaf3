"""The importance of options: fANOVA over the runs of a method, or over an Optuna study.

Functional ANOVA (Hutter et al. 2014, An Efficient Approach for Assessing Hyperparameter
Importance) fits a random forest to the scores of runs and attributes its variance to the options,
by themselves and in interactions. Importances depend on the ranges that the options had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import as_text
from experiments.common.settings import options_of
from experiments.pictures.style import FONT_SIZE, INK, LINES, frame

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

LEAST_RUNS = 10
FORESTS = 5
"""Forests that importances are averaged over; their spread shows how reliable they are."""


def importance(study: optuna.Study) -> pd.DataFrame:
    """Return the share of the score's variance that each option explains.

    Args:
        study: A study with one objective; unfinished trials do not count.

    Returns:
        A row for each option, the most important first: option, mean over FORESTS forests, low and
        high (the least and the most among them) and runs (finished trials).

    Raises:
        InputError: If fewer than LEAST_RUNS trials are finished, or no option differs.
    """
    import optuna

    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if len(done) < LEAST_RUNS:
        raise InputError(
            f"{len(done)} finished runs are too few to rank options; give at least {LEAST_RUNS}"
        )
    found = []
    for seed in range(FORESTS):
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        found.append(optuna.importance.get_param_importances(study, evaluator=evaluator))
    shares = pd.DataFrame(found)
    if shares.columns.empty:
        raise InputError("no option differs between the runs")
    table = pd.DataFrame(
        {"option": shares.columns, "mean": shares.mean().to_numpy()}
        | {"low": shares.min().to_numpy(), "high": shares.max().to_numpy(), "runs": len(done)}
    )
    return table.sort_values("mean", ascending=False, ignore_index=True)


def study_of(frame: pd.DataFrame, metric: str = "accuracy") -> optuna.Study:
    """Return the runs of one method on one task as a study of the options that differ.

    Args:
        frame: Reports as `icl.results.load_results` returns them.
        metric: Metric on the evaluated rows, which is the value of each trial.

    Raises:
        InputError: If no option differs.
    """
    import optuna

    frame = frame[frame["control"].isna() & frame[metric].notna()]
    options = pd.DataFrame(
        [options_of(config | {"task": {}}) for config in frame["config"]], dtype=object
    )
    differing = [str(name) for name in options if options[name].map(repr).nunique() > 1]
    if not differing:
        raise InputError("no option differs between the runs")
    distributions = {name: _distribution(options[name]) for name in differing}
    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(quiet)
    for values, score in zip(options[differing].to_dict("records"), frame[metric], strict=True):
        is_number = {name: _is_number(options[name]) for name in differing}
        params = {str(n): v if is_number[str(n)] else as_text(v) for n, v in values.items()}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=distributions, value=float(score)
            )
        )
    return study


def _is_number(values: pd.Series) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _distribution(values: pd.Series) -> optuna.distributions.BaseDistribution:
    """Return a range for numbers, logarithmic from a factor of ten on, else categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not _is_number(values):
        return CategoricalDistribution(sorted({as_text(value) for value in values}))
    low, high = min(values), max(values)
    is_log = low > 0 and high >= 10 * low
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=is_log)
    return FloatDistribution(low, high, log=is_log)


def draw_importance(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw a bar for each option, with the range over the forests.

    Args:
        table: As `importance` returns it.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.4 + 0.34 * len(table)))
    axes = figure.add_subplot()
    places = np.arange(len(table))[::-1]
    mean = table["mean"].to_numpy()
    ends = np.stack([mean - table["low"], table["high"] - mean])
    style = {"ecolor": INK, "elinewidth": 1.2}
    runs = f"{table['runs'].iloc[0]:,} runs"
    frame(axes, f"share of the variance over {runs} (fANOVA)", grid="")
    axes.barh(places, mean, xerr=ends, color=LINES[0].color, height=0.62, error_kw=style)
    for place, value, high in zip(places, mean, table["high"], strict=True):
        axes.text(high + 0.015, place, f"{value:.2f}", va="center", fontsize=FONT_SIZE)
    axes.set_yticks(places, table["option"].tolist())
    axes.set_xlim(0, max(1.0, 1.1 * table["high"].max()))
    axes.set_title(title, fontsize=FONT_SIZE + 2, fontweight="bold", loc="left")
    return figure
