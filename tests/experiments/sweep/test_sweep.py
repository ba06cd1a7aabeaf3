"""Sweeps of runs that take no time: every cell is run once, whatever is killed; what is chosen."""

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from experiments.sweep.__main__ import main
from experiments.sweep.worker import main as worker_main
from tests.experiments.sweep.sweeping import GRID, FakeRuns, Forked, begun, done, heard, until

LONG = "ICL_LONG_TESTS"
long = pytest.mark.skipif(LONG not in os.environ, reason=f"kills processes for minutes: {LONG}=1")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Parent and workers look often."""
    monkeypatch.setattr("experiments.sweep.worker.PAUSE", 0.1)
    monkeypatch.setattr("experiments.sweep.driver.PAUSE", 0.1)
    monkeypatch.setattr("experiments.sweep.driver.SHARE", 1)
    monkeypatch.delenv("ICL_STORAGE", raising=False)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.sqlite'}"


def trials(url):
    return optuna.load_study(study_name="s", storage=url).get_trials(deepcopy=False)


def assert_each_cell_once(out, url, cells):
    """One finished trial a cell, one end a run, and no two of one run at a time."""
    complete = [t.user_attrs["cell"] for t in trials(url) if t.state == TrialState.COMPLETE]
    assert sorted(complete) == list(range(cells))
    assert not [t for t in trials(url) if not t.state.is_finished()]
    said = heard(out)
    ends = Counter(name for name, what, _ in said if what == "ends")
    assert len(ends) == cells and set(ends.values()) == {1}
    for name in ends:
        mine = [(what, pid) for one, what, pid in said if one == name]
        assert mine[-1][0] == "ends" and [what for what, _ in mine].count("ends") == 1


def test_workers_do_every_cell_of_a_grid_once_and_another_study_uses_their_runs(tmp_path, url):
    words = (*GRID, f"out={tmp_path}", "study=s")
    (path,) = done((*words, "workers=3"), FakeRuns(0.01), url)
    assert_each_cell_once(tmp_path, url, 12)
    table = pd.read_csv(path)
    assert table["prompt_tokens"].tolist() == [0, 1, 2, 4] * 3
    assert table["seed"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert table["accuracy"].tolist() == [
        0.5 + k / 100 + seed / 1000 for seed in range(3) for k in (0, 1, 2, 4)
    ]
    assert table["run"].is_unique and "seconds" not in table
    assert table["command"][1] == (
        "python -m icl.run task=synthetic_easy method=soft_prompt seed=0 prompt_tokens=1"
    )
    before = heard(tmp_path)
    (again,) = done((*words, "study=t"), FakeRuns(), url)
    assert heard(tmp_path) == before and again.read_text() == path.read_text()


def killed_and_begun_again(words, out, url, generator, workers):
    """Kills workers and parents, three times, and lets the last sweep come to its end."""
    runs = FakeRuns(0.15)
    words = (*words, f"workers={workers}")
    for victim in ("worker", "parent", "both"):
        parent = begun(words, runs, url)
        before = len(heard(out))
        until(lambda before=before: len(heard(out)) >= before + 2)
        time.sleep(generator.uniform(0, 0.3))
        if victim != "parent":
            last = int(heard(out)[-1][2])
            with contextlib.suppress(ProcessLookupError):
                os.kill(last, signal.SIGKILL)
        if victim != "worker":
            parent.kill()
        else:
            time.sleep(0.3)
            parent.kill()
        parent.wait()
    (path,) = done(words, runs, url)
    return path


@long
def test_a_sweep_killed_at_random_moments_ends_with_the_undisturbed_table(tmp_path, url):
    generator = random.Random(7)
    words = (*GRID, "study=s")
    out = tmp_path / "killed"
    out.mkdir()
    path = killed_and_begun_again((*words, f"out={out}"), out, url, generator, workers=2)
    assert_each_cell_once(out, url, 12)
    calm = tmp_path / "calm"
    calm.mkdir()
    calm_url = f"sqlite:///{calm / 'studies.sqlite'}"
    (undisturbed,) = done((*words, f"out={calm}"), FakeRuns(), calm_url)
    assert path.read_bytes() == undisturbed.read_bytes()


@long
def test_four_workers_on_postgresql_lose_no_cell_and_run_none_twice(tmp_path, postgresql):
    generator = random.Random(8)
    words = (*GRID, "study=s", f"out={tmp_path}")
    killed_and_begun_again(words, tmp_path, postgresql, generator, workers=4)
    assert_each_cell_once(tmp_path, postgresql, 12)


def falling_behind(config):
    """Runs of eight epochs whose score is the learning rate's, from the third epoch on."""

    def learn(show):
        from icl.method import Progress

        for epoch in range(1, 9):
            now = config.method.lr if epoch > 2 else 0.5
            show(Progress(epoch, 8, 0.1, 1 - now, now, now))
        return config.method.lr

    return learn


SEARCH = (
    *("task=synthetic_easy", "method=soft_prompt", "space.method.lr=uniform(0.1,0.9)"),
    *("space.method.placement=[before,after]", "mode=random", "trials=16", "study=s"),
)


def test_a_search_prunes_what_falls_behind_and_runs_the_best_on_test_rows(tmp_path, url, capsys):
    words = (*SEARCH, f"out={tmp_path}", "test_seeds=2", "seed=5", "workers=1")
    path, test_path = done(words, FakeRuns(score=falling_behind), url)
    table, test = pd.read_csv(path), pd.read_csv(test_path)
    assert len(table) == 16 and set(table["state"]) == {"complete", "pruned"}
    pruned = table[table["state"] == "pruned"]
    assert pruned["why"].str.contains("validation accuracy .* at epoch [3-8] of 8: behind").all()
    assert table["command"].str.contains("evaluate=val").all()
    (chosen,) = table[table["chosen"]].to_dict("records")
    assert chosen["method.lr"] == table["method.lr"].max()
    assert test["seed"].tolist() == [6, 7]
    assert test["method.lr"].tolist() == [chosen["method.lr"]] * 2
    assert test["command"].str.contains("evaluate=test").all()
    assert "chosen: validation_accuracy" in capsys.readouterr().out
    # What a random search draws is a function of its seed and of each trial's number.
    again = [t.params for t in trials(url)]
    other = tmp_path / "other"
    other.mkdir()
    done((*words, f"out={other}", "workers=3"), FakeRuns(), f"sqlite:///{other / 'x.sqlite'}")
    found = optuna.load_study(study_name="s", storage=f"sqlite:///{other / 'x.sqlite'}").trials
    assert [t.params for t in found[:16]] == again[:16]


@pytest.mark.parametrize("objective", ["validation_accuracy", "validation_loss"])
def test_the_pruner_sees_the_figure_of_the_objective(objective, tmp_path, url):
    """Both figures rise with the learning rate, so they prune opposite ends of its range."""

    def learn(show):
        from icl.method import Progress

        for epoch in range(1, 9):
            show(Progress(epoch, 8, 0.1, 10 + learn.lr, learn.lr, learn.lr))
        return learn.lr

    def score(config):
        learn.lr = config.method.lr
        return learn

    words = (*SEARCH, f"out={tmp_path}", "test_seeds=0", f"objective={objective}", "pruner=median")
    (path,) = done(words, FakeRuns(score=score, loss=lambda value: 10 + value), url)
    shift = {"validation_accuracy": 0, "validation_loss": 10}[objective]
    for one in trials(url):
        seen = one.params["method.lr"] + shift
        assert one.intermediate_values == pytest.approx(
            dict.fromkeys(one.intermediate_values, seen)
        )
        assert one.intermediate_values
    table = pd.read_csv(path)
    pruned = table[table["state"] == "pruned"]
    figure = objective.replace("_", " ")
    assert len(pruned) and pruned["why"].str.startswith(f"{figure} ").all()
    (chosen,) = table[table["chosen"]]["method.lr"]
    behind = pruned["method.lr"] > chosen if shift else pruned["method.lr"] < chosen
    assert behind.all()


def test_two_objectives_give_a_pareto_front(tmp_path, url):
    scores = {0: 0.5, 1: 0.8, 2: 0.7, 4: 0.9, 8: 0.9}
    words = (
        *("task=synthetic_easy", "method=soft_prompt", "space.prompt_tokens=[0,1,2,4,8]"),
        *("mode=tpe", "against=prompt_tokens", "trials=25", "study=s", "test_seeds=0"),
        f"out={tmp_path}",
    )
    (path,) = done(words, FakeRuns(score=lambda config: scores[config.prompt_tokens]), url)
    table = pd.read_csv(path)
    front = table[table["chosen"]]
    tried = set(table["prompt_tokens"])
    best = [k for k in sorted(tried) if all(scores[k] > scores[j] for j in tried if j < k)]
    assert sorted(front["prompt_tokens"]) == best and len(best) > 1


def test_a_failed_cell_says_why_and_is_tried_again_by_the_next_sweep(tmp_path, url):
    def broken(config):
        if config.prompt_tokens == 2:
            raise RuntimeError("no memory\nleft")
        return 0.5

    words = (*GRID[:3], "study=s", f"out={tmp_path}")
    (path,) = done(words, FakeRuns(score=broken), url)
    table = pd.read_csv(path, keep_default_na=False).set_index("prompt_tokens")
    assert table["state"].to_dict() == {0: "complete", 1: "complete", 2: "failed", 4: "complete"}
    assert table["why"][2] == "RuntimeError: no memory left"
    (path,) = done(words, FakeRuns(score=lambda config: 0.5), url)
    assert set(pd.read_csv(path)["state"]) == {"complete"}


@long
def test_ctrl_c_once_ends_after_the_running_trials_and_twice_at_once(tmp_path, url):
    words = (*GRID, "study=s", f"out={tmp_path}", "workers=2")
    for presses, seconds in ((1, 0.5), (2, 60)):
        parent = begun(words, FakeRuns(seconds), url)
        before = len(heard(tmp_path))
        until(lambda before=before: len(heard(tmp_path)) >= before + 2)
        for _ in range(presses):
            os.kill(parent.pid, signal.SIGINT)
            time.sleep(0.3)
        assert parent.wait() == 1  # SystemExit, which the fork does not look into
        begins = sum(what == "begins" for _, what, _ in heard(tmp_path)[before:])
        ends = sum(what == "ends" for _, what, _ in heard(tmp_path)[before:])
        assert begins == ends if presses == 1 else ends == 0
        assert not [t for t in trials(url) if t.state == TrialState.RUNNING]
    done(words, FakeRuns(), url)
    complete = [t.user_attrs["cell"] for t in trials(url) if t.state == TrialState.COMPLETE]
    assert sorted(complete) == list(range(12))


ONE = ("task=synthetic_easy", "method=soft_prompt")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*ONE, "space.promt_tokens=[1,2]"), "unknown option 'promt_tokens'; did you mean prompt"),
        ((*ONE, "space.prompt_tokens=[]"), "the grid is empty"),
        (ONE, "the grid is empty"),
        ((*ONE, "space.prompt_tokens=[1]", "worker=2"), "did you mean workers"),
        ((*ONE, "space.prompt_tokens=[1,x]"), "prompt_tokens"),
        ((*ONE, "space.method.lr=log(0.3,0.01)"), "space.method.lr=log(0.3,0.01): cannot be read"),
        ((*ONE, "space.method.lr=log(0.01,0.3)"), "mode=grid needs a list"),
        ((*ONE, "space.k=[1]", "storage=sqlite:////no/where/x.db"), "cannot be used (unable to"),
        ((*ONE, "space.k=[1]", "storage=oracle"), "is not the address of a database"),
        (
            (*ONE, "space.k=[1]", "storage=postgresql+psycopg://u:secret@127.0.0.1:1/x"),
            "storage=postgresql+psycopg://u:***@127.0.0.1:1/x: ",
        ),
        ((*ONE, "space.k=[1]", "storage=mysql://h/x"), "its driver MySQLdb is not installed"),
        (("recipe=soft_promt_curve",), "did you mean soft_prompt_curve?"),
        ((*ONE, "space.k=[1]", "mode=tpe", "evaluate=test"), "validation rows only"),
        ((*ONE, "space.k=[1]", "mode=tpe", "against=shots", "pruner=median"), "two objectives"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "workers=0"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "secret" not in error


def test_a_study_with_another_search_space_is_refused(tmp_path, url, capsys):
    words = (*ONE, "space.prompt_tokens=[1]", "study=s", f"out={tmp_path}")
    done(words, FakeRuns(), url)
    capsys.readouterr()
    assert main([*ONE, "space.prompt_tokens=[1,2]", "study=s", f"out={tmp_path}", f"storage={url}"])
    error = capsys.readouterr().err
    assert error == (
        "error: study=s exists with another search space: space.prompt_tokens is [1] there and "
        "[1,2] here; give study=ANOTHER_NAME\n"
    )


def test_a_study_is_one_of_optunas_own_so_that_its_dashboard_shows_it(tmp_path, url):
    done((*GRID[:2], "space.prompt_tokens=[1,4]", "study=s", f"out={tmp_path}"), FakeRuns(), url)
    (shown,) = optuna.get_all_study_summaries(url)
    assert (shown.study_name, shown.n_trials) == ("s", 2)
    assert shown.direction == optuna.study.StudyDirection.MAXIMIZE
    study = optuna.load_study(study_name="s", storage=url)
    assert study.metric_names == ["validation_accuracy"]
    assert [(t.params, t.value) for t in study.trials] == [
        ({"prompt_tokens": 1}, 0.51),
        ({"prompt_tokens": 4}, 0.54),
    ]


def test_workers_that_hydra_launches_join_a_study_without_workers(tmp_path, url):
    words = ("task=synthetic_easy", "method=majority", "space.seed=[0,1,2]", "study=s")
    parent = begun((*words, "workers=0", f"out={tmp_path}"), FakeRuns(), url)

    def is_there():
        """Reads the file itself: Optuna would make what the parent has not made yet."""
        address = f"file:{tmp_path / 'studies.sqlite'}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as studies:
                return studies.execute("select count(*) from trials").fetchone() == (3,)
        except sqlite3.OperationalError:
            return False

    until(is_there)
    launched = ["-m", "study=s", f"storage={url}", f"out={tmp_path}", "number=1,2"]
    joined = Forked(lambda: worker_main(launched))
    assert (joined.wait(), parent.wait()) == (0, 0)
    assert [t.state for t in trials(url)] == [TrialState.COMPLETE] * 3
    assert len(pd.read_csv(tmp_path / "sweeps" / "s.csv")["run"].unique()) == 3
