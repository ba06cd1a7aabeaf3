"""The cells of a sweep as trials of an Optuna study.

A cell is a place in the grid, or a number in a search. Its trial waits until a worker takes it; the
worker holds a claim on the trial until it ends. A running trial whose claim is free has lost its
worker, and makes way for another one of the same cell. What counts for a cell is its last trial.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from backbone.common.errors import InputError
from experiments.sweep.plan import OBJECTIVES, Plan, Settings
from experiments.sweep.storage import Claim, first_waiting
from icl.config.hydra_cli import one_line

CELL, TRIES, WHY, PLAN = "cell", "tries", "why", "plan"
"""Attributes of trials, and of the study."""

RETRIES = 5
"""How often a cell is tried again whose workers died."""


@dataclass
class Attempt:
    """A worker's turn at a cell, a context that tells the study how it ends.

    An exception other than KeyboardInterrupt fails the trial, with its reason, and goes no further.

    Attributes:
        study: The study.
        trial: The trial, running.
        cell: Its values, in the order of the space.
        reported: Steps that an earlier attempt at the cell has reported.
        claim: Held until the end.
        values: Of the objectives; to be filled before the end.
    """

    study: optuna.Study
    trial: Trial
    cell: Settings
    reported: Collection[int]
    claim: ExitStack
    values: list[float] = field(default_factory=list)

    def __enter__(self) -> Attempt:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Tell the study, unless it has given the trial to another worker meanwhile."""
        with self.claim:
            if error is None:
                self.study.tell(self.trial, self.values, skip_if_finished=True)
                return False
            is_pruned = isinstance(error, optuna.TrialPruned)
            reason = None
            if isinstance(error, optuna.TrialPruned | InputError):
                reason = one_line(error)
            elif isinstance(error, Exception) and not isinstance(error, OptunaError):
                reason = f"{type(error).__name__}: {one_line(error)}"
            with suppress(UpdateFinishedTrialError):
                if reason is not None:
                    self.trial.set_user_attr(WHY, reason)
            state = TrialState.PRUNED if is_pruned else TrialState.FAIL
            self.study.tell(self.trial, state=state, skip_if_finished=True)
            return isinstance(error, Exception)


class Cells:
    """The cells of a study, which any number of processes work on."""

    def __init__(self, study: optuna.Study, storage: RDBStorage, claim: Claim) -> None:
        """Read the study's plan.

        Args:
            study: One that `create` has made.
            storage: Where it is.
            claim: The claims of all who take part.

        Raises:
            InputError: If the plan cannot be read.
        """
        self.name = study.study_name
        try:
            self.plan = Plan.from_json(study.user_attrs[PLAN])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"study={self.name} was not made by a sweep of this version; give "
                "study=ANOTHER_NAME"
            ) from error
        study.pruner = self.plan.make_pruner()
        self._study, self._storage, self._claim = study, storage, claim
        self._id = storage.get_study_id_from_name(self.name)

    def last(self) -> dict[int, FrozenTrial]:
        """Return every cell's last trial, by cell."""
        trials = self._study.get_trials(deepcopy=False)
        last = {trial.user_attrs[CELL]: trial for trial in trials if CELL in trial.user_attrs}
        return dict(sorted(last.items()))

    def add(self, cells: Mapping[int, Settings]) -> None:
        """Add a waiting trial for every cell that has none, or whose last one failed.

        Args:
            cells: The values of each cell, none where they are drawn when a worker takes it.
        """
        with self._claim(_key(self.name)):
            last = self.last()
            for cell, values in cells.items():
                if cell not in last or (values and last[cell].state == TrialState.FAIL):
                    space = self.plan.space if values else {}
                    self._study.add_trial(
                        create_trial(
                            state=TrialState.WAITING,
                            user_attrs={CELL: cell},
                            params=dict(values),
                            distributions=dict(space),
                        )
                    )

    def take(self) -> Attempt | None:
        """Take the first trial that waits; None if none does."""
        with self._claim(_key(self.name)), ExitStack() as held:
            waiting = first_waiting(self._storage, self._id)
            if waiting is None:
                return None
            first = self._storage.get_trial(waiting)
            held.enter_context(self._claim(_key(self.name, first)))
            self._study.sampler = self.plan.make_sampler(first.number)
            trial = self._begin(waiting, first)
            cell = {name: trial.params[name] for name in self.plan.space}
            reported = {*first.intermediate_values}
            return Attempt(self._study, trial, cell, reported, held.pop_all())

    def _begin(self, waiting: int, first: FrozenTrial) -> Trial:
        """Set the first trial that waits running, and draw what it has no value for.

        Optuna reads all trials that wait to find the first, which takes seconds where there are
        thousands; a trial whose values are given needs nothing else of it.
        """
        if not set(self.plan.space) <= set(first.params):
            return self._study.ask(dict(self.plan.space))
        self._storage.set_trial_state_values(waiting, TrialState.RUNNING)
        return Trial(self._study, waiting)

    def revive(self) -> None:
        """Let the cells of dead workers wait again, unless another process does so now.

        What is done depends on the trials alone, not on who noticed the death: if this process
        dies too, the next one does the rest. Nobody waits while the trials are looked through.
        """
        if not any(map(self._seems_lost, self.last().values())):
            return
        with self._claim(_key(self.name), wait=False) as is_ours:
            for cell, trial in self.last().items() if is_ours else ():
                if trial.state == TrialState.RUNNING:
                    with self._claim(_key(self.name, trial), wait=False) as is_dead:
                        if is_dead:
                            trial = self._study.tell(
                                trial.number, state=TrialState.FAIL, skip_if_finished=True
                            )
                if is_lost(trial):
                    self._study.add_trial(
                        create_trial(
                            state=TrialState.WAITING,
                            user_attrs={CELL: cell, TRIES: _tries(trial) + 1},
                            params=trial.params,
                            distributions=trial.distributions,
                            intermediate_values=trial.intermediate_values,
                        )
                    )

    def _seems_lost(self, trial: FrozenTrial) -> bool:
        if trial.state != TrialState.RUNNING:
            return is_lost(trial)
        with self._claim(_key(self.name, trial), wait=False) as is_dead:
            return is_dead


def _key(study: str, trial: FrozenTrial | None = None) -> str:
    """Return the name under which a study, or one of its trials, is claimed."""
    return f"study {study}" if trial is None else f"study {study}, trial {trial.number}"


def _tries(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(TRIES, 0))


def is_lost(trial: FrozenTrial) -> bool:
    """Return whether a cell's last trial ended without a reason, and will be tried again."""
    is_failed = trial.state == TrialState.FAIL and WHY not in trial.user_attrs
    return is_failed and _tries(trial) < RETRIES


def is_open(trial: FrozenTrial) -> bool:
    """Return whether a cell's last trial is not its end."""
    return not trial.state.is_finished() or is_lost(trial)


def is_done(cells: Mapping[int, FrozenTrial]) -> bool:
    """Return whether no cell is open, by their last trials."""
    return not any(map(is_open, cells.values()))


def best(cells: Mapping[int, FrozenTrial], objectives: Sequence[str]) -> list[FrozenTrial]:
    """Return the best complete cell, the first of equals; of two objectives the Pareto front."""
    signs = [-1 if OBJECTIVES[name] == "maximize" else 1 for name in objectives]
    first: dict[tuple[float, ...], FrozenTrial] = {}
    for trial in cells.values():
        if trial.state == TrialState.COMPLETE:
            costs = tuple(s * v for s, v in zip(signs, trial.values, strict=True))
            first.setdefault(costs, trial)
    front = [
        costs
        for costs in first
        if not any(o != costs and all(map(operator.le, o, costs)) for o in first)
    ]
    return [first[costs] for costs in sorted(front, key=lambda costs: costs[::-1])]


def create(name: str, storage: RDBStorage, plan: Plan, claim: Claim) -> Cells:
    """Create a study, or open the one of the same plan.

    Raises:
        InputError: If a study of this name has another plan.
    """
    with claim(_key(name)):
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[OBJECTIVES[one] for one in plan.objectives],  # type: ignore[misc]
            load_if_exists=True,
        )
        if PLAN not in study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(PLAN, plan.to_json())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names(list(plan.objectives))  # for Optuna's dashboard
    cells = Cells(study, storage, claim)
    if cells.plan != plan:
        what = "another search space" if cells.plan.space != plan.space else "other options"
        said = "; ".join(cells.plan.differences(plan))
        raise InputError(f"study={name} exists with {what}: {said}; give study=ANOTHER_NAME")
    return cells


def join(name: str, storage: RDBStorage, claim: Claim) -> Cells:
    """Open a study that a sweep has created.

    Raises:
        InputError: If there is none.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise InputError(f"study={name} is not in the storage; start the sweep first") from error
    return Cells(study, storage, claim)
