"""What the controls of a folder of runs say, in words: for each set of settings its verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import as_text
from experiments.common.settings import changed_options
from icl.reporting.report import read_report
from icl.reporting.verdict import Verdict, verdicts

PAIRED = ["task", "method", "data_sha256", "evaluated_on"]
"""Beside the settings, what a run and its control share: the very same rows."""

MOVED = ("seed", "control", "other_task")
"""Settings that may differ between a run and its control; they are compared seed by seed."""


@dataclass(frozen=True)
class Said:
    """One verdict and what it is about.

    Attributes:
        task: Registered name.
        settings: Those that are not at their defaults, in one line.
        verdict: Of one control.
    """

    task: str
    settings: str
    verdict: Verdict


def controls_in_words(frame: pd.DataFrame) -> tuple[list[Said], list[str]]:
    """Compares every run that has a control with it, row by row.

    Args:
        frame: Reports as `icl.results.load_results` returns them.

    Returns:
        The verdicts, by task, method and settings; and one line for each comparison that could not
        be made.
    """
    shared = frame["config"].map(_shared)
    said: list[Said] = []
    problems: list[str] = []
    for (task, _, _, _, key), runs in frame.groupby([*PAIRED, shared]):
        if runs["control"].notna().any():
            folders = [Path(path).parent for path in runs["path"]]
            try:
                found = verdicts([read_report(folder) for folder in folders], folders)
            except InputError as error:
                problems.append(str(error))
                continue
            line = " ".join(
                f"{name}={as_text(value)}" for name, value in json.loads(str(key)).items()
            )
            said += [Said(str(task), line, verdict) for verdict in found]
    return said, problems


def _shared(config: Mapping[str, Any]) -> str:
    changed = changed_options(config)
    return json.dumps({name: value for name, value in changed.items() if name not in MOVED})
