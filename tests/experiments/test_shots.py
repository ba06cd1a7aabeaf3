"""The few-shot curve: its runs, the sets that count, means and differences, tables and pictures."""

import re
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from backbone.common.errors import DoesNotFit
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments.common.cells import Key, run_cells
from experiments.common.command import read_words
from experiments.common.shot_lines import BEST
from experiments.pictures.shots import draw_means, draw_sets
from experiments.shots import __main__ as command
from experiments.shots.lines import SWAPPED, Line, Options, cells, lines_of
from experiments.shots.table import means, measured, pairs, runs_table, sets_of, values_of
from experiments.shots.words import markdown
from icl.inference.channel_scorer import ChannelScorer
from icl.reporting.report import find_reports, read_learned, read_report
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate
from tasks.metrics.classification import ONE_PREDICTION
from tasks.task import Task
from tests.experiments.made_up import METRICS, report
from tests.icl.conftest import Composition


@pytest.fixture
def tiny(monkeypatch):
    """A task of 40 training rows of 40 bases, 20 a class."""
    task = Task("tiny_rows", ("poor", "rich"), Composition(), description="rows of a test")
    monkeypatch.setitem(TASKS._values, "tiny_rows", task)
    monkeypatch.delenv("ICL_DATA", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Two folders of backbones that read 256 and 140 tokens."""
    found = []
    for name, longest, width in (("long", 256, 8), ("short", 140, 16)):
        folder = tmp_path_factory.mktemp(name) / name
        shape = HyenaDNAConfig(d_model=width, n_layer=1, d_inner=16, max_seq_len=longest)
        random_model(shape, seed=1).save_pretrained(folder)
        found.append(str(folder))
    return found


def shown(path: Path) -> dict[int, list[int]]:
    """The places of a run's demonstrations among the training rows, by their class."""
    learned = read_learned(path.parent)
    labels, rows = learned["demonstrations.labels"], learned["demonstrations.rows"]
    return {label: sorted(rows[labels == label].tolist()) for label in (0, 1)}


def test_the_command_runs_draws_and_does_not_repeat(tiny, backbones, tmp_path, capsys):
    words = ["tasks=[tiny_rows]", f"backbones=[{','.join(backbones)}]", "draws=1"]
    words += ["lines=[channel,direct,markov]", "shots=[1,2,4,32]", "test_rows=20", "val_rows=8"]
    words += ["threads=1", f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'out'}"]
    assert command.main(words) == 0
    said = capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"shots.csv", "shots_mean.csv", "shots_pairs.csv", "shots.md"} <= names
    stems = ("shots_mean", "shots_clean", "shots_sets_auroc", "shots_sets_mcc")
    assert {f"{stem}.{end}" for stem in stems for end in ("png", "svg")} <= names

    runs = pd.read_csv(tmp_path / "out" / "shots.csv")
    done = runs[runs["left_out"].isna()]
    assert (done["n"] == 20).all() and (done["seed"] == 0).all()
    # Behind four demonstrations of a class, each with a separator, the short one has no room for
    # a query; no class has 32 rows. Two of both classes do not fit into one prompt either.
    long, short = (f"channel, {folder}" for folder in backbones)
    assert set(done.loc[done["line"] == long, "shots"]) == {1, 2, 4}
    assert set(done.loc[done["line"] == short, "shots"]) == {1, 2}
    assert set(done.loc[done["line"] == f"direct, {backbones[1]}", "shots"]) == {1}
    reasons = runs.loc[runs["left_out"].notna() & (runs["shots"] == 32), "left_out"]
    assert reasons.str.contains("class 0 has").all() and len(reasons) == 13
    assert "Left out" in said and f"- {short}: 1 sets at 4, 1 sets at 32 shots" in said

    mean = pd.read_csv(tmp_path / "out" / "shots_mean.csv")
    assert set(mean["shots"]) == {1, 2}  # where the channels of both backbones fit
    paired = pd.read_csv(tmp_path / "out" / "shots_pairs.csv")
    mirrored = paired[paired["minus"].str.startswith("1 - ")]
    assert len(mirrored) and (mirrored["difference"].abs() < 1e-6).all()

    assert command.main(words) == 0
    assert capsys.readouterr().out.count("finished before") == len(done)


def test_all_lines_of_a_draw_have_the_same_demonstrations_and_test_rows(tiny, backbones, tmp_path):
    words = ["tasks=[tiny_rows]", f"backbones=[{','.join(backbones)}]", "draws=2", "shots=[1]"]
    run_cells(cells(*read_words(Options, [*words, "test_rows=20", "threads=1", f"out={tmp_path}"])))
    rows: dict[int, set[str]] = {}
    labels: dict[int, set[str]] = {}
    for path in find_reports(tmp_path):
        setup, places = read_report(path).setup, shown(path)
        if setup.control == SWAPPED:
            places = {0: places[1], 1: places[0]}
        rows.setdefault(setup.seed, set()).add(str(places))
        predictions = pd.read_csv(path.parent / "predictions.tsv", sep="\t")
        labels.setdefault(setup.seed, set()).add(str(predictions["label"].tolist()))
    assert all(len(one) == 1 for one in rows.values()) and rows[0] != rows[1]
    assert all(len(one) == 1 for one in labels.values())


def test_the_context_of_a_class_is_encoded_once(tiny, backbones, tmp_path, monkeypatch):
    calls = []
    encode = ChannelScorer.context
    monkeypatch.setattr(
        ChannelScorer, "context", lambda *a, **named: calls.append(1) or encode(*a, **named)
    )
    words = ["tasks=[tiny_rows]", f"backbones=[{backbones[0]}]", "lines=[channel]", "controls=[]"]
    run_cells(
        cells(
            *read_words(Options, [*words, "draws=1", "shots=[4]", "threads=1", f"out={tmp_path}"])
        )
    )
    assert len(calls) == 2  # nulls, validation and test rows, both strands


def test_when_the_time_is_up_finished_runs_are_read_and_no_other_starts(tiny, tmp_path):
    words = ["tasks=[tiny_rows]", "lines=[markov]", "shots=[2]", "draws=1", "threads=1"]
    words += [f"out={tmp_path}"]
    planned = cells(*read_words(Options, words))
    said: list[str] = []
    first = run_cells(planned[:2], said.append, minutes=1e-9)
    assert list(first) == [planned[0].key] and "1 runs are left" in said[-1]
    second = run_cells([planned[1], planned[2], planned[0]], said.append, minutes=1e-9)
    assert list(second) == [planned[1].key, planned[0].key] and "1 runs are left" in said[-1]
    assert [done.was_there for (done,) in second.values()] == [False, True]


def test_without_a_place_for_it_what_does_not_fit_is_an_error(tiny, tmp_path):
    words = ["tasks=[tiny_rows]", "lines=[markov]", "shots=[32]", "draws=1", "threads=1"]
    words += [f"out={tmp_path}"]
    planned = cells(*read_words(Options, words))
    with pytest.raises(DoesNotFit, match="class 0 has"):
        run_cells(planned)
    left_out: dict[Key, str] = {}
    assert run_cells(planned, left_out=left_out) == {} and len(left_out) == len(planned)


def test_the_lines_and_their_options():
    words = ["backbones=[a,random:a]", "method.few_shot.strands=forward", "control_shots=[8]"]
    options, own = read_words(Options, [*words, "shots=[8,1]", "draws=1"])
    assert [str(line) for line in lines_of(options)] == [
        "channel, a", "channel, a, swapped", "memory, a", "memory, a, swapped", "direct, a",
        "embedding_knn, a", "channel, random:a", "memory, random:a",
        *(f"markov, order {order}" for order in ("0", "1", "2", "3", "4", "5", "auto")), "kmer_knn",
    ]  # fmt: skip
    planned = cells(options, own)
    assert [k for _, line, k in (one.key for one in planned) if line.control] == [8, 8]
    by_line = {str(one.key[1]): one.config for one in planned}
    assert by_line["channel, a"].method.readout == "channel"
    assert by_line["memory, a"].method.readout == "memory"
    assert by_line["channel, a"].method.strands == by_line["direct, a"].method.strands == "forward"
    assert by_line["markov, order 3"].backbone == by_line["kmer_knn"].backbone == "a"
    assert by_line["kmer_knn"].method.temperature == "demonstrations"  # no label of validation


def test_no_more_training_rows_are_asked_for_than_there_are(tiny):
    for asked, expected in ((10, 10), (1000, None)):
        options, own = read_words(Options, ["tasks=[tiny_rows]", "draws=1", f"n_train={asked}"])
        assert {one.config.n_train for one in cells(options, own)} == {expected}


CHANNEL, SWAPPED_LINE = Line("channel", "b"), Line("channel", "b", control=SWAPPED)
DIRECT, AUTO = Line("direct", "b"), Line("markov", order="auto")
FIRST, SECOND = Line("markov", order="1"), Line("markov", order="2")


def finished(values, labels=("no", "yes")):
    """Return finished runs: AUROC by (task, line, shots), one for each seed."""
    table = {}
    for key, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            metrics = dict.fromkeys(METRICS, Estimate(value, value - 0.1, value + 0.1))
            one = report(
                "markov", task=key[0], seed=seed, metrics=metrics, clean_metrics=metrics,
                labels=labels, shots=key[2], n_scored=50, n_clean=40,
            )  # fmt: skip
            table.setdefault(key, []).append(Finished(one, Path("x"), was_there=True))
    return table


@pytest.fixture
def table():
    """Set `a` fits at one and at two shots, `b` at one alone; direct prompting has `a` alone."""
    return finished(
        {
            ("a", CHANNEL, 1): [0.6, 0.8],
            ("a", CHANNEL, 2): [0.7, 0.9],
            ("b", CHANNEL, 1): [0.5, 0.5],
            ("a", SWAPPED_LINE, 1): [0.4, 0.2],
            ("a", DIRECT, 1): [0.5, 0.6],
            **{("a", line, k): [0.5, 0.5] for line in (FIRST, AUTO) for k in (1, 2)},
            **{("b", line, 1): [0.9, 0.7] for line in (FIRST, AUTO)},
            **{("a", SECOND, k): [0.7, 0.7] for k in (1, 2)},
            ("b", SECOND, 1): [0.4, 0.4],
        }
    )


def test_a_set_counts_where_the_channel_and_every_chain_fit(table):
    values = values_of(table, "auroc")
    assert sets_of(values, "each") == {1: ["a", "b"], 2: ["a"]}
    assert sets_of(values, "all") == {1: ["a"], 2: ["a"]}


def test_means_are_over_sets_and_the_best_order_is_that_of_the_highest_mean(table):
    mean = means(table)
    mean = mean[mean["metric"] == "auroc"].set_index(["over", "line", "shots"])["value"]
    assert mean["each", str(CHANNEL), 1] == pytest.approx((0.7 + 0.5) / 2)
    assert mean["all", str(CHANNEL), 1] == pytest.approx(0.7)
    assert mean["each", BEST, 1] == mean["each", str(FIRST), 1] == pytest.approx(0.65)
    assert mean["each", BEST, 2] == mean["each", str(SECOND), 2] == pytest.approx(0.7)
    counts = means(table).set_index(["over", "metric", "line", "shots"])
    direct = counts.loc[("each", "auroc", str(DIRECT), 1)]
    assert (direct["sets"], direct["sets_in_all"]) == (1, 2)


def test_differences_are_paired_by_set_and_draw(table):
    found = pairs(table)
    found = found[(found["metric"] == "auroc") & (found["over"] == "each")]
    by_line = found.set_index(["line", "minus", "shots"])
    against_best = by_line.loc[(str(CHANNEL), str(FIRST), 1)]
    # a: +0.1 and +0.3; b: -0.4 and -0.2.
    assert against_best["difference"] == pytest.approx(-0.05) and against_best["sets"] == 2
    assert -0.4 <= against_best["low"] < -0.05 < against_best["high"] <= 0.3
    assert by_line.loc[(str(CHANNEL), str(DIRECT), 1), "difference"] == pytest.approx(0.15)
    mirror = by_line.loc[(str(SWAPPED_LINE), f"1 - {CHANNEL}", 1)]
    assert mirror["difference"] == pytest.approx(0) and mirror["sets"] == 1


def test_only_two_classes_have_a_mirror_image():
    three = {("a", CHANNEL, 1): [0.6], ("a", SWAPPED_LINE, 1): [0.5]}
    assert not len(pairs(finished(three, labels=("a", "b", "c"))))


def test_all_rows_in_one_class_count_as_no_correlation_and_no_clean_row_as_none():
    one_class = Estimate.undefined(ONE_PREDICTION)
    made = report(metrics=dict.fromkeys(METRICS, one_class), clean_metrics=None)
    assert measured(made, "mcc").value == 0.0
    assert isnan(measured(made, "clean_mcc").value)


def test_the_text_names_order_and_sets_and_stars_what_has_fewer(table):
    left_out = {("b", DIRECT, 1): "does not fit", ("b", CHANNEL, 2): "does not fit"}
    text = markdown(runs_table(table, left_out), means(table), pairs(table), "a command")
    assert "| sets | 2 | 1 |" in text
    assert f"| {BEST} | 0.650 (1) | 0.700 (2) |" in text
    assert f"| {DIRECT} | 0.550* | - |" in text
    assert f"- {DIRECT}: 1 sets at 1 shots" in text
    assert re.search(
        r"1 shots, AUROC: channel, b minus markov, order 1 -0.050 \(.*\), 2 sets", text
    )


def test_a_curve_without_runs_is_a_sentence():
    empty = pd.DataFrame()
    assert "No set has runs" in markdown(empty, means({}), pairs({}), "a command")


def test_the_pictures_draw_only_means_over_all_sets(table):
    figure = draw_means(means(table), ("auroc", "mcc"))
    each = figure.axes[0]
    labels = [text.get_text() for text in each.texts]
    assert any(label.startswith(f"{CHANNEL} 0.800") for label in labels)
    assert not any(label.startswith(str(DIRECT)) for label in labels)  # it has one set of two
    assert [tick.get_text() for tick in each.get_xticklabels()] == ["1\n2 sets", "2\n1 sets"]
    sets = draw_sets(runs_table(table, {}), means(table), "auroc")
    assert [axes.get_title(loc="left") for axes in sets.axes][:2] == ["a", "b"]
    (line,) = [one for one in sets.axes[0].lines if one.get_label() == str(CHANNEL)]
    np.testing.assert_allclose(line.get_ydata(), [0.7, 0.8])


def test_the_recipe_names_registered_tasks_each_once():
    options, own = read_words(Options, ["recipe=shots"])
    assert [TASKS.get(name).name for name in options.tasks] == options.tasks
    assert len(set(options.tasks)) == len(options.tasks) == 35 and set(own) <= set(options.methods)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tasks=[synthetic_esy]"], "unknown task 'synthetic_esy'; did you mean synthetic_easy"),
        (["lines=[]"], "at least one of tasks, backbones, lines and shots"),
        (["lines=[chanel]"], r"lines=\[chanel\]: must be one of channel"),
        (["shots=[0]"], r"shots=\[0\]: must be 1 or more"),
        (["controls=[swap]"], r"controls=\[swap\]: must be one of"),
        (["tasks=[yeast_expression]"], "yeast_expression has no classes"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert command.main(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and re.search(said, line)
