"""Classifiers on given features, beside scikit-learn and values by hand."""

import numpy as np
import pytest

from backbone.common.errors import InputError
from experiments.embed.classifiers import CLASSIFIERS, boosting, logistic
from experiments.embed.projection import project
from icl.baselines.linear import choose_logistic


def rows(n: int, seed: int, classes: int = 2, absent: int | None = None):
    """Class c is where the first feature lies in the c-th of equal parts; the second is noise."""
    random = np.random.default_rng(seed)
    features = random.random((n, 2))
    if absent is not None:
        features = features[(features[:, 0] * classes).astype(int) != absent]
    return features, (features[:, 0] * classes).astype(int)


@pytest.mark.parametrize("name", list(CLASSIFIERS))
@pytest.mark.parametrize("classes", [2, 3])
def test_what_features_say_is_found(name, classes):
    test, labels = rows(300, 2, classes)
    scores = CLASSIFIERS[name](rows(400, 0, classes), rows(100, 1, classes), test, classes, 0)
    assert scores.shape == (300, classes)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-9)
    assert (scores.argmax(axis=1) == labels).mean() > 0.93


def test_boosting_finds_what_no_line_divides():
    def inside(n, seed):
        features = np.random.default_rng(seed).random((n, 2))
        return features, (abs(features - 0.5).max(axis=1) < 0.3).astype(int)

    test, labels = inside(400, 2)
    train, val = inside(600, 0), inside(200, 1)
    accuracy = {
        name: (fit(train, val, test, 2, 0).argmax(axis=1) == labels).mean()
        for name, fit in CLASSIFIERS.items()
    }
    assert accuracy["boosting"] > 0.9 > 0.75 > accuracy["logistic"]


@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_a_class_that_training_lacks_is_never_the_answer(name):
    train, val = rows(200, 0, 3, absent=1), rows(60, 1, 3, absent=1)
    scores = CLASSIFIERS[name](train, val, rows(50, 2, 3)[0], 3, 0)
    assert scores.shape == (50, 3) and set(scores.argmax(axis=1)) == {0, 2}


def test_logistic_is_the_one_that_validation_chooses():
    train, val, test = rows(80, 0), rows(40, 1), rows(30, 2)[0]
    expected = choose_logistic(train, val, n_classes=2, seed=0).model.scores(test)
    assert np.array_equal(logistic(train, val, test, 2, 0), expected)


def test_boosting_repeats():
    one, again = (boosting(rows(80, 0), rows(40, 1), rows(30, 2)[0], 2, 0) for _ in range(2))
    assert np.array_equal(one, again)


def test_the_map_keeps_groups_apart():
    random = np.random.default_rng(0)
    centres = np.repeat(10 * random.normal(size=(2, 20)), 30, axis=0)
    places = project(centres + random.normal(size=(60, 20)), "tsne", 0)
    assert places.shape == (60, 2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(axis=1)
    assert ((nearest < 30) == (np.arange(60) < 30)).all()


def test_a_map_of_three_rows_is_refused():
    with pytest.raises(InputError, match="at least four rows, and there are 3"):
        project(np.eye(3), "tsne", 0)


def test_umap_says_how_to_come_by_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'genomic-icl\[umap\]'"):
        project(np.random.default_rng(0).random((9, 3)), "umap", 0)
