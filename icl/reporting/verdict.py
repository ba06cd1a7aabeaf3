"""Whether an effect persists in a control: plain runs minus controlled runs on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icl.controls import CONTROLS, WORDS_SWAPPED
from icl.reporting.report import Report, correct_rows
from tasks.metrics.bootstrap import Estimate, as_interval, hierarchical_difference


@dataclass(frozen=True)
class Verdict:
    """The outcome of one control of a method.

    Attributes:
        method: Registered name.
        control: Registered name.
        difference: Accuracy of the plain runs minus that of the controlled ones, with an interval
            for new draws (seeds) and new test rows together.
        draws: Seeds for which both were run.
    """

    method: str
    control: str
    difference: Estimate
    draws: int

    @property
    def words(self) -> str:
        """Return whether the difference is evidence of the control's claim."""
        claim = CONTROLS[self.control].claim
        if not (self.difference.low > 0 or self.difference.high < 0):
            return f"no evidence of {claim}"
        if self.difference.low > 0 or self.control == WORDS_SWAPPED:
            return f"excludes 0: evidence of {claim}"
        return f"excludes 0, but the control scores higher: no evidence of {claim}"

    @property
    def sentence(self) -> str:
        """Return the difference in points, its interval and the conclusion."""
        return f"{points(self.method, self.control, self.difference)}: {self.words}"


def points(one: str, other: str, difference: Estimate) -> str:
    """Return a difference as text: `one minus other: +0.4 points, 95 % from -1.1 to 1.9`."""
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    interval = (
        f"95 % from {as_interval(low, high, 1)}" if difference.has_interval else "no interval"
    )
    return f"{one} minus {other}: {value:+.1f} points, {interval}"


def verdicts(reports: Sequence[Report], folders: Sequence[Path]) -> list[Verdict]:
    """Return one verdict for each control, from runs of one method on the same rows.

    Args:
        reports: Plain runs and controlled ones, in any order; a control's runs are compared with
            the plain runs of the same seeds.
        folders: Their folders, for the predictions.

    Returns:
        Verdicts in the order of `CONTROLS`; none for a control without a plain run of the same
        seed, and none at all for a task without classes, where no row is right or wrong.

    Raises:
        InputError: If predictions cannot be read.
    """
    if reports[0].setup.kind != "classes":
        return []
    by_control: dict[str | None, dict[int, Path]] = {}
    for report, folder in zip(reports, folders, strict=True):
        by_control.setdefault(report.setup.control, {})[report.setup.seed] = folder
    plain = by_control.get(None, {})
    found = []
    for control in CONTROLS:
        runs = by_control.get(control, {})
        seeds = sorted(plain.keys() & runs.keys())
        if seeds:
            ours, theirs = (
                np.stack([correct_rows(one[seed]) for seed in seeds]) for one in (plain, runs)
            )
            difference = hierarchical_difference(ours, theirs)
            found.append(Verdict(reports[0].setup.method, control, difference, len(seeds)))
    return found
