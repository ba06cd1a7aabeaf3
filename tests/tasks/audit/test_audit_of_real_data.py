"""The audit finds what is known to be wrong with the real sets, and nothing in the clean ones."""

import numpy as np
import pytest

from backbone.sequence.dna import reverse_complement
from tasks.audit.findings import audit
from tasks.audit.kinship import NEAR, NONE, SAME, find_kinship, kinship
from tasks.audit.wording import lines, verdict
from tasks.catalog import TASKS
from tasks.task import Example


def found_in(name, data, split_seed=0):
    task = TASKS.get(name)
    return audit(task, task.splits(split_seed, data), data)


def named(found):
    return {line.question for line in lines(found) if line.finding}


def score(found, name):
    (one,) = [one for one in found.shortcuts if one.name == name]
    return one.score.value


def test_forty_of_fifty_positive_test_rows_of_human_enhancers_ensembl_are_in_train(shared_data):
    found = found_in("human_enhancers_ensembl", shared_data)
    positive = found.test_by_class["positive"]
    assert (positive["same"], positive["rows"]) == (40, 50)
    assert found.test_by_class["negative"]["same"] == 0
    assert found.overlaps.whole == 40  # by coordinates, which the table has
    assert verdict(found)[0].startswith("LEAK. the same sequence")
    assert found.clean["positive"] == (40, 10)
    assert any("too small" in sentence and "positive 10" in sentence for sentence in verdict(found))


def test_tf_4_has_dev_rows_in_train_and_duplicates_inside_train(shared_data):
    task = TASKS.get("gue_tf_4")
    found = kinship(task.splits(0, shared_data))
    assert (found.val == SAME).sum() == 358 and len(found.val) == 1000
    assert (found.train == SAME).sum() == 3789
    assert (found.test == SAME).sum() == 0


def test_prom_core_tata_has_sixteen_test_rows_in_train(shared_data):
    found = found_in("gue_prom_core_tata", shared_data)
    assert found.relations["test_in_train"]["same"] == 16
    assert found.relations["test_in_train"]["rows"] == 613
    assert "the same sequence" in named(found)


def test_length_alone_tells_the_regulatory_classes_apart(shared_data):
    scores = []
    for split_seed in range(3):
        found = found_in("regulatory_ensembl", shared_data, split_seed)
        assert "length alone" in named(found)
        assert verdict(found)[0].startswith("No leak")
        scores.append(score(found, "length"))
    assert 0.87 < np.mean(scores) < 0.95


def test_enhancer_cohn_has_no_leak_and_gc_content_is_named(shared_data):
    found = found_in("enhancer_cohn", shared_data)
    assert named(found) == {"GC content alone"}
    assert verdict(found)[0].startswith("No leak")
    assert found.relations["test"]["near"] < 0.01 * 1390
    assert score(found, "GC content") == pytest.approx(0.66, abs=0.025)


@pytest.mark.parametrize("name", ["synthetic_easy", "synthetic_hard"])
def test_there_is_nothing_in_the_synthetic_tasks(name):
    found = found_in(name, None)
    assert named(found) == set()
    assert verdict(found)[0] == ("No leak: no test or validation row is a copy of a training row.")


def test_what_is_planted_into_a_real_test_split_is_found(shared_data):
    """Half of the planted rows are reverse complements, half copies with 10 % substitutions."""
    splits = TASKS.get("enhancer_cohn").splits(0, shared_data)
    random = np.random.default_rng(0)

    def substituted(sequence):
        letters = np.array(list(sequence))
        places = random.choice(len(letters), size=len(letters) // 10, replace=False)
        letters[places] = [random.choice([c for c in "ACGT" if c != letters[p]]) for p in places]
        return "".join(letters)

    copied = [splits.train[row] for row in random.choice(len(splits.train), 300, replace=False)]
    planted = [Example(reverse_complement(row.sequence), row.label) for row in copied[:150]]
    planted += [
        Example(substituted(row.sequence if i % 2 else reverse_complement(row.sequence)), row.label)
        for i, row in enumerate(copied[150:])
    ]
    found = find_kinship(splits.train, splits.val, [*splits.test, *planted]).test
    own, of_planted = found[: len(splits.test)], found[len(splits.test) :]
    assert (of_planted[:150] != NONE).mean() >= 0.95
    assert (of_planted[150:] == NEAR).mean() >= 0.95
    assert (own != NONE).mean() <= 0.01
