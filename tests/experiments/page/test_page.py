import json
import re
import warnings
from math import hypot

import numpy as np
import pytest

from experiments import report as command
from experiments.common.points import prepared
from experiments.page import html as page_html
from experiments.page.controls import controls_in_words
from experiments.page.data import SHAPES, points, script_data
from experiments.pictures.curve import looks
from icl.reporting.report import PREDICTIONS, write_report
from icl.results import load_results
from tests.experiments.made_up import report


@pytest.fixture
def runs(tmp_path):
    """Writes reports, with predictions where a share of right answers is given."""

    def write(*reports, right=None):
        for number, one in enumerate(reports):
            folder = tmp_path / "runs" / one.setup.task / one.setup.method / f"{number:012x}"
            folder.mkdir(parents=True)
            write_report(folder, one)
            if right is not None:
                lines = [
                    f"{row}\tno\t{'no' if row < right[number] else 'yes'}" for row in range(100)
                ]
                text = "\n".join(["row\tlabel\tpredicted", *lines])
                (folder / PREDICTIONS).write_text(f"{text}\n")
        return tmp_path / "runs"

    return write


def test_points_hold_mean_and_interval_of_every_metric(runs):
    frame = load_results(
        runs(*(report(tokens=4, accuracy=a, seed=s) for s, a in enumerate((0.6, 0.8))))
    )
    (point,) = points(prepared(frame), ["accuracy", "mcc"])
    assert (point["prompt_tokens"], point["shots"], point["seeds"]) == (4, 0, 2)
    # Student's t with one degree of freedom: 12.7062 times 0.1414 over the root of 2; and rows
    low, high = 0.7 - hypot(1.27062, 0.02), 0.7 + hypot(1.27062, 0.03)
    assert point["accuracy"] == pytest.approx([0.7, low, high], abs=1e-4)
    assert point["mcc"] == point["accuracy"]


def test_data_of_the_script_cannot_end_it_and_hold_no_nan(runs):
    named = report(tokens=4, backbone="</script><script>alert(1)</script>")
    text = script_data(load_results(runs(named, report("gc_only"))))
    assert "</script" not in text and "NaN" not in text
    assert json.loads(text)["tasks"][0]["about"].startswith("backbone </script>")


def test_figures_reach_the_page_unrounded_so_that_they_are_rounded_once(runs):
    data = json.loads(script_data(load_results(runs(report(tokens=4, accuracy=0.606475)))))
    assert data["points"][0]["accuracy"][0] == data["runs"][0]["accuracy"][0] == 0.606475
    assert f"{0.606475:.3f}" == "0.606"  # after four digits it would be 0.607


def test_controls_are_compared_with_plain_runs_of_the_same_settings(runs):
    folder = runs(
        report(tokens=4, options={"lr": 0.5}),
        report(tokens=4, options={"lr": 0.5}, control="words_swapped"),
        report(tokens=4, options={"lr": 0.2}),
        right=(90, 60, 60),
    )
    said, problems = controls_in_words(load_results(folder))
    assert problems == []
    (one,) = said
    assert one.verdict.difference.value == pytest.approx(0.3)
    assert "method.lr=0.5" in one.settings and "excludes 0" in one.verdict.words


def test_settings_that_differ_have_a_column_and_the_others_are_said_once(runs, plain_library):
    folder = runs(
        report(tokens=4, options={"lr": 0.5, "epochs": 3}, batch_size=8),
        report(tokens=16, options={"lr": 0.2, "epochs": 3}),
    )
    command.main([f"runs={folder}"])
    text = (folder / "report.html").read_text()
    table = text[text.index('id="runs"') :]
    assert re.findall(r'<td class="settings">(.*?)</td>', table) == ["lr=0.5", "lr=0.2"]
    (alike,) = re.findall(r'id="alike">(.*?)</p>', table)
    assert alike == (
        "All runs alike: task made_up, method soft_prompt, seed 0, split seed 0, method.epochs=3."
    )
    headings = re.findall(r'<th scope="col".*?>(.*?)</th>', table)
    assert headings[:4] == ["Run", "Settings", "Prompt tokens", "Accuracy"]


@pytest.mark.parametrize(
    ("tasks", "title"),
    [
        (["a"], "Runs on a"),
        (["a", "b", "c"], "Runs on a, b and c"),
        (list("abcd"), "Runs on 4 tasks"),
    ],
)
def test_the_title_names_the_tasks_and_not_the_folder(runs, plain_library, tasks, title):
    folder = runs(*(report("gc_only", task=task) for task in tasks))
    command.main([f"runs={folder}"])
    text = (folder / "report.html").read_text()
    assert f"<h1>{title}</h1>" in text and "Runs of runs" not in text
    command.main([f"runs={folder}", "title=Mine"])
    assert "<h1>Mine</h1>" in (folder / "report.html").read_text()


def test_versions_that_all_runs_share_are_said_once(runs, plain_library):
    folder = runs(
        report(tokens=4, versions={"torch": "2.1", "results": "3.1"}, git_commit="a" * 40),
        report("gc_only", versions={"torch": "2.1", "results": "3.2"}, git_commit="a" * 40),
    )
    command.main([f"runs={folder}"])
    text = (folder / "report.html").read_text()
    assert "All runs: commit aaaaaaaaaaaa, torch 2.1." in text
    assert "<td>results 3.1</td>" in text and "<td>results 3.2</td>" in text


def test_lines_look_as_in_the_pictures_of_the_same_folder(runs):
    frame = load_results(
        runs(
            report(tokens=4),
            report("deep_prompt", tokens=4, task="other"),
            report("linear_probe"),
            report("gc_only", task="other"),
        )
    )
    (axis, *_) = json.loads(script_data(frame))["axes"]
    styles = looks(prepared(frame), "prompt_tokens")
    assert list(axis["lines"]) == list(styles.lines) == ["deep_prompt", "soft_prompt"]
    assert list(axis["flat"]) == list(styles.flat) == ["gc_only", "linear_probe"]
    for name, one in styles.lines.items():
        assert axis["lines"][name]["color"] == one.color
        assert axis["lines"][name]["shape"] == SHAPES[one.marker]


def test_an_axis_is_offered_only_for_a_budget_that_a_run_had(runs):
    frame = load_results(runs(report(tokens=4), report("gc_only")))
    assert [axis["name"] for axis in json.loads(script_data(frame))["axes"]] == ["prompt_tokens"]


def test_missing_predictions_are_named_and_nothing_else_is_lost(runs):
    folder = runs(report(tokens=4), report(tokens=4, control="words_swapped"))
    said, (problem,) = controls_in_words(load_results(folder))
    assert said == [] and PREDICTIONS in problem


@pytest.fixture
def plain_library(monkeypatch):
    """The page without the library, which these tests do not look at."""
    monkeypatch.setattr(page_html, "vega", lambda: ("{}", "the library"))


def test_the_page_holds_every_run_with_its_command_and_names_the_damaged(
    runs, plain_library, capsys
):
    folder = runs(report(tokens=4, seed=3), report("gc_only"))
    (folder / "made_up" / "broken").mkdir()
    (folder / "made_up" / "broken" / "report.json").write_text('{"task": ')
    assert command.main([f"runs={folder}"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(folder / "report.html")
    assert "left out" in said.err and "broken" in said.err
    text = (folder / "report.html").read_text()
    assert text.count("<tbody data-task=") == 2
    assert "python -m icl.run task=made_up method=soft_prompt" in text
    assert "Left out: 1 damaged" in text and "made_up/broken/report.json" in text
    assert str(folder) not in text


def test_the_page_asks_for_nothing_outside_of_it(runs, plain_library):
    folder = runs(report(tokens=4))
    command.main([f"runs={folder}"])
    text = (folder / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)


def test_audits_in_the_folder_are_shown(runs, plain_library):
    folder = runs(report(tokens=4))
    (folder / "overlap.csv").write_text("table,rows,inside training\nx.tsv,10,<b>3</b>\n")
    command.main([f"runs={folder}"])
    text = (folder / "report.html").read_text()
    assert "Leak audit" in text and "&lt;b&gt;3&lt;/b&gt;" in text


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"task": 1',
    ],
)
def test_a_damaged_report_is_named_and_skipped(runs, wrong):
    folder = runs(report(tokens=4), report("gc_only"))
    damaged = next(folder.rglob("gc_only/*/report.json"))
    damaged.write_bytes(wrong)
    with pytest.warns(UserWarning, match=re.escape(str(damaged))):
        assert load_results(folder)["method"].tolist() == ["soft_prompt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("k", "many"),
        ("config", None),
        ("labels", 3),
        ("metrics", {"accuracy": 0.5}),
        ("gc_matched_accuracy", {"value": "high", "low": 0, "high": 1}),
        ("trainable_parameters", None),
        ("seconds", True),
    ],
)
def test_a_report_with_a_field_of_another_kind_is_damaged(runs, field, value):
    folder = runs(report(tokens=4), report("gc_only"))
    damaged = next(folder.rglob("gc_only/*/report.json"))
    damaged.write_text(json.dumps(json.loads(damaged.read_text()) | {field: value}))
    with pytest.warns(UserWarning, match=re.escape(str(damaged))):
        assert load_results(folder)["method"].tolist() == ["soft_prompt"]


def test_no_runs_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert command.main([f"runs={tmp_path}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_the_extra_the_page_says_what_to_install(runs, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    assert command.main([f"runs={runs(report(tokens=4))}"]) == 2
    assert "pip install 'genomic-icl[page]'" in capsys.readouterr().err


def test_two_thousand_reports_fit_into_five_megabytes(runs, plain_library):
    """Of ordinary reports: 8 tasks, 5 seeds, 50 settings; the library adds 0.41 MB."""
    rng = np.random.default_rng(0)
    many = [
        report(
            tokens=2 ** (i // 40 % 10),
            accuracy=rng.uniform(0.5, 0.9),
            seed=i % 5,
            task=f"task_{i // 5 % 8}",
            shots=i // 400,
        )
        for i in range(2000)
    ]
    folder = runs(*many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert command.main([f"runs={folder}"]) == 0
    assert (folder / "report.html").stat().st_size < 4_500_000
