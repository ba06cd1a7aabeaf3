"""What runs under controls say, and a run with controls from the command line."""

from types import SimpleNamespace

import numpy as np
import pytest

from icl.reporting.report import find_reports, read_report
from icl.reporting.summary import control_lines
from icl.reporting.verdict import Verdict, verdicts
from icl.results import load_results
from tasks.metrics.bootstrap import Estimate

RUN = ("task=tiny_rows", "method=gc_only")


def verdict(control, value, low, high):
    return Verdict("few_shot", control, Estimate(value, low, high), 1)


@pytest.mark.parametrize(
    ("control", "interval", "sentence"),
    [
        (
            "demo_labels_shuffled",
            (0.004, -0.011, 0.019),
            "few_shot minus demo_labels_shuffled: +0.4 points, 95 % from -1.1 to 1.9: "
            "no evidence of learning from the labels",
        ),
        (
            "demo_labels_shuffled",
            (0.1, 0.05, 0.15),
            "few_shot minus demo_labels_shuffled: +10.0 points, 95 % from 5.0 to 15.0: "
            "excludes 0: evidence of learning from the labels",
        ),
        (
            "query_alone",
            (-0.1, -0.15, -0.05),
            "few_shot minus query_alone: -10.0 points, 95 % from -15.0 to -5.0: "
            "excludes 0, but the control scores higher: "
            "no evidence of gaining from demonstrations",
        ),
        (
            "words_swapped",
            (-0.1, -0.15, -0.05),
            "few_shot minus words_swapped: -10.0 points, 95 % from -15.0 to -5.0: "
            "excludes 0: evidence of dependence on the label-word assignment",
        ),
        (
            "random_backbone",
            (0.0, 0.0, 0.0),
            "few_shot minus random_backbone: +0.0 points, 95 % from 0.0 to 0.0: "
            "no evidence of gaining from pretraining",
        ),
    ],
)
def test_a_difference_becomes_a_sentence(control, interval, sentence):
    assert verdict(control, *interval).sentence == sentence


def written(folder, right):
    folder.mkdir()
    lines = [f"{row}\ta\t{'a' if one == '1' else 'b'}" for row, one in enumerate(right)]
    (folder / "predictions.tsv").write_text("\n".join(["row\tlabel\tpredicted", *lines]) + "\n")
    return folder


def test_a_control_is_compared_with_the_plain_runs_of_its_seeds_row_by_row(tmp_path):
    runs = [
        (None, 1, "1111"),
        (None, 0, "1100"),
        (None, 2, "0000"),
        ("query_alone", 0, "0000"),
        ("query_alone", 1, "1110"),
        ("demo_labels_flipped", 7, "0000"),
    ]
    setups = [SimpleNamespace(method="m", control=c, seed=s, kind="classes") for c, s, _ in runs]
    reports = [SimpleNamespace(setup=setup) for setup in setups]
    folders = [written(tmp_path / f"{c}{s}", right) for c, s, right in runs]
    (found,) = verdicts(reports, folders)
    assert (found.control, found.draws) == ("query_alone", 2)
    assert found.difference.value == pytest.approx((2 / 4 + 1 / 4) / 2)
    lines = control_lines([found])
    assert lines[0] == found.sentence and "2 seeds" in lines[-1]
    assert control_lines([]) == []


def test_controls_are_runs_of_their_own_after_the_plain_ones(call, tiny, tmp_path):
    code, out, _ = call(*RUN, "seeds=2", "controls=[all]")
    assert code == 0 and tiny.read == 1
    frame = load_results(tmp_path)
    counts = frame["control"].fillna("none").value_counts().to_dict()
    assert counts == {"none": 2, "train_labels_shuffled": 2}
    assert "gc_only minus train_labels_shuffled: " in out and "2 seeds" in out
    assert "learning from the training labels" in out
    for path in find_reports(tmp_path):
        report = read_report(path)
        assert (
            report.setup.config["control"] == report.setup.control
            and report.setup.config["controls"] == []
        )
    # The same control alone is the same run.
    again = call(*RUN, "control=train_labels_shuffled")
    assert "already there" in again[1] and len(load_results(tmp_path)) == 4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("controls=[query_alone]", "those that apply: train_labels_shuffled"),
        ("controls=[shuffled]", "unknown control 'shuffled'"),
        ("controls=all", "give a list"),
        ("control=random_backbone", "those that apply"),
    ],
)
def test_controls_that_do_not_apply_are_one_line_before_anything_is_written(
    call, tiny, tmp_path, word, message
):
    code, _, err = call(*RUN, word)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_one_control_and_a_list_of_them_exclude_each_other(call, tiny):
    given = ("control=train_labels_shuffled", "controls=[all]")
    assert "not both" in call(*RUN, *given)[2]


def test_a_method_that_calibrates_has_both_errors_in_its_report(call, tiny, tmp_path, monkeypatch):
    from icl.methods.covariates import GCOnly

    def before(self, examples):
        return np.log([[0.9, 0.1]] * len(examples))

    monkeypatch.setattr(GCOnly, "uncalibrated_scores", before)
    call(*RUN)
    (report,) = (read_report(path) for path in find_reports(tmp_path))
    # One bin: 0.9 is said of class 0, and half of the rows are of class 0.
    assert report.outcome.details == {"ece_before_calibration": pytest.approx(0.4)}
    assert load_results(tmp_path)["details_ece_before_calibration"].tolist() == pytest.approx([0.4])
