"""The results of a sweep as a table, and its progress as a line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from backbone.common.options import as_text
from experiments.sweep.plan import Plan
from experiments.sweep.study import WHY, Cells, best, is_open


def table(study: Cells) -> pd.DataFrame:
    """Return one row per cell, in the order of the cells.

    Columns are `cell`, every option of the space, `state` (complete, pruned, failed, running or
    waiting), what the runs found (metrics on the evaluated rows; validation figures; budgets),
    `run` (its hash, several for several seeds), `why` it was pruned or failed, `chosen` in a
    search, and the `command` that repeats it. Of a finished grid the table is a function of the
    plan, but for `seconds`, which are there only where they are an objective.
    """
    cells, plan = study.last(), study.plan
    chosen = {trial.number for trial in best(cells, plan.objectives)}
    rows = []
    for cell, trial in cells.items():
        row: dict[str, Any] = {"cell": cell}
        row |= {name: trial.params.get(name) for name in plan.space}
        row["state"] = state(trial)
        for name, value in trial.user_attrs.get("found", {}).items():
            if name not in row and (name != "seconds" or name in plan.objectives):
                row[name] = value
        row["run"] = " ".join(trial.user_attrs.get("runs", []))
        is_ended = row["state"] in ("pruned", "failed")
        row["why"] = trial.user_attrs.get(WHY, "its worker died") if is_ended else ""
        if plan.mode != "grid":
            row["chosen"] = trial.number in chosen
        rows.append(row | {"command": trial.user_attrs.get("command", "")})
    return pd.DataFrame(rows)


def state(trial: FrozenTrial) -> str:
    """Return a cell's state in a word; one whose worker died is waiting."""
    if trial.state.is_finished() and is_open(trial):
        return "waiting"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def line(
    cells: Mapping[int, FrozenTrial], plan: Plan, now: datetime, until: float = math.inf
) -> str:
    """Return how far a sweep is: done, running, pruned, failed, time left, best so far.

    The best comes last: it is long, and a narrow terminal cuts the line.

    Args:
        cells: Every cell's last trial.
        plan: Of the study.
        now: The time.
        until: When no further cell is taken, as `time.time` gives it.
    """
    states = [state(trial) for trial in cells.values()]
    parts = [f"{states.count('complete')}/{len(states)} done"]
    parts += [f"{states.count(name)} {name}" for name in ("running", "pruned", "failed")]
    left = seconds_left(cells, now)
    if left is not None:
        parts.append(_duration(min(left, max(0.0, until - now.timestamp()))))
    chosen = best(cells, plan.objectives)
    if chosen and plan.mode != "grid":
        parts.append(f"best so far {describe(chosen[0], plan)}")
        if len(chosen) > 1:
            parts[-1] += f" and {len(chosen) - 1} more on the front"
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute left"
    if seconds < 2 * 3600:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def describe(trial: FrozenTrial, plan: Plan) -> str:
    """Return a complete cell as text: the objectives' values and its options."""
    values = [f"{n} {v:.6g}" for n, v in zip(plan.objectives, trial.values, strict=True)]
    cell = {name: trial.params[name] for name in plan.space}
    settings = [
        f"{n}={f'{v:.4g}' if isinstance(v, float) else as_text(v)}" for n, v in cell.items()
    ]
    return f"{', '.join(values)} ({' '.join(settings)})"


def seconds_left(cells: Mapping[int, FrozenTrial], now: datetime) -> float | None:
    """Return how long the open cells will take, by the mean of those that ran to an end.

    None before one has, or where none is open.
    """
    known = [
        trial.duration.total_seconds()
        for trial in cells.values()
        if not is_open(trial) and trial.duration and not trial.user_attrs.get("reused")
    ]
    still = [trial for trial in cells.values() if is_open(trial)]
    if not known or not still:
        return None
    mean = sum(known) / len(known)
    starts = [trial.datetime_start for trial in still if trial.state == TrialState.RUNNING]
    spent = [min(mean, (now - start).total_seconds()) for start in starts if start is not None]
    return (len(still) * mean - sum(spent)) / max(1, len(spent))
