"""What a run says about leaks: clean metrics beside all, other divisions, strict, old reports."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.sequence.dna import reverse_complement
from icl.config.options import from_dict, identity, resolve
from icl.reporting.report import Report, find_reports, read_report
from icl.results import load_results
from tasks.catalog import TASKS
from tasks.metrics.classification import evaluate
from tasks.task import Example, make_splits

RUN = ("task=tiny_rows", "method=gc_only")
COPIED = (0, 3, 4)
"""Test rows that are copies of training rows; the second of a row's other strand."""


@pytest.fixture
def leaky(tiny, monkeypatch):
    """The task `tiny_rows` with three test rows copied from train."""
    plain = tiny.splits

    def splits(task, split_seed, data):
        whole = plain(task, split_seed, data)
        test = list(whole.test)
        for place in COPIED:
            row = whole.train[place]
            text = reverse_complement(row.sequence) if place == 3 else row.sequence
            test[place] = Example(text, row.label)
        return make_splits(task, whole.train, whole.val, test, whole.origin)

    monkeypatch.setattr(tiny, "splits", splits)
    return tiny


def only_report(folder):
    (path,) = find_reports(folder)
    return read_report(path), path


def test_metrics_of_the_clean_rows_stand_beside_those_of_all(call, leaky, tmp_path):
    _, out, _ = call(*RUN)
    report, path = only_report(tmp_path)
    assert report.outcome.audit == {"rows": 30, "same": 2, "reverse_complement": 1, "near": 0}
    assert report.outcome.n_clean == 27
    table = pd.read_csv(path.parent / "predictions.tsv", sep="\t").drop(index=list(COPIED))
    labels = (table["label"] == "rich").to_numpy().astype(int)
    expected = evaluate(labels, table[["log_p_poor", "log_p_rich"]].to_numpy())
    assert report.outcome.clean_metrics == expected
    assert report.outcome.metrics != expected
    assert "27 are clean" in out and "accuracy on the clean rows" in out
    assert Report.from_json(report.to_json()) == report


def test_without_relatives_the_clean_rows_are_all_rows(call, tiny, tmp_path):
    _, out, _ = call(*RUN)
    report, _ = only_report(tmp_path)
    assert report.outcome.n_clean == 30 and report.outcome.clean_metrics == report.outcome.metrics
    assert "clean" not in out


def test_validation_rows_are_compared_with_train_where_they_are_evaluated(call, leaky, tmp_path):
    call(*RUN, "evaluate=val")
    report, _ = only_report(tmp_path)
    assert report.outcome.audit == {"rows": 20, "same": 0, "reverse_complement": 0, "near": 0}


def test_nothing_clean_is_no_metric(call, tiny, monkeypatch, tmp_path):
    plain = tiny.splits

    def splits(task, split_seed, data):
        whole = plain(task, split_seed, data)
        return make_splits(task, whole.train, whole.val, whole.train[:6], whole.origin)

    monkeypatch.setattr(tiny, "splits", splits)
    call(*RUN)
    report, _ = only_report(tmp_path)
    assert (report.outcome.n_clean, report.outcome.clean_metrics) == (0, None)
    assert report.outcome.clean_reason == "every evaluated row has a relative"
    frame = load_results(tmp_path)
    assert frame["n_clean"].tolist() == [0] and "clean_accuracy" not in frame


def test_the_columns_of_results(call, leaky, tmp_path):
    call(*RUN)
    report, path = only_report(tmp_path)
    row = load_results(tmp_path).iloc[0]
    assert row["n_clean"] == 27 and row["audit_same"] == 2
    assert row["clean_accuracy"] == report.outcome.clean_metrics["accuracy"].value
    assert row["clean_auroc_low"] == report.outcome.clean_metrics["auroc"].low


def test_split_clean_scores_clean_rows_alone_under_a_name_of_its_own(call, leaky, tmp_path):
    call(*RUN)
    call(*RUN, "split=clean")
    official, clean = sorted(
        (read_report(path) for path in find_reports(tmp_path)), key=lambda r: -r.setup.n_test
    )
    assert (official.setup.n_test, clean.setup.n_test, clean.outcome.n_clean) == (30, 27, 27)
    assert clean.outcome.metrics == official.outcome.clean_metrics
    assert "3 of 30 test rows" in clean.setup.split_origin


def test_by_cluster_divides_all_rows_anew(call, leaky, tmp_path):
    assert call(*RUN, "split=by_cluster")[0] == 0
    report, _ = only_report(tmp_path)
    assert report.setup.n_train + report.setup.n_val + report.setup.n_test == 90
    assert report.outcome.audit["same"] + report.outcome.audit["reverse_complement"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strict=true"], "3 of 30 test rows of tiny_rows are in train"),
        (["split=by_chromosome"], "coordinates of 90 of 90 rows"),
        (["strict=true", "audit=none"], "strict=true needs the search for relatives"),
        (["split=clean", "audit=none"], "split=clean needs the search for relatives"),
        (["split=cleen"], "official, clean, by_cluster, by_chromosome"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(call, leaky, tmp_path, words, message):
    code, out, err = call(*RUN, *words)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_search_for_relatives_there_are_no_clean_metrics(
    call, leaky, tmp_path, monkeypatch
):
    monkeypatch.setattr("tasks.audit.kinship.find_kinship", None)
    code, out, _ = call(*RUN, "audit=none")
    assert code == 0 and "clean rows: not known, no relatives were searched for" in out
    report, _ = only_report(tmp_path)
    assert (report.outcome.audit, report.outcome.n_clean) == (None, None)
    assert report.outcome.clean_metrics is None and "audit=none" in report.outcome.clean_reason
    assert report.setup.config["audit"] == "none"


def test_strict_passes_where_no_test_row_is_in_train(call, tiny):
    assert call(*RUN, "strict=true")[0] == 0


def test_only_another_division_changes_the_name_of_a_run(call, tiny, tmp_path):
    call(*RUN)
    report, _ = only_report(tmp_path)
    config = resolve(from_dict(report.setup.config))
    settings = identity(config)
    assert not {"split", "strict", "audit"} & settings.keys()  # as before these options
    assert identity(dataclasses.replace(config, audit="none")) == settings | {"audit": "none"}
    assert identity(dataclasses.replace(config, strict=True)) == settings
    assert identity(dataclasses.replace(config, split="clean")) == settings | {"split": "clean"}


def test_the_kinship_of_a_division_is_found_once_for_all_runs(call, leaky, monkeypatch):
    import tasks.audit.kinship as module

    found = []
    find = module.find_kinship
    monkeypatch.setattr(module, "find_kinship", lambda *rows: found.append(1) or find(*rows))
    module._kept.cache_clear()
    call(*RUN, "seeds=3", "split_seed=17")
    call("task=tiny_rows", "method=majority", "split_seed=17")
    assert found == [1]


def test_reports_of_before_are_still_read(call, tiny, tmp_path):
    call(*RUN)
    report, path = only_report(tmp_path)
    values = json.loads(path.read_text())
    for name in ("audit", "n_clean", "clean_metrics"):
        del values["outcome"][name]
    del values["setup"]["config"]["split"], values["setup"]["config"]["strict"]
    path.write_text(json.dumps(values))
    old = read_report(path)
    assert (old.outcome.audit, old.outcome.n_clean, old.outcome.clean_metrics) == (None, None, None)
    assert old.outcome.metrics == report.outcome.metrics
    frame = load_results(tmp_path)
    assert np.isnan(frame["n_clean"].astype(float).iloc[0])
    assert from_dict(old.setup.config).split == "official"


def test_chromosomes_seen_in_pretraining_and_others_are_told_apart(
    call, tiny, tmp_path, monkeypatch
):
    shape = {"d_model": 8, "n_layer": 1, "d_inner": 16, "max_seq_len": 64}
    random_model(HyenaDNAConfig(**shape), seed=0).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "pretraining.bed").write_text("chr1\t0\t9\ttrain\nchr2\t0\t9\tvalid\n")
    rows = tiny.splits(TASKS.get("tiny_rows"), 0, None).test
    lines = [f"{row.sequence}\tchr{1 + i % 3}:{i}-{i + 40}" for i, row in enumerate(rows)]
    (tmp_path / "t.tsv").write_text("\n".join(["sequence\tid", *lines]))
    monkeypatch.setattr(
        type(tiny), "tables", lambda self, data: [(tmp_path / "t.tsv", "sequence")], raising=False
    )
    run = ("task=tiny_rows", "method=linear_probe", "threads=1", "out=runs")
    assert call(*run, f"backbone={tmp_path}/model")[0] == 0
    (path,) = find_reports(tmp_path / "runs")
    details = read_report(path).outcome.details
    assert (details["seen_rows"], details["unseen_rows"]) == (10, 20)
    table = pd.read_csv(path.parent / "predictions.tsv", sep="\t")
    right = (table["label"] == table["predicted"]).to_numpy()
    assert details["seen_accuracy"] == pytest.approx(right[::3].mean())
    assert details["unseen_accuracy"] == pytest.approx(np.delete(right, slice(0, 30, 3)).mean())

    # Random weights have seen nothing.
    control = (f"backbone={tmp_path}/model", "control=random_backbone", "out=control")
    assert call(*run, *control)[0] == 0
    (path,) = find_reports(tmp_path / "control")
    assert "seen_rows" not in read_report(path).outcome.details
