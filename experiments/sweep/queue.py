"""The trials of a sweep: made by its parent, taken one by one, taken up again when a worker dies.

Every trial has a cell: its place in the grid, or its number in a search. A trial whose worker
died, or was stopped, makes way for another one of the same cell; what counts for a cell is its
last trial.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from backbone.common.errors import InputError
from experiments.sweep.claims import Claim
from experiments.sweep.plan import OBJECTIVES, Plan

CELL, WHY, PLAN = "cell", "why", "plan"
"""Names of what is kept beside trials and studies."""

RETRIES = 5
"""How often a cell is tried again whose workers died."""

LOST = "its worker died"


class NothingWaitsError(Exception):
    """All trials are taken."""


class Queue(optuna.Study):
    """A study whose trials are taken from those that wait, never made by who runs them."""

    def __init__(self, name: str, storage: RDBStorage, plan: Plan, claim: Claim) -> None:
        """Opens a study that is there.

        Args:
            name: Of the study.
            storage: Where it is.
            plan: What it is about.
            claim: The claims of all who take part.

        Raises:
            KeyError: If there is no such study.
        """
        super().__init__(study_name=name, storage=storage, pruner=plan.made_pruner())
        self.plan = plan
        self.claim = claim
        self.taken: int | None = None
        self._storage_of_signs = storage
        self._beaten: set[int] = set()

    def ask(self, fixed_distributions: dict[str, BaseDistribution] | None = None) -> Trial:
        """Takes the first trial that waits; the storage lets no two processes take the same.

        Raises:
            NothingWaitsError: If none waits.
        """
        self.taken = None
        for waiting in self.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if self._take(waiting._trial_id):
                self.taken = waiting._trial_id
                self.sampler = self.plan.sampler(waiting.number)
                return Trial(self, waiting._trial_id)
        raise NothingWaitsError

    def _take(self, trial_id: int) -> bool:
        try:
            return self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def is_taken_from_us(self) -> bool:
        """Whether the trial taken last was given up for dead while it ran here."""
        return self.taken is not None and self._storage.get_trial(self.taken).state.is_finished()

    def add_cells(self, cells: Mapping[int, Mapping[str, Any]]) -> None:
        """Makes a waiting trial for every cell that has none, or whose last one failed.

        Args:
            cells: For each cell its values; none where they are drawn when it is taken.
        """
        with self.claim(self._claimed):
            last = self.cells()
            for cell, values in cells.items():
                if cell not in last or (values and last[cell].state == TrialState.FAIL):
                    self.add_trial(
                        create_trial(
                            state=TrialState.WAITING,
                            system_attrs={"fixed_params": dict(values)} if values else {},
                            user_attrs={CELL: cell},
                        )
                    )

    def take_up(self) -> None:
        """Makes the trials of dead workers wait again, unless another process is at it.

        What is done depends on the trials as they are, not on who noticed the death: a process
        that dies in here leaves nothing that the next one would not do.
        """
        with self.claim(self._claimed, wait=False) as is_ours, warnings.catch_warnings():
            if not is_ours:
                return
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self)
            retry = RetryHeartbeatStaleTrialCallback(RETRIES, inherit_intermediate_values=True)
            for trial in self.cells().values():
                if is_lost(trial):
                    retry(self, trial)
                elif trial.state == TrialState.RUNNING and trial._trial_id not in self._beaten:
                    # A worker may die before its first sign of life, and Optuna takes a trial
                    # without any for alive for ever.
                    self._storage_of_signs.record_heartbeat(trial._trial_id)
                    self._beaten.add(trial._trial_id)

    @property
    def _claimed(self) -> str:
        return f"study {self.study_name}"

    def cells(self) -> dict[int, FrozenTrial]:
        """Every cell's last trial, by cell."""
        trials = self.get_trials(deepcopy=False)
        last = {trial.user_attrs[CELL]: trial for trial in trials if CELL in trial.user_attrs}
        return dict(sorted(last.items()))


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a cell's last trial ended without saying why, and may be tried again."""
    tries = len(trial.system_attrs.get("retry_history", []))  # as RetryHeartbeatStale... keeps it
    return trial.state == TrialState.FAIL and WHY not in trial.user_attrs and tries < RETRIES


def is_open(trial: FrozenTrial) -> bool:
    """Whether a cell's last trial is not its end."""
    return not trial.state.is_finished() or is_lost(trial)


def is_done(cells: Mapping[int, FrozenTrial]) -> bool:
    """Whether no cell will move any more."""
    return not any(is_open(trial) for trial in cells.values())


def best(cells: Mapping[int, FrozenTrial], objectives: Sequence[str]) -> list[FrozenTrial]:
    """The best finished cell, the first of equals; of two objectives the Pareto front."""
    complete = [t for t in cells.values() if t.state == TrialState.COMPLETE]
    signs = [-1 if OBJECTIVES[name] == "maximize" else 1 for name in objectives]
    costs = [[s * v for s, v in zip(signs, t.values, strict=True)] for t in complete]
    if len(signs) == 1:
        return complete[costs.index(min(costs)) :][:1] if costs else []
    front = _first_of_equals(costs, _undominated(costs))
    return [complete[i] for i in sorted(front, key=lambda i: costs[i][::-1])]


def _undominated(costs: Sequence[Sequence[float]]) -> list[int]:
    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    return [i for i, c in enumerate(costs) if not any(dominates(o, c) for o in costs)]


def _first_of_equals(costs: Sequence[Sequence[float]], found: Iterable[int]) -> list[int]:
    first: dict[tuple[float, ...], int] = {}
    for i in found:
        first.setdefault(tuple(costs[i]), i)
    return list(first.values())


def create(name: str, storage: RDBStorage, plan: Plan, claim: Claim) -> Queue:
    """Makes a study, or opens it where the same one is there.

    Raises:
        InputError: If a study of this name is there with another plan.
    """
    directions = [StudyDirection[OBJECTIVES[one].upper()] for one in plan.objectives]
    with claim(f"study {name}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(
            study_name=name, storage=storage, directions=directions, load_if_exists=True
        )
        if PLAN not in study.user_attrs:
            if study.get_trials(deepcopy=False):
                raise InputError(f"study={name} is there and was not made by a sweep; name another")
            study.set_user_attr(PLAN, plan.to_json())
            study.set_metric_names(list(plan.objectives))
    there = Plan.from_json(study.user_attrs[PLAN])
    if there != plan:
        what = "another search space" if there.space != plan.space else "other options"
        said = "; ".join(there.differences(plan))
        raise InputError(f"study={name} exists with {what}: {said}; give study=ANOTHER_NAME")
    return Queue(name, storage, plan, claim)


def join(name: str, storage: RDBStorage, claim: Claim) -> Queue:
    """Opens a study that a sweep has made.

    Raises:
        InputError: If it is not there.
    """
    try:
        plan = optuna.load_study(study_name=name, storage=storage).user_attrs[PLAN]
    except KeyError as error:
        raise InputError(f"study={name} is not in the storage; the sweep makes it first") from error
    return Queue(name, storage, Plan.from_json(plan), claim)
