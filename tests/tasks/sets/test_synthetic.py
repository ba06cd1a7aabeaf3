from itertools import product

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.catalog import TASKS
from tasks.registry import build_task, default_options
from tasks.sets.synthetic import MotifGrammar, PlantedMotif, planted_bases
from tasks.sources.published import GeneratedSource

TINY_MOTIF = PlantedMotif(motif="AC", length=6, copies=2, noise=0.3, silent=0.2)
TINY_GRAMMAR = MotifGrammar(first="A", second="C", length=6, near=(0, 1), far=(2, 3), noise=0.4)


@pytest.mark.parametrize("generator", [TINY_MOTIF, TINY_GRAMMAR])
def test_likelihood_ratio_is_a_ratio_of_two_distributions(generator):
    """P1/P0 is 1 on average over class 0, which for the motif is uniform: every sequence once."""
    if generator is TINY_MOTIF:
        everything = ["".join(letters) for letters in product("ACGT", repeat=6)]
        ratio = np.exp(generator.log_likelihood_ratio(everything))
        assert ratio.mean() == pytest.approx(1, abs=1e-9)
    drawn = generator.draw(20_000, np.random.default_rng(0))
    ratio = np.exp(generator.log_likelihood_ratio([e.sequence for e in drawn]))
    labels = np.array([e.label for e in drawn])
    assert ratio[labels == 0].mean() == pytest.approx(1, abs=0.1)
    assert (1 / ratio[labels == 1]).mean() == pytest.approx(1, abs=0.03)


def test_likelihood_ratio_of_the_motif_by_hand():
    """One stretch, two places: the average of the two products of letter odds."""
    generator = PlantedMotif(motif="AC", length=3, copies=1, noise=0.2, silent=0.1)
    hit, miss = 4 * (0.8 + 0.05), 4 * 0.05
    at_first, at_second = hit * hit, miss * miss  # in ACG the motif stands at 0, CG at 1
    expected = 0.1 + 0.9 * (at_first + at_second) / 2
    assert np.exp(generator.log_likelihood_ratio(["ACG"])) == pytest.approx([expected])


def test_likelihood_ratio_of_the_grammar_by_hand():
    generator = MotifGrammar(first="A", second="C", length=3, near=(0, 0), far=(1, 1), noise=0.4)
    hit, miss = 4 * (0.6 + 0.1), 4 * 0.1
    # ACG; class 1: AC at 0 or at 1. Class 0: CA at 0 or at 1; or A, one base, C.
    right = (hit * hit + miss * miss) / 2
    swapped = (miss * miss + hit * miss) / 2
    apart = hit * miss
    expected = right / ((swapped + apart) / 2)
    assert np.exp(generator.log_likelihood_ratio(["ACG"])) == pytest.approx([expected])


@pytest.mark.parametrize("name", ["synthetic_easy", "synthetic_hard"])
def test_best_accuracy_is_that_of_the_likelihood_ratio(name):
    task = TASKS.get(name)
    assert isinstance(task.source, GeneratedSource) and task.best_accuracy
    generator = task.source.generator
    assert isinstance(generator, PlantedMotif | MotifGrammar)
    drawn = generator.draw(8000, np.random.default_rng(11))
    ratio = generator.log_likelihood_ratio([e.sequence for e in drawn])
    labels = np.array([e.label for e in drawn])
    error = np.sqrt(task.best_accuracy * (1 - task.best_accuracy) / 8000)
    assert np.mean((ratio > 0) == labels) == pytest.approx(task.best_accuracy, abs=3.5 * error)
    assert np.all(np.isfinite(ratio))


def kmer_accuracy(name: str, kmer: int) -> float:
    splits = TASKS.get(name).splits(0)
    counts = CountVectorizer(analyzer="char", ngram_range=(kmer, kmer), lowercase=False)
    train = counts.fit_transform([e.sequence for e in splits.train])
    model = LogisticRegression(C=0.1, max_iter=300).fit(train, [e.label for e in splits.train])
    test = counts.transform([e.sequence for e in splits.test])
    return model.score(test, [e.label for e in splits.test])


def test_easy_is_seen_by_counts_of_short_words_and_hard_is_not():
    assert kmer_accuracy("synthetic_easy", 3) > 0.9
    assert kmer_accuracy("synthetic_hard", 3) == pytest.approx(0.5, abs=0.06)


def test_gc_content_says_nothing():
    assert kmer_accuracy("synthetic_easy", 1) == pytest.approx(0.5, abs=0.06)
    rows = TASKS.get("synthetic_hard").splits(0).train
    for a, b in zip(rows[::2], rows[1::2], strict=True):
        assert sorted(a.sequence) == sorted(b.sequence) and a.sequence != b.sequence


@pytest.mark.parametrize("name", ["synthetic_easy", "synthetic_hard"])
def test_splits_are_drawn_anew_for_each_seed_and_the_same_for_the_same(name, tmp_path):
    task = TASKS.get(name)
    splits = task.splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [2000, 400, 1000]
    assert sum(e.label for e in splits.test) == 500
    everything = splits.train + splits.val + splits.test
    assert {len(e.sequence) for e in everything} == {160}
    assert len({e.sequence for e in everything}) == 3400
    assert task.splits(0, tmp_path) == splits
    assert task.splits(1).sha256 != splits.sha256
    assert "split_seed=0" in splits.origin


def test_bases_of_a_planted_motif_by_hand():
    """One stretch of four bases, prior 0.45: in TACT the motif AC stands at 1."""
    generator = PlantedMotif(motif="AC", length=4, copies=1, noise=0.2, silent=0.1)
    hit, miss = 4 * (0.8 + 0.05), 4 * 0.05
    # TACT: starts 0, 1, 2 match 0, 2 and 0 letters; the odds of a copy are 9/11 of their mean.
    odds = 0.45 / 0.55 * (miss**2 + hit**2 + miss**2) / 3
    assert odds / (1 + odds) * hit**2 / (hit**2 + 2 * miss**2) > 0.5
    found = generator.motif_bases(["TACT", "GGGG"])
    assert found.tolist() == [[False, True, True, False], [False] * 4]


def test_bases_of_a_grammar_by_hand():
    generator = MotifGrammar(
        first="AAC", second="GGT", length=9, near=(1, 1), far=(3, 3), noise=0.1
    )
    rows = {"AACTGGTCC": "xxx.xxx..", "CGGTCAACC": ".xxx.xxx.", "AACCCCGGT": "xxx...xxx"}
    for row, expected in rows.items():
        (found,) = generator.motif_bases([row])
        assert "".join(".x"[int(one)] for one in found) == expected


@pytest.mark.parametrize("name", ["synthetic_easy", "synthetic_hard"])
def test_planted_bases_are_those_that_were_drawn(name):
    """Without noise the motifs' own letters stand where the bases are."""
    task = build_task(default_options(name))
    rows = [e.sequence for e in task.split("test", 0)[:200]]
    found = planted_bases(task, rows)
    assert found is not None and found.shape == (200, 160)
    labels = np.array([e.label for e in task.split("test", 0)[:200]])
    counts = found.sum(axis=1)
    if name == "synthetic_easy":
        assert (counts[labels == 0] == 0).all()
        assert set(counts[labels == 1].tolist()) <= {0, 80} and (counts == 80).sum() > 80
    else:
        assert np.median(counts) == 20
    assert planted_bases(task, ["ACGT"]) is None
    assert planted_bases(build_task(default_options("enhancer_cohn")), rows) is None
