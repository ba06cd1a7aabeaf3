"""What a sweep found, as a table, and how far it is, as a line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from backbone.common.options import as_text
from experiments.sweep.plan import Plan
from experiments.sweep.queue import LOST, WHY, Queue, best, is_open


def table(queue: Queue) -> pd.DataFrame:
    """A row a cell, in the order of the cells.

    Columns are `cell`, every option of the space, `state` (complete, pruned, failed, running or
    waiting), what the runs found (metrics on the evaluated rows; validation_accuracy and
    validation_loss; budgets), `run` (its hash, several for several seeds), `why` it was pruned or
    failed, `chosen` in a search, and the `command` that repeats it. Of a finished grid it is a
    function of the plan, but for `seconds`, which are there only where they are an objective.
    """
    cells = queue.cells()
    chosen = {trial.number for trial in best(cells, queue.plan.objectives)}
    rows = []
    for cell, trial in cells.items():
        row: dict[str, Any] = {"cell": cell}
        row |= {name: trial.params.get(name) for name in queue.plan.space}
        row["state"] = state(trial)
        found = trial.user_attrs.get("found", {}).items()
        row |= {n: v for n, v in found if n not in row and _is_shown(n, queue.plan)}
        row["run"] = " ".join(trial.user_attrs.get("runs", []))
        row["why"] = why(trial)
        if queue.plan.mode != "grid":
            row["chosen"] = trial.number in chosen
        rows.append(row | {"command": trial.user_attrs.get("command", "")})
    return pd.DataFrame(rows)


def _is_shown(name: str, plan: Plan) -> bool:
    return name != "seconds" or name in plan.objectives


def state(trial: FrozenTrial) -> str:
    """A cell's state in a word: one whose worker died waits to be taken up."""
    if trial.state.is_finished() and is_open(trial):
        return "waiting"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def why(trial: FrozenTrial) -> str:
    """Why a cell was pruned or failed; empty for others."""
    if state(trial) not in ("pruned", "failed"):
        return ""
    return trial.user_attrs.get(WHY, LOST)


def line(
    cells: Mapping[int, FrozenTrial], plan: Plan, now: datetime, until: float = math.inf
) -> str:
    """How far a sweep is: done, running, pruned, failed, time left, best so far.

    The best comes last: it is long, and a narrow terminal cuts the line.

    Args:
        cells: Every cell's last trial.
        plan: What the study is about.
        now: The time.
        until: When no further trial is taken, as `time.time` gives it.
    """
    states = [state(trial) for trial in cells.values()]
    parts = [f"{states.count('complete')}/{len(states)} done"]
    parts += [f"{states.count(name)} {name}" for name in ("running", "pruned", "failed")]
    left = seconds_left(cells, now)
    if left is not None:
        parts.append(_left(min(left, max(0.0, until - now.timestamp()))))
    chosen = best(cells, plan.objectives)
    if chosen and plan.mode != "grid":
        parts.append(f"best so far {describe(chosen[0], plan)}")
        if len(chosen) > 1:
            parts[-1] += f" and {len(chosen) - 1} more on the front"
    return ", ".join(parts)


def _left(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute left"
    if seconds < 2 * 3600:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def describe(trial: FrozenTrial, plan: Plan) -> str:
    """A finished cell in words: the objectives' values, and the options that it has."""
    values = [f"{n} {v:.6g}" for n, v in zip(plan.objectives, trial.values, strict=True)]
    settings = " ".join(f"{name}={_short(trial.params[name])}" for name in plan.space)
    return f"{', '.join(values)} ({settings})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def seconds_left(cells: Mapping[int, FrozenTrial], now: datetime) -> float | None:
    """How long the open cells will take, by the mean of those that ran to an end here.

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
    running = [start for start in starts if start is not None]
    spent = [min(mean, (now - start).total_seconds()) for start in running]
    return (len(still) * mean - sum(spent)) / max(1, len(running))
