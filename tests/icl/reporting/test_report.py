"""Reports of earlier versions are still read."""

import json

import pytest

from icl.config.options import from_dict
from icl.reporting.report import Report, find_reports

ADDED = ("control", "tuning_samples", "details")


@pytest.mark.parametrize(("shuffled", "control"), [(False, None), (True, "train_labels_shuffled")])
def test_a_report_from_before_there_were_controls(call, tiny, tmp_path, shuffled, control):
    call("task=tiny_rows", "method=majority")
    (path,) = find_reports(tmp_path)
    new = json.loads(path.read_text())
    old = {name: value for name, value in new.items() if name not in ADDED}
    of_then = {n: v for n, v in new["config"].items() if n not in ("control", "controls")}
    old["config"] = {**of_then, "shuffle_labels": shuffled}
    del old["config"]["other_task"]
    report = Report.from_json(json.dumps(old))
    assert (report.control, report.tuning_samples, report.details) == (control, None, {})
    assert from_dict(report.config).control == control
