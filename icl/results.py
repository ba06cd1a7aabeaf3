"""All reports below a folder as one table: `icl.load_results("runs")`."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from icl.reporting.report import TYPES, find_reports, read_report
from tasks.metrics.bootstrap import Estimate

_WHOLE = ("k", "prompt_tokens", "shots", "tuning_samples", "n_clean", "n_scored")
_REAL = ("full_vocabulary_accuracy", "best_accuracy")
_FIRST = ("accuracy", "balanced_accuracy", "mcc", "macro_f1", "auroc", "ece")


def load_results(runs: str | Path) -> pd.DataFrame:
    """Return every finished run below a folder as a table, one row each, in the order of paths.

    Columns are the fields of `icl.reporting.report.Report`, with these changes. An estimate, such
    as `gc_matched_accuracy` or one of `metrics`, is a column with its name and two more with the
    ends of its 95 % interval, NAME_low and NAME_high. Metrics of the validation rows are in
    validation_NAME, and further details of the method in details_NAME. Metrics on the clean rows
    are in clean_NAME, with their intervals, and counts of relatives in audit_NAME. `k`,
    `prompt_tokens`, `shots`, `tuning_samples` and `n_clean` are Int64, and missing where they do
    not apply; `control` is None for plain runs. `config` contains the options as nested
    dictionaries, and `path` is the file of the report.

    Args:
        runs: Folder of runs, or any folder above.

    Returns:
        The table; if there is no report, it has columns but no rows. A damaged report is left out,
        with a warning that names it.

    Raises:
        InputError: If there is no such folder.
    """
    folder = Path(runs).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of runs")
    rows = []
    for file in find_reports(folder):
        try:
            rows.append(_row(read_report(file).fields(), file))
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
    frame = pd.DataFrame(rows, columns=None if rows else _empty_columns())
    types = {name: "Int64" for name in _WHOLE} | {name: "float64" for name in _REAL}
    return frame.astype(types)


def _row(fields: dict[str, Any], file: Path) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field, value in fields.items():
        if field == "metrics":
            for name, estimate in value.items():
                row |= _estimate(name, estimate)
        elif field == "clean_metrics":
            for name, estimate in (value or {}).items():
                row |= _estimate(f"clean_{name}", estimate)
        elif field == "audit":
            row |= {f"audit_{name}": found for name, found in (value or {}).items()}
        elif field in ("validation", "details"):
            row |= {f"{field}_{name}": found for name, found in value.items()}
        elif isinstance(value, Estimate):
            row |= _estimate(field, value)
        else:
            row[field] = value
    return row | {"path": str(file)}


def _estimate(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _empty_columns() -> list[str]:
    nothing = Estimate(0.0, 0.0, 0.0)
    values: dict[str, Any] = dict.fromkeys(TYPES) | {
        "metrics": dict.fromkeys(_FIRST, nothing),
        "clean_metrics": dict.fromkeys(_FIRST, nothing),
        "audit": dict.fromkeys(("rows", "same", "reverse_complement", "near"), 0),
        "validation": {"accuracy": 0.0, "loss": 0.0},
        "details": {},
        "gc_matched_accuracy": nothing,
    }
    return list(_row(values, Path()))
