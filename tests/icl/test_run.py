"""A run from rows to files: what it writes, when it repeats, that it is deterministic."""

import csv
import json

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from icl import run
from icl.config.options import RESULT_VERSION, RunConfig
from icl.methods.catalog import METHODS
from icl.methods.few_shot import FewShot
from icl.methods.majority import Majority
from icl.reporting.report import find_reports, read_report
from icl.results import load_results
from prompts.demonstrations import DemonstrationChooser
from tasks.catalog import TASKS
from tasks.metrics.classification import evaluate

RUN = ("task=tiny_rows", "method=gc_only")


def only_report(folder):
    (path,) = find_reports(folder)
    return path


def test_a_run_writes_report_predictions_and_what_was_learned(call, tiny, tmp_path):
    code, out, _ = call(*RUN, "seed=3")
    path = only_report(tmp_path)
    report = read_report(path)
    assert code == 0 and str(path.relative_to(tmp_path)) in out
    assert path.relative_to(tmp_path).parts[:3] == ("runs", "tiny_rows", "gc_only")
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "learned.safetensors",
        "predictions.tsv",
        "report.json",
    ]
    assert (report.setup.n_train, report.setup.n_val, report.setup.n_test) == (40, 20, 30)
    assert (report.setup.seed, report.setup.backbone, report.setup.weights_sha256) == (
        3,
        None,
        None,
    )
    assert (report.setup.k, report.setup.prompt_tokens, report.setup.shots) == (None, None, None)
    with (path.parent / "predictions.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    scores = np.array([[float(r["log_p_poor"]), float(r["log_p_rich"])] for r in rows])
    labels = np.array([["poor", "rich"].index(r["label"]) for r in rows])
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1)
    assert evaluate(labels, scores) == report.outcome.metrics
    assert [r["predicted"] for r in rows] == [["poor", "rich"][i] for i in scores.argmax(axis=1)]


def test_a_finished_run_is_not_repeated_unless_forced(call, tiny, tmp_path):
    call(*RUN)
    path = only_report(tmp_path)
    path.write_text(path.read_text().replace('"seconds": ', '"seconds": 1000'))
    marked = path.read_text()
    code, out, _ = call(*RUN, "out=runs", "threads=2")
    assert code == 0 and "already there" in out and path.read_text() == marked
    assert call(*RUN, "force=true")[0] == 0
    assert only_report(tmp_path) == path and path.read_text() != marked


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "predictions.tsv").unlink(),
        lambda folder: (folder / "predictions.tsv").write_text("row\tlabel\n0\tpoor\n"),
        lambda folder: (folder / "learned.safetensors").unlink(),
        lambda folder: (folder / "learned.safetensors").write_bytes(b"half"),
        lambda folder: (folder / "report.json").write_text("{"),
    ],
)
def test_a_finished_run_with_a_damaged_file_is_repeated(call, tiny, tmp_path, damage):
    call(*RUN)
    folder = only_report(tmp_path).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    code, out, err = call(*RUN)
    assert code == 0 and "already there" not in out and "the run is repeated" in err
    for name in ("predictions.tsv", "learned.safetensors"):
        assert (folder / name).read_bytes() == before[name]
    assert "already there" in call(*RUN)[1]


def test_a_run_of_an_earlier_version_of_the_code_is_done_again_beside_it(
    call, tiny, tmp_path, monkeypatch
):
    call(*RUN)
    earlier = only_report(tmp_path).parent
    monkeypatch.setattr("icl.config.options.RESULT_VERSION", RESULT_VERSION + 1)
    code, out, err = call(*RUN)
    assert code == 0 and f"{earlier.name} is of an earlier version of the code" in err
    assert "already there" not in out and len(list(find_reports(tmp_path))) == 2
    own = METHODS.get(read_report(earlier).setup.method).version
    assert read_report(earlier).environment.versions["results"] == f"{RESULT_VERSION}.{own}"


def test_a_run_builds_its_method_and_draws_its_demonstrations_once(
    call, tiny, tmp_path, monkeypatch
):
    counts = {"built": 0, "drawn": 0}
    build, draw = FewShot.__init__, DemonstrationChooser.fixed

    def counted_build(self, config, context):
        counts["built"] += 1
        build(self, config, context)

    def counted_draw(self, *args, **kwargs):
        counts["drawn"] += bool(self.pool)
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(FewShot, "__init__", counted_build)
    monkeypatch.setattr(DemonstrationChooser, "fixed", counted_draw)
    assert call("task=tiny_rows", "method=few_shot", "k=1")[0] == 0
    assert counts == {"built": 1, "drawn": 1}


def test_the_python_call_takes_names_and_raises_input_errors(tiny, tmp_path):
    (done,) = run.run(RunConfig(task="tiny_rows", method="gc_only", out=str(tmp_path)))
    assert done.report.setup.task == "tiny_rows"
    with pytest.raises(InputError, match="k=3: method gc_only"):
        run.run(RunConfig(task="tiny_rows", method="gc_only", k=3))


def test_the_same_run_gives_the_same_files(call, tiny, tmp_path):
    for out in ("one", "two"):
        call("task=tiny_rows", "method=kmer_logreg", "method.kmers=[2,3]", f"out={out}")
    one, two = find_reports(tmp_path)
    for name in ("predictions.tsv", "learned.safetensors"):
        assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()
    assert read_report(one).outcome.metrics == read_report(two).outcome.metrics


def test_seeds_gives_as_many_reports_and_reads_the_rows_once(call, tiny, tmp_path):
    call(*RUN, "seed=5", "seeds=3")
    assert sorted(load_results(tmp_path)["seed"]) == [5, 6, 7]
    assert tiny.read == 1
    assert all(config["seeds"] == 1 for config in load_results(tmp_path)["config"])


def test_evaluate_val_never_looks_at_a_test_row(call, tiny, tmp_path, monkeypatch):
    seen = set()
    for name in ("scores", "check", "fit"):
        original = getattr(Majority, name)

        def spied(self, *rows, original=original):
            seen.update(e.sequence for part in rows for e in part)
            return original(self, *rows)

        monkeypatch.setattr(Majority, name, spied)
    call("task=tiny_rows", "method=majority", "evaluate=val")
    splits = TASKS.get("tiny_rows").splits(0)
    assert seen == {e.sequence for e in (*splits.train, *splits.val)}
    assert read_report(only_report(tmp_path)).setup.evaluated_on == "val"


def test_n_train_learns_from_a_stratified_subset(call, tiny, tmp_path, monkeypatch):
    learned_from = []
    fit = Majority.fit
    monkeypatch.setattr(
        Majority,
        "fit",
        lambda self, train, val: (learned_from.extend(train), fit(self, train, val))[1],
    )
    call("task=tiny_rows", "method=majority", "n_train=10")
    assert sorted(e.label for e in learned_from) == [0] * 5 + [1] * 5
    assert read_report(only_report(tmp_path)).setup.n_train == 10


def test_shuffled_labels_are_those_of_training_and_validation_only(call, tiny, tmp_path):
    call(*RUN)
    call(*RUN, "control=train_labels_shuffled")
    frame = load_results(tmp_path).set_index("path")
    assert len(frame) == 2
    truth = [
        [line.split("\t")[1] for line in (p.parent / "predictions.tsv").read_text().splitlines()]
        for p in find_reports(tmp_path)
    ]
    assert truth[0] == truth[1]
    assert frame["validation_loss"].nunique() == 2


def test_a_failing_fit_leaves_no_empty_folders(call, tiny, tmp_path, monkeypatch):
    def fit(self, train, val):
        raise InputError("these rows cannot be learned from")

    monkeypatch.setattr(Majority, "fit", fit)
    code, _, err = call("task=tiny_rows", "method=majority")
    assert (code, err.splitlines()[-1]) == (2, "error: these rows cannot be learned from")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_fit_finds_its_state_again_and_the_end_removes_it(
    call, tiny, tmp_path, monkeypatch
):
    fit = Majority.fit

    def interrupted(self, train, val):
        (self.context.run_dir / "state").write_text("epoch 3")
        raise KeyboardInterrupt

    def resumed(self, train, val):
        assert (self.context.run_dir / "state").read_text() == "epoch 3"
        fit(self, train, val)

    monkeypatch.setattr(Majority, "fit", interrupted)
    assert call("task=tiny_rows", "method=majority")[0] == 130
    assert not list(find_reports(tmp_path))
    monkeypatch.setattr(Majority, "fit", resumed)
    assert call("task=tiny_rows", "method=majority")[0] == 0
    assert not list(tmp_path.rglob("state"))


def test_the_table_shows_baselines_of_the_same_rows_only(call, tiny):
    call("task=tiny_rows", "method=majority")
    assert "majority" in call(*RUN)[1]
    assert "majority" not in call(*RUN, "split_seed=1")[1]
    assert "majority" not in call(*RUN, "evaluate=val")[1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a complete JSON"),
        (lambda text: "[]", "not a valid report"),
        (lambda text: json.dumps({**json.loads(text), "metrics": 3}), "not a valid report"),
        (lambda text: text.replace('"seed"', '"sed"', 1), "missing seed"),
    ],
)
def test_a_damaged_report_is_named_and_left_out_of_the_results(
    call, tiny, tmp_path, damage, message
):
    call(*RUN, "seeds=2")
    first, _ = find_reports(tmp_path)
    first.write_text(damage(first.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_report(first)
    assert str(first) in str(caught.value)
    with pytest.warns(UserWarning, match="report.json"):
        assert len(load_results(tmp_path)) == 1


def test_results_is_a_tidy_table_from_the_package_itself(call, tiny, tmp_path):
    import icl

    empty = icl.load_results(tmp_path)
    call(*RUN)
    frame = icl.load_results(str(tmp_path))
    report = read_report(only_report(tmp_path))
    assert empty.empty and set(empty.columns) == set(frame.columns) - {"validation_strength"}
    row = frame.iloc[0]
    assert row["accuracy_low"] == report.outcome.metrics["accuracy"].low
    assert row["gc_matched_accuracy"] == report.outcome.gc_matched_accuracy.value
    assert row["validation_accuracy"] == report.outcome.validation["accuracy"]
    assert str(frame["prompt_tokens"].dtype) == "Int64" and frame["prompt_tokens"].isna().all()
    with pytest.raises(InputError, match="no such folder"):
        icl.load_results(tmp_path / "absent")


def test_a_backbone_of_another_alphabet_is_refused(call, tiny, tmp_path):
    shape = HyenaDNAConfig(vocab_size=30, d_model=8, n_layer=1, d_inner=16, max_seq_len=64)
    random_model(shape, 0).save_pretrained(tmp_path / "protein")
    code, _, error = call("task=tiny_rows", "method=zero_shot", f"backbone={tmp_path}/protein")
    assert code == 2 and "Traceback" not in error
    assert "has 30 tokens, those of another alphabet" in error.splitlines()[-1]


def test_the_revision_of_a_backbone_and_how_it_was_read_stand_in_the_report(call, tiny, tmp_path):
    folder = tmp_path / "snapshots" / "0123abc"  # as the Hub's cache lays it out
    config = HyenaDNAConfig(d_model=8, n_layer=1, d_inner=16, max_seq_len=64)
    random_model(config, seed=0).half().save_pretrained(folder)
    words = ("task=tiny_rows", "method=zero_shot")
    assert call(*words, f"backbone={folder}")[0] == 0
    details = read_report(only_report(tmp_path / "runs")).outcome.details
    assert details["backbone_revision"] == "0123abc"
    assert details["backbone_notes"] == ["weights are stored in float16 and read as float32"]


def test_predictions_name_each_row_and_have_its_sequence_if_asked(call, tmp_path):
    letters = np.random.default_rng(0).choice(list("ACGT"), size=(60, 12))
    texts = ["".join(row) for row in letters]
    lines = [f"row {i},{text},{'ab'[i % 2]}" for i, text in enumerate(texts)]
    (tmp_path / "x.csv").write_text("id,sequence,label\n" + "\n".join(lines) + "\n")
    words = ("task=table", "task.train=x.csv", "method=gc_only")
    assert call(*words)[0] == 0
    path = only_report(tmp_path).parent / "predictions.tsv"

    def rows():
        with path.open() as file:
            return list(csv.DictReader(file, delimiter="\t"))

    first = rows()
    assert list(first[0])[-1] == "name"
    assert "already there" in call(*words, "columns=[sequence]")[1]
    for row, before in zip(rows(), first, strict=True):
        assert row["sequence"] == texts[int(row["name"].removeprefix("row "))]
        assert {**before, "sequence": row["sequence"]} == row
    expected = path.read_text()
    assert call(*words, "columns=[sequence]", "force=true")[0] == 0
    assert path.read_text() == expected
    assert only_report(tmp_path).parent == path.parent


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["method.readout=channel"], True),
        (["method.readout=memory"], False),
        ([], False),
        (["method.readout=channel", "backbone=bundled-icl"], False),
        (["method.readout=channel", "control=random_backbone"], False),
    ],
)
def test_a_channel_of_the_default_backbone_names_the_one_that_suits_it(
    call, tiny, tmp_path, words, named
):
    call("task=tiny_rows", "method=few_shot", "k=1", "method.strands=forward", *words)
    notes = read_report(only_report(tmp_path)).outcome.details.get("notes", [])
    assert named == any("backbone=bundled-icl learns more" in note for note in notes)
