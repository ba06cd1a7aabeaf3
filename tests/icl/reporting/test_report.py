"""Reports of this version and of earlier ones are read; what is written is strict JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from icl.config.options import from_dict
from icl.reporting.report import GROUPS, Report, find_reports, read_report
from icl.results import load_results

FLAT = Path(__file__).parent / "flat_report.json"
"""A report as it was written before reports had groups, with NaN."""

ADDED = ("control", "tuning_samples", "details")


def test_a_report_without_groups_and_with_nan_is_read():
    report = read_report(FLAT)
    assert (report.setup.task, report.setup.method) == ("forty_rows_one_pattern", "majority")
    assert report.setup.labels == ("a", "b") and report.setup.n_train == 360
    assert report.setup.config["batch_size"] == 64
    accuracy = report.outcome.metrics["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (0.5, 0.4525, 0.55)
    assert str(report.outcome.gc_matched_accuracy) == "-"
    assert report.outcome.audit == {"rows": 400, "same": 400, "reverse_complement": 0, "near": 0}
    assert (report.outcome.n_clean, report.outcome.clean_metrics) == (0, None)
    assert (report.environment.threads, report.environment.device) == (2, "cpu")
    assert from_dict(report.setup.config).method.name == "majority"


def test_a_report_is_written_in_groups_and_as_strict_json():
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    values = json.loads(read_report(FLAT).to_json(), parse_constant=refuse)
    assert list(values) == list(GROUPS)
    undefined = values["outcome"]["gc_matched_accuracy"]
    assert (undefined["value"], undefined["low"], undefined["high"]) == (None, None, None)
    again = Report.from_json(json.dumps(values))
    assert str(again.outcome.gc_matched_accuracy) == "-"
    assert again.setup == read_report(FLAT).setup


def test_the_results_table_has_the_columns_that_reports_without_groups_gave(tmp_path):
    (tmp_path / "report.json").write_text(FLAT.read_text())
    (row,) = load_results(tmp_path).to_dict("records")
    columns = set(json.loads(FLAT.read_text())) - {"metrics", "clean_metrics", "audit"}
    columns -= {"validation", "details"}
    columns |= {"accuracy", "accuracy_low", "mcc_high", "validation_loss", "audit_same"}
    assert columns <= set(row)
    assert row["accuracy_low"] == 0.4525 and np.isnan(row["gc_matched_accuracy_high"])


@pytest.mark.parametrize(("shuffled", "control"), [(False, None), (True, "train_labels_shuffled")])
def test_a_report_from_before_there_were_controls_and_kinds(shuffled, control):
    new = json.loads(FLAT.read_text())
    old = {name: value for name, value in new.items() if name not in (*ADDED, "kind", "audit")}
    of_then = {n: v for n, v in new["config"].items() if n not in ("control", "controls")}
    old["config"] = {**of_then, "shuffle_labels": shuffled}
    del old["config"]["other_task"], old["n_clean"], old["clean_metrics"]
    report = Report.from_json(json.dumps(old))
    assert (report.setup.control, report.setup.tuning_samples) == (control, None)
    assert (report.outcome.details, report.outcome.audit) == ({}, None)
    assert report.setup.kind == "classes"
    assert from_dict(report.setup.config).control == control


def test_a_report_survives_its_json(call, tiny, tmp_path):
    call("task=tiny_rows", "method=kmer_logreg", "method.kmers=[1]")
    (path,) = find_reports(tmp_path)
    report = read_report(path)
    assert Report.from_json(report.to_json()) == report
    named = Report.from_fields(report.fields() | {"k": 4, "best_accuracy": 0.9})
    assert Report.from_json(named.to_json()) == named
