"""The Markov baseline: counts by hand, the choice of the order, both strands."""

import numpy as np
import pytest

from backbone.pretraining.markov import MarkovModel
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.method import Context
from icl.methods.markov import ORDERS, MarkovReader
from prompts.template import ClassTemplate
from prompts.verbalizer import verbalizer
from tasks.task import Example


def reader(rows: list[tuple[str, int]], order: str, normalisation: str = "sum") -> MarkovReader:
    """A reader of these demonstrations, all of them."""
    shots = len(rows) // 2
    context = Context(("a", "b"), 0, lambda: None, shots=shots)
    shown = DemonstrationSet(DemonstrationConfig(), context, lambda: 10_000, ClassTemplate)
    shown.draw([Example(*row) for row in rows], verbalizer(2, None), longest=100)
    return MarkovReader(shown, 2, order, normalisation)


def letters(sequence: str) -> np.ndarray:
    return np.frombuffer(sequence.encode(), dtype=np.uint8)


def test_scores_of_order_0_by_hand():
    made = reader([("AAAC", 0), ("GGCC", 1)], "0")
    # Class a, both strands: A 3, C 1, G 1, T 3. Witten and Bell: (count + 4 / 4) / (8 + 4).
    # Class b, both strands: C 4, G 4: two kinds, so (count + 2 / 4) / (8 + 2).
    expected = [np.log(4 / 12) + np.log(2 / 12), np.log(0.5 / 10) + np.log(4.5 / 10)]
    found = made.likelihood(letters("GANC"), made.chains)  # the first base and N do not count
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("normalisation", "divisor"), [("sum", 1), ("base", 4), ("sqrt", 2)])
def test_normalisations_divide_by_the_counted_bases(normalisation, divisor):
    rows = [("ACGTA", 0), ("GGCCA", 1)]
    plain = reader(rows, "1")
    made = reader(rows, "1", normalisation)
    query = letters("ACGTA")
    found, whole = made.likelihood(query, made.chains), plain.likelihood(query, plain.chains)
    np.testing.assert_allclose(found, whole / divisor)


def test_the_order_is_the_one_that_recognises_what_was_left_out():
    """Both classes have the same composition and differ in what follows what."""
    alternating = [("ACGT" * 10, 0), ("CGTA" * 10, 0), ("GTAC" * 10, 0)]
    blocks = [("A" * 10 + "C" * 10 + "G" * 10 + "T" * 10, 1)] * 2 + [("AACCGGTT" * 5, 1)]
    assert reader([*alternating, *blocks], "auto").order >= 1


def test_one_demonstration_of_each_class_is_left_out_at_a_time():
    random = np.random.default_rng(3)
    shares = ([0.4, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.4])
    rows = [("".join(random.choice(list("ACGT"), 30, p=shares[i % 2])), i % 2) for i in range(8)]
    made = reader(rows, "auto")
    losses = []
    for order in ORDERS:
        loss = 0.0
        for left_out in range(4):
            rest = [r[:left_out] + r[left_out + 1 :] for r in made._rows]
            chains = [MarkovModel(order).fit(of_class) for of_class in rest]
            for label in (0, 1):
                scores = made.likelihood(made._rows[label][left_out], chains)
                loss += np.logaddexp.reduce(scores) - scores[label]
        losses.append(loss)
    assert made.order == ORDERS[int(np.argmin(losses))]


def test_one_demonstration_a_class_leaves_nothing_to_leave_out():
    assert reader([("ACGT", 0), ("GGCC", 1)], "auto").order == 2


def test_both_strands_are_averaged():
    made = reader([("AAACA", 0), ("GGTCC", 1)], "1")
    forward = made.queries([Example("AACG", 0)], "forward").answers()[0]
    backward = made.queries([Example("CGTT", 0)], "forward").answers()[0]
    both = made.queries([Example("AACG", 0)], "both").answers()[0]
    mean = (forward + backward) / 2
    np.testing.assert_allclose(both, mean - np.logaddexp.reduce(mean, axis=1, keepdims=True))
