"""The same work from Python: one call a run, a finished run that predicts, a classifier."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import icl
from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from icl.reporting.report import find_reports


@pytest.fixture
def small(tmp_path):
    """A backbone of random weights, small enough to be read in a blink."""
    folder = tmp_path / "small"
    shape = HyenaDNAConfig(d_model=8, n_layer=1, d_inner=16, max_seq_len=64)
    random_model(shape, 0).save_pretrained(folder)
    return str(folder)


def rows(n=40):
    generator = np.random.default_rng(0)
    shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    labels = [("low", "high")[i % 2] for i in range(n)]
    return [
        "".join(generator.choice(list("ACGT"), size=30, p=shares[i % 2])) for i in range(n)
    ], labels


def test_a_call_gives_the_report_that_the_command_line_writes(call, tiny, tmp_path):
    report = icl.evaluate(
        "tiny_rows", "kmer_logreg", out=str(tmp_path / "py"), options={"method.kmer": 2}
    )
    assert call("task=tiny_rows", "method=kmer_logreg", "method.kmer=2", "out=cli")[0] == 0
    (ours,), (theirs,) = find_reports(tmp_path / "py"), find_reports(tmp_path / "cli")
    assert ours.parent.name == theirs.parent.name
    assert report.outcome.metrics["accuracy"].value > 0.5
    assert len(icl.load_results(tmp_path / "py")) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "tiny_row"}, "unknown task 'tiny_row'; did you mean tiny_rows"),
        ({"method": "kmer_logrg"}, "did you mean kmer_logreg"),
        ({"options": {"method.kmr": 2}}, "unknown option 'method.kmr'; did you mean method.kmer"),
        ({"options": {"method.kmer": "two"}}, "method.kmer: Value 'two'"),
        ({"options": {"method.kmer": 99}}, "method.kmer=99: must be"),
        ({"options": {"k": 3}}, "k: is an argument of evaluate"),
        ({"options": {"seeds": 3}}, "one call is one run"),
        ({"k": 3}, "k=3: method kmer_logreg has neither"),
        ({"control": "random_bakbone"}, "random_bakbone"),
    ],
)
def test_a_mistake_is_an_input_error_and_leaves_nothing(tiny, tmp_path, given, message):
    named = {"task": "tiny_rows", "method": "kmer_logreg", "out": str(tmp_path / "runs")} | given
    with pytest.raises(InputError, match=message):
        icl.evaluate(named.pop("task"), named.pop("method"), **named)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_predicts(tiny, tmp_path):
    icl.evaluate("tiny_rows", "kmer_logreg", out=str(tmp_path), options={"method.kmer": 1})
    (path,) = find_reports(tmp_path)
    run = icl.load_run(path.parent)
    probabilities = run.predict_proba(["GCGCGCGC", "atatatau"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert run.predict(["GCGCGCGC", "ATATATAT"]).tolist() == ["rich", "poor"]
    assert run.report.setup.task == "tiny_rows"
    with pytest.raises(InputError, match="row 1"):
        run.predict(["AC-T"])


def test_a_classifier_learns_and_follows_scikit_learn(small):
    sequences, labels = rows()
    classifier = icl.PromptClassifier("linear_probe", backbone=small)
    assert classifier.fit(sequences, labels) is classifier
    assert classifier.classes_.tolist() == ["high", "low"]
    probabilities = classifier.predict_proba(sequences)
    assert probabilities.shape == (40, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (classifier.predict(sequences) == np.array(labels)).mean() > 0.8
    copy = clone(classifier).set_params(seed=3)
    assert copy.get_params()["method"] == "linear_probe" and copy.get_params()["seed"] == 3
    scores = cross_val_score(icl.PromptClassifier("kmer_logreg"), sequences, labels, cv=2)
    assert scores.mean() > 0.8
    pipeline = make_pipeline(icl.PromptClassifier("kmer_logreg", options={"method.kmer": 1}))
    assert pipeline.fit(np.array(sequences), labels).score(sequences, labels) > 0.8


def test_a_classifier_of_prompts_is_the_same_each_time(small):
    sequences, labels = rows(12)
    made = [
        icl.PromptClassifier("soft_prompt", k=2, backbone=small, options={"method.epochs": 1})
        .fit(sequences, labels)
        .predict_proba(sequences)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    ("changes", "sequences", "labels", "message"),
    [
        ({}, ["ACGT"], ["a", "b"], "1 sequences and 2 labels"),
        ({}, ["ACGT", "ACGA"], ["a", "a"], "at least two classes"),
        ({}, ["ACGT", "AC!A"], ["a", "b"], "row 2"),
        ({}, "ACGT", ["a", "b"], "not one string"),
        ({}, ["ACGT", "ACGA"], ["a", "b"], "too few for validation"),
        ({"validation": 2.0}, ["ACGT", "ACGA"], ["a", "b"], "validation=2.0"),
        ({"method": "kmer_logrg"}, ["ACGT", "ACGA"], ["a", "b"], "did you mean kmer_logreg"),
        ({"options": {"method.lr": 1}}, ["ACGT", "ACGA"], ["a", "b"], "method.lr"),
    ],
)
def test_what_a_classifier_cannot_learn_from_is_refused(changes, sequences, labels, message):
    classifier = icl.PromptClassifier("kmer_logreg").set_params(**changes)
    with pytest.raises(InputError, match=message):
        classifier.fit(sequences, labels)


def test_importing_the_package_loads_neither_torch_nor_pandas():
    script = (
        "import sys, icl; assert 'torch' not in sys.modules and 'pandas' not in sys.modules; "
        "assert set(icl.__all__) <= set(dir(icl)); "
        "assert not callable(icl.results) and not callable(icl.run)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
