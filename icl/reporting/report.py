"""The report of a run: one JSON file, whose presence says that the run is finished.

A run lies at `{out}/{task}/{method}/{hash}/`: report.json, predictions.tsv and, for a method that
learns, learned.safetensors.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import json_text, write_text
from tasks.metrics.bootstrap import Estimate
from tasks.task import Kind

REPORT = "report.json"
PREDICTIONS = "predictions.tsv"
LEARNED = "learned.safetensors"
RESUME = "resume"


@dataclass(frozen=True)
class Report:
    """What a run found, and everything needed to find it again.

    Attributes:
        task: Registered name.
        method: Registered name.
        k: The method's budget: equal to `prompt_tokens` or `shots`, None without a budget.
        prompt_tokens: Learned vectors, or None.
        shots: Demonstrations per class, or None.
        tuning_samples: Rows that weights were tuned on, where that is a budget of its own.
        control: Which control this run is, one of `icl.controls.CONTROLS`; None for a plain run.
        seed: Of training and draws.
        split_seed: Of the division of the rows.
        backbone: Name or folder as given; None for a method that reads the sequence alone.
        labels: Names of the task's classes, in order; or of its labels, or of its number.
        kind: Of the task: classes, multi_label or regression.
        metrics: On the evaluated rows, with 95 % intervals. Of classes: accuracy,
            balanced_accuracy, mcc, macro_f1, auroc, ece; of several labels: auroc and auprc, over
            all and over each group; of numbers: pearson, spearman, r2, rmse.
        validation: What the method says about the validation rows.
        details: The method's own facts, such as bases_shown or ece_before_calibration; of several
            labels auroc_by_label (value, low, high); with truncate rows_cut, how many rows were
            cut, and max_bases, to how many bases.
        gc_matched_accuracy: Accuracy when GC content says nothing about the class; NaN for tasks
            without classes.
        full_vocabulary_accuracy: Accuracy when any token may be the answer, or None.
        best_accuracy: The best that is possible, where the task knows it.
        evaluated_on: "test" or "val".
        n_train: Rows learned from.
        n_val: Rows that chose between settings.
        n_test: Rows of the test split, scored or not.
        split_origin: Where the three splits come from.
        trainable_parameters: Numbers that were learned.
        seconds: From the start of learning to the last score.
        peak_memory_bytes: Of the process, or of the device if it is not the CPU.
        device: cpu, cuda or mps.
        weights_sha256: Of the backbone, or None.
        data_sha256: Of the rows.
        data_revision: Of the data set on the Hub, or None.
        git_commit: Of the code, "-dirty" if changed since; None outside a repository.
        versions: Of Python and the libraries.
        config: Every option of the run, resolved.
        audit: Of the evaluated rows, how many have a relative among those that are learned from, by
            the closest one: rows, same, reverse_complement, near. None in reports of versions
            that did not look.
        n_clean: Evaluated rows without one, or None.
        clean_metrics: As `metrics`, on these rows alone; None if there are none.
    """

    task: str
    method: str
    k: int | None
    prompt_tokens: int | None
    shots: int | None
    tuning_samples: int | None
    control: str | None
    seed: int
    split_seed: int
    backbone: str | None
    labels: tuple[str, ...]
    kind: Kind
    metrics: dict[str, Estimate]
    validation: dict[str, float]
    details: dict[str, Any]
    gc_matched_accuracy: Estimate
    full_vocabulary_accuracy: float | None
    best_accuracy: float | None
    evaluated_on: str
    n_train: int
    n_val: int
    n_test: int
    split_origin: str
    trainable_parameters: int
    seconds: float
    peak_memory_bytes: int
    device: str
    weights_sha256: str | None
    data_sha256: str
    data_revision: str | None
    git_commit: str | None
    versions: dict[str, str]
    config: dict[str, Any]
    audit: dict[str, int] | None = None
    n_clean: int | None = None
    clean_metrics: dict[str, Estimate] | None = None

    def to_json(self) -> str:
        """The report as JSON, indented, in the order of the fields."""
        return json_text(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote, here or in an earlier or later version.

        Raises:
            InputError: If the text is damaged or lacks a field.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"is no whole JSON file ({error})") from error
        if not isinstance(values, dict):
            raise InputError("is no report: it holds no object")
        values = _of_this_version(values)
        names = [f.name for f in dataclasses.fields(cls)]
        missing = [name for name in names if name not in values]
        if missing:
            raise InputError(f"is no report: it has no {', '.join(missing)}")
        known = {name: values[name] for name in names}
        try:
            known["labels"] = tuple(values["labels"])
            for name in ("metrics", "clean_metrics"):
                if values[name] is not None:
                    known[name] = {n: Estimate.from_json(e) for n, e in values[name].items()}
            known["gc_matched_accuracy"] = Estimate.from_json(values["gc_matched_accuracy"])
        except (TypeError, AttributeError) as error:
            raise InputError(f"is no report: {error}") from error
        for name, kind in _KINDS.items():
            if not _is_of(known[name], kind):
                raise InputError(f"is no report: its {name} cannot be {known[name]!r:.40}")
        for name, estimate in (known["metrics"] | (known["clean_metrics"] or {})).items():
            if not _is_of(estimate, Estimate):
                raise InputError(f"is no report: its {name} is no number with an interval")
        return cls(**known)


_KINDS = get_type_hints(Report)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value that JSON gave is of a field's type; what containers hold is not asked."""
    if get_origin(kind) is UnionType:
        return any(_is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, Estimate):
        ends = (value.value, value.low, value.high)
        return kind is Estimate and all(_is_of(end, float) for end in ends)
    if isinstance(value, bool):
        return False  # no field is one, and Python takes it for a number
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)


def _of_this_version(values: dict[str, Any]) -> dict[str, Any]:
    """Adds what reports did not hold before there were controls; `shuffle_labels` became one.

    And before there were tasks of other kinds than classes.
    """
    unaudited = dict.fromkeys(("audit", "n_clean", "clean_metrics"))
    values = {"kind": "classes"} | unaudited | values
    if "control" in values:
        return values
    config = dict(values.get("config") or {})
    control = "train_labels_shuffled" if config.pop("shuffle_labels", False) else None
    added: dict[str, Any] = {"control": control, "tuning_samples": None, "details": {}}
    return added | values | {"config": config | {"control": control}}


def read_report(path: Path) -> Report:
    """Read a report.json, or the one in a run's folder.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no report; has the run finished?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    try:
        return Report.from_json(text)
    except InputError as error:
        raise InputError(f"{file}: {error}; delete its folder and run again") from error


def correct_rows(folder: Path) -> np.ndarray:
    """Whether a run was right on each of its evaluated rows, (N,), in the order of the split.

    Raises:
        InputError: If its predictions cannot be read.
    """
    file = folder / PREDICTIONS
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        return (table["label"] == table["predicted"]).to_numpy()
    except (OSError, KeyError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{file}: cannot be read; delete its folder and run again") from error


def write_report(folder: Path, report: Report) -> Path:
    """Write report.json into a run's folder, whole or not at all."""
    write_text(folder / REPORT, report.to_json())
    return folder / REPORT


def find_reports(runs: Path) -> Iterator[Path]:
    """Every report.json below a folder, in the order of their paths."""
    return iter(sorted(runs.rglob(REPORT)))


def run_hash(
    identity: dict[str, Any],
    *,
    data_sha256: str,
    data_revision: str | None,
    weights_sha256: str | None,
) -> str:
    """Twelve hexadecimal digits that name a run: equal if and only if the result must be.

    Args:
        identity: The settings that change the result, as plain values.
        data_sha256: Of the rows.
        data_revision: Of the data set on the Hub, or None.
        weights_sha256: Of the backbone, or None if the method does not use it.
    """
    whole = {
        "settings": identity,
        "data_sha256": data_sha256,
        "data_revision": data_revision,
        "weights_sha256": weights_sha256,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
