"""The verdicts of the controls of a folder of runs, for each set of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from backbone.common.options import as_text
from experiments.common.settings import WITHOUT_RESULT, changed_options
from icl.reporting.report import read_report
from icl.reporting.verdict import Verdict, verdicts

PAIRED = ["task", "method", "data_sha256", "evaluated_on"]
"""What a run and its control share besides the settings: the same rows."""

MOVED = ("seed", "control", "other_task")
"""Settings that may differ between a run and its control, which are compared seed by seed."""


@dataclass(frozen=True)
class TaskVerdict:
    """A verdict with its task and settings.

    Attributes:
        task: Registered name of the task.
        settings: Options that are not at their defaults, in one line.
        verdict: Verdict of one control.
    """

    task: str
    settings: str
    verdict: Verdict


def controls_in_words(frame: pd.DataFrame) -> tuple[list[TaskVerdict], list[str]]:
    """Compare every run with its controls, row by row.

    Args:
        frame: Reports as `icl.results.load_results` returns them.

    Returns:
        The verdicts, by task, method and settings; and one line for each comparison that could not
        be made.
    """
    shared = frame["config"].map(_shared)
    found: list[TaskVerdict] = []
    problems: list[str] = []
    for (task, _, _, _, key), runs in frame.groupby([*PAIRED, shared]):
        if runs["control"].notna().any():
            folders = [Path(path).parent for path in runs["path"]]
            try:
                of_runs = verdicts([read_report(folder) for folder in folders], folders)
            except InputError as error:
                problems.append(str(error))
                continue
            line = " ".join(
                f"{name}={as_text(value)}"
                for name, value in json.loads(str(key)).items()
                if name not in WITHOUT_RESULT
            )
            found += [TaskVerdict(str(task), line, verdict) for verdict in of_runs]
    return found, problems


def _shared(config: Mapping[str, Any]) -> str:
    changed = changed_options(config)
    return json.dumps({name: value for name, value in changed.items() if name not in MOVED})
