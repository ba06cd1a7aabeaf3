"""Tasks of several labels and of numbers, by every method that suits them."""

import json
import math

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.sequence.dna import gc_content
from icl import predict
from icl.baselines.linear import fit_ridge, label_path
from icl.method import Context
from icl.methods.catalog import METHODS
from icl.reporting.report import read_report
from tasks.catalog import TASKS
from tasks.kinds import TASK_KINDS
from tasks.task import Example, Task, make_splits, truth

LABELS = ("many_gc", "starts_with_a")
OPTIONS = {
    "fine_tune": dict(lr=0.01, epochs=3, rows=8),
    "ia3": dict(lr=0.1, epochs=3, rows=8),
    "kmer_logreg": dict(kmers=[1, 2]),
    "lora": dict(lr=0.02, epochs=3, rows=8),
}
CLASSES_ALONE = ("cnn", "deep_prompt", "embedding_knn", "few_shot", "instruction_tuning")
SUITING = [name for name in METHODS.names() if "regression" in METHODS.get(name).kinds]


def rows(kind: str, n: int, seed: int) -> list[Example]:
    """GC content from 0.1 to 0.9 as a number, or whether there is much of it, and the first A."""
    random = np.random.default_rng(seed)
    examples = []
    for share in random.uniform(0.1, 0.9, size=n):
        p = [(1 - share) / 2, share / 2, share / 2, (1 - share) / 2]
        sequence = "".join(random.choice(list("ACGT"), size=40, p=p))
        gc = gc_content(sequence)
        labels = (int(gc > 0.5), int(sequence[0] == "A"))
        examples.append(Example(sequence, 100 + 20 * gc if kind == "regression" else labels))
    return examples


class Rows:
    def splits(self, task, split_seed, data):
        parts = [rows(task.kind, n, seed) for seed, n in enumerate((60, 30, 40), split_seed)]
        return make_splits(task, *parts, origin="drawn for a test")


TASK = {
    "multi_label": Task(
        "gc_and_a", LABELS, Rows(), kind="multi_label", groups={"GC": ("many_gc",)}, metric="auroc"
    ),
    "regression": Task("gc_share", ("gc",), Rows(), kind="regression", metric="pearson"),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for task in TASK.values():
        monkeypatch.setitem(TASKS._values, task.name, task)
    monkeypatch.delenv("ICL_DATA", raising=False)


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=16, n_layer=2, d_inner=32, max_seq_len=300, initializer_range=0.3
    )
    return random_model(shape, seed=3).requires_grad_(False).eval()


def build(name: str, kind: str, model, batch_size: int = 16):
    entry = METHODS.get(name)
    context = Context(TASK[kind].labels, 0, lambda: model, batch_size=batch_size, kind=kind)
    return entry.cls(entry.config(name=name, **OPTIONS.get(name, {})), context)


@pytest.mark.parametrize("kind", TASK)
@pytest.mark.parametrize("name", SUITING)
def test_a_method_learns_repeats_and_gives_back_what_it_learned(name, kind, model):
    train, val, test = (rows(kind, n, seed) for seed, n in enumerate((60, 30, 20)))
    method = build(name, kind, model)
    method.check([*train, *val, *test])
    method.fit(train, val)
    scores = method.scores(test)
    assert scores.shape == (20, len(TASK[kind].labels)) and scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert {"loss", {"multi_label": "auroc", "regression": "r2"}[kind]} <= method.validation.keys()

    once_more = build(name, kind, model, batch_size=3)
    once_more.load_state(method.state())
    np.testing.assert_allclose(once_more.scores(test), scores, atol=1e-6)
    assert once_more.trainable_parameters == method.trainable_parameters

    baseline = build("majority", kind, model)
    baseline.fit(train, val)
    truth_of_test = truth(test)
    before, after = (
        TASK_KINDS[kind].validate(one, truth_of_test)[0] for one in (baseline.scores(test), scores)
    )
    if name in ("gc_only", "kmer_logreg", "linear_probe", "fine_tune", "lora"):
        assert after < 0.9 * before
    if name in ("gc_only", "kmer_logreg") and kind == "regression":
        assert after < 0.05 * before  # the number is linear in the GC content


def test_methods_of_prompts_suit_classes_alone():
    assert {"lora", "fine_tune", "linear_probe", "kmer_logreg", "majority"} <= set(SUITING)
    assert all(METHODS.get(name).kinds == ("classes",) for name in CLASSES_ALONE)


@pytest.mark.parametrize("kind", TASK)
def test_an_unsuitable_pair_is_one_line_that_names_the_methods(kind, call, tmp_path):
    code, _, err = call(f"task={TASK[kind].name}", "method=soft_prompt", "k=1")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith(f"error: method soft_prompt does not support task {TASK[kind].name}")
    assert "linear_probe" in err and "zero_shot" not in err
    assert not (tmp_path / "runs").exists()


def test_a_run_on_labels_reports_their_areas(call, tmp_path):
    words = ("task=gc_and_a", "method=gc_only", "controls=[train_labels_shuffled]")
    code, out, err = call(*words)
    assert code == 0, err
    assert "auroc" in out and "accuracy" not in out
    files = sorted((tmp_path / "runs").rglob("report.json"))
    report = next(r for r in map(read_report, files) if r.setup.control is None)
    assert report.setup.kind == "multi_label" and report.setup.labels == LABELS
    assert list(report.outcome.metrics) == ["auroc", "auprc", "auroc_GC", "auprc_GC"]
    assert report.outcome.metrics["auroc_GC"].value == 1.0
    assert (
        report.outcome.metrics["auroc_GC"].value
        == report.outcome.details["auroc_by_label"]["many_gc"][0]
    )
    assert math.isnan(report.outcome.gc_matched_accuracy.value)
    folder = next(f for f in files if read_report(f).setup.control is None).parent
    lines = (folder / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "row\tlabel\tlog_odds_many_gc\tlog_odds_starts_with_a\tname"
    assert len(lines) == 41 and set(lines[1].split("\t")[1]) <= {"0", "1"}

    (tmp_path / "x.fa").write_text(">one\nGGGGCCCCGGGG\n>two\nAAAATTTTAAAA\n")
    predict.main([f"run={folder}", "fasta=x.fa", "strands=forward"])
    head, one, two = (
        line.split("\t") for line in (tmp_path / "scores.tsv").read_text().split("\n")[:3]
    )
    assert head[-2:] == ["p_many_gc", "p_starts_with_a"] and "predicted" not in head
    assert 1 > float(one[-2]) > 0.9 > 0.1 > float(two[-2]) > 0


def test_a_run_on_numbers_reports_correlations(call, tmp_path):
    code, out, err = call("task=gc_share", "method=gc_only")
    assert code == 0, err
    assert "pearson" in out
    (file,) = (tmp_path / "runs" / "gc_share").rglob("report.json")
    report = json.loads(file.read_text())["outcome"]
    assert report["metrics"]["pearson"]["value"] > 0.99 and report["metrics"]["rmse"]["value"] < 1
    lines = (file.parent / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "row\tlabel\tpredicted\tname"
    first = rows("regression", 40, 2)[0].label
    assert lines[1].split("\t")[1] == str(first)
    assert float(lines[1].split("\t")[2]) == pytest.approx(first, abs=1)


def test_losses_are_those_of_the_definitions():
    scores, labels = np.array([[2.0, -1.0], [0.5, 0.0]]), np.array([[1, 0], [0, 1]])
    p = 1 / (1 + np.exp(-scores))
    expected = -np.mean(np.where(labels == 1, np.log(p), np.log(1 - p)))
    assert TASK_KINDS["multi_label"].validate(scores, labels) == (pytest.approx(expected), 1.0)
    np.testing.assert_allclose(TASK_KINDS["multi_label"].probabilities(scores), p)
    numbers, predicted = np.array([1.0, 3.0]), np.array([[1.5], [2.0]])
    assert TASK_KINDS["regression"].validate(predicted, numbers) == (
        0.625,
        pytest.approx(1 - 0.625 / 1),
    )


def test_linear_fits_are_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression, Ridge

    random = np.random.default_rng(0)
    features = random.normal(5, 3, (50, 4))
    standard = (features - features.mean(0)) / features.std(0)
    present = (standard @ random.normal(size=(4, 2)) + random.normal(size=(50, 2)) > 0).astype(int)
    (fitted,) = label_path(features, present, [0.1], seed=0)
    for label in range(2):
        one = LogisticRegression(C=0.1).fit(standard, present[:, label])
        expected = one.decision_function(standard)
        np.testing.assert_allclose(fitted.scores(features)[:, label], expected, atol=1e-3)
    numbers = standard[:, 0] * 2 + random.normal(size=50)
    ridge = Ridge(alpha=10).fit(standard, numbers)
    np.testing.assert_allclose(
        fit_ridge(features, numbers, strength=0.1).scores(features)[:, 0], ridge.predict(standard)
    )


def test_a_label_that_no_training_row_has_is_unlikely_and_not_impossible():
    present = np.array([[0, 1], [0, 0], [0, 1]])
    (fitted,) = label_path(np.array([[1.0], [2.0], [3.0]]), present, [1.0], seed=0)
    assert fitted.weight[0, 0] == 0 and fitted.bias[0] == pytest.approx(np.log(0.5 / 3.5))


def test_a_regression_needs_the_unit_of_its_numbers(model):
    method = build("fine_tune", "regression", model)
    with pytest.raises(InputError, match="unit"):
        method.load_state({})
