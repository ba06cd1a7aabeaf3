"""The report of a run: one JSON file, which exists once the run is finished.

A run's folder is `{out}/{task}/{method}/{hash}/`. It contains report.json, predictions.tsv and, for
a method that learns, learned.safetensors.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from backbone.common.errors import InputError
from backbone.common.files import json_text, write_text
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Kind

REPORT = "report.json"
PREDICTIONS = "predictions.tsv"
LEARNED = "learned.safetensors"
RESUME = "resume"


@dataclass(frozen=True)
class Setup:
    """The setup of a run: the method, its budget, the rows and every option.

    Attributes:
        task: Registered name.
        method: Registered name.
        k: The method's budget: equal to `prompt_tokens` or `shots`, None without a budget.
        prompt_tokens: Learned vectors, or None.
        shots: Demonstrations per class, or None.
        tuning_samples: Rows on which weights were tuned, if that is a separate budget.
        control: Which control this run is, one of `icl.controls.CONTROLS`; None for a plain run.
        seed: Seed of training and draws.
        split_seed: Seed of the random split of the rows.
        backbone: Name or folder as given; None for a method that reads the sequence alone.
        weights_sha256: Hash of the backbone's weights, or None.
        labels: Names of the task's classes, in order; or of its labels, or of its number.
        kind: Kind of the task: classes, multi_label or regression.
        best_accuracy: The best possible accuracy, if the task knows it.
        evaluated_on: "test" or "val".
        n_train: Training rows.
        n_val: Validation rows.
        n_test: Rows of the test split, scored or not.
        split_origin: Where the three splits come from.
        data_sha256: Hash of the rows.
        data_revision: Commit of the data set on the Hub, or None.
        config: Every option of the run, resolved.
        n_scored: Evaluated rows that were scored, all or those that `test_rows` or `val_rows`
            draws; None in old reports, which scored all.
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
    weights_sha256: str | None
    labels: tuple[str, ...]
    kind: Kind
    best_accuracy: float | None
    evaluated_on: str
    n_train: int
    n_val: int
    n_test: int
    split_origin: str
    data_sha256: str
    data_revision: str | None
    config: dict[str, Any]
    n_scored: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        metrics: On the evaluated rows, with 95 % intervals. Classes: accuracy, balanced_accuracy,
            mcc, macro_f1, auroc, ece; multi-label: auroc and auprc, over all labels and over each
            group; regression: pearson, spearman, r2, rmse.
        validation: Metrics of the validation rows, as the method gives them.
        details: Further facts, the method's own among them, such as bases_shown or
            ece_before_calibration; of multi-label tasks auroc_by_label (value, low, high); with
            truncate rows_cut, how many rows were cut, and max_bases, to how many bases.
        gc_matched_accuracy: Accuracy when GC content is uninformative about the class; not defined
            for tasks without classes.
        full_vocabulary_accuracy: Accuracy when any token may be the answer, or None.
        trainable_parameters: How many parameters were learned.
        audit: How many evaluated rows have a relative among training rows (and validation rows,
            where test rows are evaluated), by the closest one: rows, same, reverse_complement,
            near. None where no relatives were searched for.
        n_clean: Evaluated rows without a relative, or None.
        clean_metrics: As `metrics`, on these rows alone; None if there are none.
        clean_reason: Why there are no clean metrics; empty where there are some.
    """

    metrics: dict[str, Estimate]
    validation: dict[str, float]
    details: dict[str, Any]
    gc_matched_accuracy: Estimate
    full_vocabulary_accuracy: float | None
    trainable_parameters: int
    audit: dict[str, int] | None = None
    n_clean: int | None = None
    clean_metrics: dict[str, Estimate] | None = None
    clean_reason: str = ""


@dataclass(frozen=True)
class Environment:
    """The machine, and the resources that the run took.

    Attributes:
        device: cpu, cuda or mps.
        threads: Threads of the arithmetic; None in old reports that did not record it.
        seconds: Time from the start of fitting to the last score.
        peak_memory_bytes: Of the process, or of the device if it is not the CPU.
        git_commit: Of the code, "-dirty" if changed since; None outside a repository.
        versions: Of Python and the libraries.
    """

    device: str
    threads: int | None
    seconds: float
    peak_memory_bytes: int
    git_commit: str | None
    versions: dict[str, str]


@dataclass(frozen=True)
class Report:
    """The setup, outcome and environment of a run: all that is needed to repeat it.

    The names of the fields are unique over the groups: they are the columns of the results table,
    and reports of earlier versions, which had no groups, are read by them.
    """

    setup: Setup
    outcome: Outcome
    environment: Environment

    def to_json(self) -> str:
        """Return the report as strict JSON, indented, in the order of the fields."""
        return json_text(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Return the report that `to_json` wrote, here or in an earlier or later version.

        Raises:
            InputError: If the text is damaged or a field is missing.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"not a complete JSON file ({error})") from error
        if not isinstance(values, dict):
            raise InputError("not a valid report: expected a JSON object")
        return cls.from_fields(_of_this_version(_without_groups(values)))

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> "Report":
        """Return the report with these fields, by name, whatever their group; others are ignored.

        Raises:
            InputError: If a field is missing or has the wrong type.
        """
        values = DEFAULTS | dict(values)
        missing = [name for name in TYPES if name not in values]
        if missing:
            raise InputError(f"not a valid report: missing {', '.join(missing)}")
        known = {name: values[name] for name in TYPES}
        try:
            known["labels"] = tuple(known["labels"])
            for name in ("metrics", "clean_metrics"):
                if known[name] is not None:
                    known[name] = {n: _estimate(e) for n, e in known[name].items()}
            known["gc_matched_accuracy"] = _estimate(known["gc_matched_accuracy"])
            figures = known["validation"].items()
            known["validation"] = {n: math.nan if v is None else v for n, v in figures}
        except (TypeError, AttributeError) as error:
            raise InputError(f"not a valid report: {error}") from error
        config = known["config"]
        for name in ("task", "method"):
            own = config.get(name) if isinstance(config, dict) else None
            if not isinstance(own, dict) or not isinstance(own.get("name"), str):
                raise InputError(f"not a valid report: its config has no {name}")
        for name, kind in TYPES.items():
            if not _is_of(known[name], kind):
                raise InputError(f"not a valid report: {name} cannot be {known[name]!r:.40}")
        for name, estimate in (known["metrics"] | (known["clean_metrics"] or {})).items():
            if not _is_of(estimate, Estimate):
                raise InputError(f"not a valid report: {name} is not a number with an interval")
        made = {
            name: group(**{one.name: known[one.name] for one in dataclasses.fields(group)})
            for name, group in GROUPS.items()
        }
        return cls(**made)

    def fields(self) -> dict[str, Any]:
        """Return all fields by name, without their groups."""
        return vars(self.setup) | vars(self.outcome) | vars(self.environment)


GROUPS: dict[str, type[Any]] = {"setup": Setup, "outcome": Outcome, "environment": Environment}
TYPES = {name: kind for group in GROUPS.values() for name, kind in get_type_hints(group).items()}
"""Type of each field, by its name."""

DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for group in GROUPS.values()
    for field in dataclasses.fields(group)
    if field.default is not dataclasses.MISSING
}


@cache
def _origin(kind: Any) -> Any:
    return get_origin(kind)


@cache
def _arguments(kind: Any) -> tuple[Any, ...]:
    return get_args(kind)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of a field's type; what containers hold is not checked."""
    if _origin(kind) is UnionType:
        return any(_is_of(value, one) for one in _arguments(kind))
    if _origin(kind) is Literal:
        return value in _arguments(kind)
    if isinstance(value, Estimate):
        ends = (value.value, value.low, value.high)
        return kind is Estimate and all(_is_of(end, float) for end in ends)
    if isinstance(value, bool):
        return False  # no field is a boolean, and Python counts it as a number
    return isinstance(value, (int, float) if kind is float else _origin(kind) or kind)


def _estimate(value: Any) -> Estimate:
    return value if isinstance(value, Estimate) else Estimate.from_json(value)


def _without_groups(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of all groups and those without a group, as in earlier versions."""
    groups = {n: v for n, v in values.items() if n in GROUPS and isinstance(v, dict)}
    flat = {name: value for name, value in values.items() if name not in groups}
    return {name: value for group in groups.values() for name, value in group.items()} | flat


def _of_this_version(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with those that earlier versions did not have.

    These are the kind of the task, the threads, and the controls, of which `shuffle_labels` was
    the only one.
    """
    config = values.get("config")
    config = config if isinstance(config, dict) else {}
    values = {"kind": "classes", "threads": config.get("threads")} | values
    if "control" in values:
        return values
    control = "train_labels_shuffled" if config.get("shuffle_labels") else None
    config = {n: v for n, v in config.items() if n != "shuffle_labels"} | {"control": control}
    added: dict[str, Any] = {"control": control, "tuning_samples": None, "details": {}}
    return added | values | {"config": config}


def read_report(path: Path) -> Report:
    """Read a report.json, or the one in a run's folder.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    if not path.exists():
        raise InputError(f"no run at {str(path)!r}: give the folder of a finished run")
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
    """Return whether a run was right on each evaluated row, (N,), in the order of the split.

    Raises:
        InputError: If its predictions cannot be read.
    """
    import pandas as pd

    file = folder / PREDICTIONS
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        return (table["label"] == table["predicted"]).to_numpy()
    except (OSError, KeyError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{file}: cannot be read; delete its folder and run again") from error


def read_learned(folder: Path) -> dict[str, np.ndarray]:
    """Read the learned parameters of a finished run.

    Raises:
        InputError: If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = folder / LEARNED
    try:
        return load_file(file)
    except FileNotFoundError as error:
        raise InputError(f"{file}: is missing; run again with force=true") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is damaged ({error}); run again with force=true") from error


def damage_of(folder: Path, rows: int) -> str | None:
    """Return which file of a finished run is missing or damaged; None if all are complete.

    Args:
        folder: The folder of the run.
        rows: Evaluated rows, each of which must have a prediction.
    """
    file = folder / PREDICTIONS
    try:
        read_report(folder)
        read_learned(folder)
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except InputError as error:
        return str(error)
    except (OSError, UnicodeDecodeError):
        return f"{file}: is missing or damaged"
    tabs = {line.count("\t") for line in lines}
    if len(lines) != rows + 1 or len(tabs) != 1 or not lines[-1].endswith("\n"):
        return f"{file}: is damaged"
    return None


def add_columns(folder: Path, examples: Sequence[Example], columns: Sequence[str]) -> None:
    """Add columns that a finished run's predictions lack.

    Args:
        folder: The folder of the run.
        examples: The evaluated rows.
        columns: Attributes of rows, such as `sequence`.

    Raises:
        InputError: If the file cannot be written.
    """
    header, *lines = (folder / PREDICTIONS).read_text(encoding="utf-8").splitlines()
    missing = [name for name in columns if name not in header.split("\t")]
    if missing:
        cells = [[line, *(getattr(e, name) for name in missing)]
                 for line, e in zip(lines, examples, strict=True)]  # fmt: skip
        table = ["\t".join(row) for row in [[header, *missing], *cells]]
        write_text(folder / PREDICTIONS, "\n".join(table) + "\n")


def write_report(folder: Path, report: Report) -> Path:
    """Write report.json into a run's folder, atomically."""
    write_text(folder / REPORT, report.to_json())
    return folder / REPORT


def find_reports(runs: Path) -> Iterator[Path]:
    """Return every report.json below a folder, in the order of their paths."""
    return iter(sorted(runs.rglob(REPORT)))


def run_hash(
    identity: dict[str, Any],
    *,
    data_sha256: str,
    data_revision: str | None,
    weights_sha256: str | None,
) -> str:
    """Return twelve hexadecimal digits that name a run: equal if and only if the result must be.

    Args:
        identity: The settings that change the result, as plain values.
        data_sha256: Hash of the rows.
        data_revision: Commit of the data set on the Hub, or None.
        weights_sha256: Hash of the backbone's weights, or None if the method does not use it.
    """
    whole = {
        "settings": identity,
        "data_sha256": data_sha256,
        "data_revision": data_revision,
        "weights_sha256": weights_sha256,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
