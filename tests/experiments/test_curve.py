import csv
from math import hypot

import pandas as pd
import pytest
from scipy.stats import t as student

import experiments
from backbone.common.errors import InputError
from experiments import curve
from experiments.common.points import COLUMNS, aggregate
from icl.reporting.report import Report, write_report
from icl.results import load_results
from tasks.metrics.bootstrap import Estimate
from tests.experiments.made_up import report


@pytest.fixture
def runs(tmp_path):
    """Writes reports into a folder of runs and gives the folder."""

    def write(*reports):
        for number, one in enumerate(reports):
            folder = tmp_path / "runs" / one.setup.task / one.setup.method / f"{number:012x}"
            folder.mkdir(parents=True)
            write_report(folder, one)
        return tmp_path / "runs"

    return write


def rows(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    return table


def test_seeds_are_averaged_with_an_interval_for_new_seeds_and_new_rows(runs):
    folder = runs(
        report(tokens=4, accuracy=0.6, seed=0),
        report(tokens=4, accuracy=0.7, seed=1),
        report(tokens=4, accuracy=0.8, seed=2),
    )
    (row,) = aggregate(load_results(folder)).to_dict("records")
    half = student.ppf(0.975, 2) * 0.1 / 3**0.5  # the standard deviation of 0.6, 0.7, 0.8 is 0.1
    assert row["mean"] == pytest.approx(0.7)
    assert row["low"] == pytest.approx(0.7 - hypot(half, 0.02))  # of rows: -0.02 and +0.03
    assert row["high"] == pytest.approx(0.7 + hypot(half, 0.03))
    assert row["val_mean"] == pytest.approx(0.71)
    assert row["n_seeds"] == 3
    assert row["prompt_tokens"] == 4


def test_one_run_keeps_its_own_interval(runs):
    (row,) = aggregate(load_results(runs(report(tokens=4, accuracy=0.7)))).to_dict("records")
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.7, 0.68, 0.73))
    assert row["n_seeds"] == 1


def test_numbers_and_several_labels_have_curves_of_their_own_metrics(runs):
    numbers = dict(kind="regression", labels=("y",), validation={"r2": 0.2, "loss": 3.0})
    several = dict(kind="multi_label", labels=("a", "b"), validation={"auroc": 0.7, "loss": 0.5})
    undefined = Estimate(float("nan"), float("nan"), float("nan"))
    folder = runs(
        report("linear_probe", metrics={"pearson": Estimate(0.5, 0.4, 0.6)}, task="numbers",
               gc_matched_accuracy=undefined, best_accuracy=None, **numbers),
        report("linear_probe", metrics={"auroc": Estimate(0.8, 0.7, 0.9)}, task="several",
               gc_matched_accuracy=undefined, best_accuracy=None, **several),
        report(tokens=4),
    )  # fmt: skip
    table = load_results(folder)
    (row,) = aggregate(table, "pearson").to_dict("records")
    assert (row["task"], row["mean"], row["low"]) == ("numbers", 0.5, 0.4)
    assert set(aggregate(table, "auroc")["task"]) == {"several", "made_up"}
    assert curve.main([f"runs={folder}", "metric=pearson"]) in (0, None)
    assert (folder / "curve_numbers_pearson.png").exists()


def test_a_method_that_gives_the_same_at_every_seed_keeps_its_own_interval(runs):
    folder = runs(
        report("gc_only", accuracy=0.66, seed=0), report("gc_only", accuracy=0.66, seed=1)
    )
    (row,) = aggregate(load_results(folder)).to_dict("records")
    assert (row["low"], row["high"], row["n_seeds"]) == pytest.approx((0.64, 0.69, 2))


def test_divisions_of_the_same_data_are_averaged(runs):
    # The rows' hash covers their division, so it moves with split_seed.
    folder = runs(
        report(tokens=4, accuracy=0.6, split_seed=0, data_sha256="d" * 64),
        report(tokens=4, accuracy=0.8, split_seed=1, data_sha256="e" * 64),
    )
    (row,) = aggregate(load_results(folder)).to_dict("records")
    assert (row["mean"], row["n_seeds"], row["variant"]) == (pytest.approx(0.7), 2, "")


def test_other_weights_are_another_line(runs):
    folder = runs(
        report(tokens=4, accuracy=0.8),
        report(tokens=4, accuracy=0.5, backbone="random:bundled", weights_sha256="b" * 64),
        report("gc_only", accuracy=0.6),
    )
    table = aggregate(load_results(folder))
    assert rows(table, variant="bundled")["mean"].tolist() == [pytest.approx(0.8)]
    assert rows(table, variant="random:bundled")["mean"].tolist() == [pytest.approx(0.5)]
    assert rows(table, method="gc_only")["variant"].tolist() == [""]


def test_other_weights_under_the_same_name_are_told_apart_by_their_hash(runs):
    folder = runs(
        report(tokens=4, accuracy=0.8), report(tokens=4, accuracy=0.5, weights_sha256="b" * 64)
    )
    table = aggregate(load_results(folder))
    assert sorted(table["variant"]) == ["weights aaaaaaaa", "weights bbbbbbbb"]


def test_other_data_are_another_line_even_for_other_methods(runs):
    folder = runs(report(tokens=4), report("gc_only", data_sha256="e" * 64))
    table = aggregate(load_results(folder))
    assert sorted(table["variant"]) == ["data dddddddd", "data eeeeeeee"]


def test_other_settings_are_another_line(runs):
    folder = runs(
        report(tokens=4, accuracy=0.6, options={"lr": 0.01}),
        report(tokens=4, accuracy=0.7, options={"lr": 0.1}),
    )
    table = aggregate(load_results(folder))
    assert sorted(table["variant"]) == ["lr=0.01", "lr=0.1"]
    assert table["n_seeds"].tolist() == [1, 1]


def test_memory_for_encoded_rows_does_not_set_points_apart(runs):
    few, many = report(tokens=4), report(tokens=4, seed=1)
    config = many.setup.config | {"keep_gb": 8}
    with_more_memory = Report.from_fields(many.fields() | {"config": config})
    folder = runs(few, with_more_memory)
    table = aggregate(load_results(folder))
    assert (table["variant"].tolist(), table["n_seeds"].tolist()) == ([""], [2])


def test_settings_of_the_backbone_do_not_set_methods_apart_that_have_none(runs):
    folder = runs(report("gc_only", batch_size=1), report("gc_only", batch_size=64, seed=1))
    assert aggregate(load_results(folder))["n_seeds"].tolist() == [2]


def test_three_files_for_each_task_and_the_columns_of_the_table(runs, tmp_path, capsys):
    folder = runs(report(tokens=0, accuracy=0.6), report(tokens=8), report("gc_only"))
    assert curve.main([f"runs={folder}", f"out={tmp_path / 'a=b, (c)'}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    stem = tmp_path / "a=b, (c)" / "curve_made_up_accuracy"
    assert printed == [f"{stem}.{suffix}" for suffix in ("png", "svg", "csv")]
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        "curve_made_up_accuracy.csv",
        "curve_made_up_accuracy.png",
        "curve_made_up_accuracy.svg",
    ]
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "best possible 0.950" in stem.with_suffix(".svg").read_text()
    with stem.with_suffix(".csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(COLUMNS)
    columns = "task,method,prompt_tokens,shots,metric,mean,low,high,val_mean,n_seeds"
    assert ",".join(lines[0][:10]) == columns
    assert [line[1:4] for line in lines[1:]] == [
        ["gc_only", "", ""],
        ["soft_prompt", "0", "0"],
        ["soft_prompt", "8", "0"],
    ]


def test_the_same_reports_give_the_same_files_to_the_byte(runs, tmp_path):
    folder = runs(report(tokens=0, accuracy=0.6), report(tokens=8))
    for name in ("one", "two"):
        assert curve.main([f"runs={folder}", f"out={tmp_path / name}"]) == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_facts_name_rows_split_and_reference_lines(runs):
    frame = load_results(runs(report(tokens=4), report("gc_only")))
    facts = curve.facts(frame, "accuracy")
    assert (facts.backbone, facts.rows, facts.split) == ("bundled", "1,200", "test")
    assert (facts.best, facts.chance) == (0.95, 0.5)
    assert (curve.facts(frame, "mcc").best, curve.facts(frame, "mcc").chance) == (None, None)
    some = load_results(runs(report(tokens=2, n_scored=300, task="some")))
    assert curve.facts(rows(some, task="some"), "accuracy").rows == "300"
    on_validation = load_results(runs(report(tokens=8, evaluated_on="val", task="other")))
    facts = curve.facts(rows(on_validation, task="other"), "accuracy")
    assert (facts.rows, facts.split) == ("100", "val")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["metric=acuracy"], ["'acuracy'", "did you mean accuracy?"]),
        (["task=made_upp"], ["'made_upp'", "did you mean made_up?"]),
        (["metrics=mcc"], ["'metrics'", "did you mean metric?"]),
        (["accuracy"], ["NAME=VALUE"]),
        (["out=/proc/curves"], ["cannot write", "/proc/curves"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(runs, capsys, arguments, words):
    assert curve.main([f"runs={runs(report(tokens=4))}", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    for word in words:
        assert word in captured.err


def test_a_damaged_report_is_named_in_one_line_and_the_rest_is_drawn(runs, capsys):
    folder = runs(report(tokens=4), report("gc_only"))
    damaged = next(folder.rglob("gc_only/*/report.json"))
    damaged.write_text(damaged.read_text().replace('"method": {', '"methods": {'))
    assert curve.main([f"runs={folder}"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"left out: {damaged}: not a valid report: its config has no method; delete its folder "
        "and run again"
    )


def test_no_reports_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert curve.main([f"runs={tmp_path}"]) == 2
    assert "no report.json under" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_metric_in_a_notebook_raises(runs):
    with pytest.raises(InputError, match="known: accuracy"):
        aggregate(load_results(runs(report(tokens=4))), "f1")


def test_aggregate_leaves_the_callers_frame_alone(runs):
    frame = load_results(runs(report(tokens=4)))
    before = frame.copy()
    aggregate(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_runs_with_a_control_never_enter_a_curve(runs):
    plain = report(tokens=4, accuracy=0.7)
    controlled = report(tokens=4, accuracy=0.5, control="words_swapped")
    (row,) = aggregate(load_results(runs(plain, controlled))).to_dict("records")
    assert (row["mean"], row["n_seeds"], row["variant"]) == (0.7, 1, "")


def test_shots_and_tuning_samples_set_points_apart(runs):
    folder = runs(
        report(tokens=4, accuracy=0.6, seed=0, shots=None),
        report(tokens=4, accuracy=0.7, seed=1, shots=0),
        report(tokens=4, accuracy=0.8, shots=2),
        report("tuned", accuracy=0.5, tuning_samples=2, options={"tuning_samples": 2}),
        report("tuned", accuracy=0.9, tuning_samples=16, options={"tuning_samples": 16}),
    )
    table = aggregate(load_results(folder))
    assert set(table["variant"]) == {""}
    prompts = rows(table, method="soft_prompt")
    assert (prompts["shots"].tolist(), prompts["n_seeds"].tolist()) == ([0, 2], [2, 1])
    tuned = rows(table, method="tuned")
    assert (tuned["tuning_samples"].tolist(), tuned["mean"].tolist()) == ([2, 16], [0.5, 0.9])


def test_a_curve_is_drawn_from_a_table_in_python(runs, tmp_path):
    table = load_results(runs(report(tokens=0, accuracy=0.6), report(tokens=8), report("gc_only")))
    figure = experiments.draw_curve(table, metric="mcc", out=tmp_path / "drawn")
    assert figure.axes[0].get_ylabel() == "mcc on the test split"
    stem = tmp_path / "drawn" / "curve_made_up_mcc"
    assert all(stem.with_suffix(end).exists() for end in (".png", ".svg", ".csv"))
    for changes, message in (
        ({"metric": "acuracy"}, "did you mean accuracy"),
        ({"against": "shot"}, "did you mean shots"),
        ({"task": "made_upp"}, "did you mean made_up"),
    ):
        with pytest.raises(InputError, match=message):
            experiments.draw_curve(table, **changes)
    both = pd.concat([table, table.assign(task="other")])
    with pytest.raises(InputError, match="several tasks; give task= one of made_up, other"):
        experiments.draw_curve(both)
    assert experiments.draw_curve(both, task="other").axes
    with pytest.raises(InputError, match="no run without a control"):
        experiments.draw_curve(table.assign(control="words_swapped"))
