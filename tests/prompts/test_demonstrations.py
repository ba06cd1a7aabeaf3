import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import gc_content, reverse_complement
from backbone.sequence.kmers import kmer_frequencies
from prompts.demonstrations import CHOOSERS, ORDERS, Demonstration, DemonstrationChooser, balanced
from prompts.leakage import overlaps
from tasks.task import Example

CLASSES = 3
EVERY_WAY = pytest.mark.parametrize(
    ("chooser", "order"), [(chooser, order) for chooser in CHOOSERS for order in ORDERS]
)
WAYS = st.tuples(st.sampled_from(CHOOSERS), st.sampled_from(ORDERS))
SEEDS = st.integers(0, 2**32 - 1)


def dna(seed: int, length: int) -> str:
    return "".join(np.random.default_rng([9, seed]).choice(list("ACGT"), length))


def rows(first: int, n: int, length: int = 80) -> list[Example]:
    """Random rows, the classes in turn."""
    return [Example(dna(first + i, length), i % CLASSES) for i in range(n)]


def letters(sequences) -> np.ndarray:
    """Stands for the frozen states: shares of A, C and G."""
    return np.array([[s.count(letter) / len(s) for letter in "ACG"] for s in sequences])


def demonstrator(pool, shots, chooser="random", order="random", seed=0) -> DemonstrationChooser:
    return DemonstrationChooser(
        pool, CLASSES, shots, chooser=chooser, order=order, seed=seed, embed=letters
    )


def relatives(query: str) -> list[str]:
    """What must not be shown beside a query: itself, pieces, neighbours, on both strands."""
    forward = [
        query,
        query[10:70],
        query[40:] + dna(2001, 40),
        dna(2002, 40) + query[:40],
        dna(2003, 20) + query + dna(2004, 20),
    ]
    return forward + [reverse_complement(sequence) for sequence in forward]


@settings(max_examples=60, deadline=None)
@given(WAYS, st.integers(0, 4), SEEDS, st.integers(0, 1000))
def test_demonstrations_are_balanced_rows_of_the_pool_and_never_of_the_querys_place(
    way, shots, seed, number
):
    query = dna(10_000 + number, 80)
    leaks = relatives(query)
    # As many rows of each class as are asked for can be shown; all others give the query away.
    pool = rows(number, CLASSES * shots)
    pool += [Example(leak, label) for leak in leaks for label in range(CLASSES)]
    chosen = demonstrator(pool, shots, *way, seed=seed).for_query(query)
    assert len(chosen) == CLASSES * shots and balanced(chosen, CLASSES)
    assert all(pool[d.row] == Example(d.sequence, d.label) for d in chosen)
    assert len({d.row for d in chosen}) == len(chosen)
    assert not {d.sequence for d in chosen} & set(leaks)
    assert not any(overlaps(d.sequence, query) for d in chosen)


@settings(deadline=None)
@given(st.integers(1, 4), SEEDS, st.sampled_from(["random", "alternating"]))
def test_a_fixed_set_is_balanced_and_avoids_what_is_scored(shots, seed, order):
    scored = [dna(i, 80) for i in range(500, 503)]
    leaks = [leak for sequence in scored for leak in relatives(sequence)]
    pool = [Example(leak, label) for leak in leaks for label in range(CLASSES)]
    pool += rows(0, CLASSES * shots)
    chosen = demonstrator(pool, shots, order=order, seed=seed).fixed(avoid=scored)
    assert balanced(chosen, CLASSES)
    assert sorted(d.row for d in chosen) == list(range(len(pool) - CLASSES * shots, len(pool)))


@EVERY_WAY
def test_a_set_depends_on_its_query_and_not_on_the_queries_before(chooser, order):
    pool, queries = rows(0, 60), [dna(i, 80) for i in range(500, 506)]
    one = demonstrator(pool, 2, chooser, order)
    forwards = [one.for_query(query) for query in queries]
    backwards = [one.for_query(query) for query in reversed(queries)]
    assert forwards == backwards[::-1]
    assert forwards == [demonstrator(pool, 2, chooser, order).for_query(q) for q in queries]
    assert len(set(forwards)) > 1


@pytest.mark.parametrize("order", ["random", "alternating"])
def test_the_seed_draws_the_set(order):
    pool, query = rows(0, 60), dna(500, 80)
    sets = [demonstrator(pool, 2, order=order, seed=seed) for seed in (0, 0, 1)]
    assert sets[0].fixed() == sets[1].fixed() != sets[2].fixed()
    assert sets[0].for_query(query) == sets[1].for_query(query) != sets[2].for_query(query)


def test_every_row_may_be_drawn():
    pool = rows(0, 12)
    drawn = {d.row for seed in range(60) for d in demonstrator(pool, 1, seed=seed).fixed()}
    assert drawn == set(range(12))


def ranked(values: np.ndarray, pool, shots: int) -> set[int]:
    """The rows of the least values in each class."""
    return {
        row
        for label in range(CLASSES)
        for row in sorted(
            (i for i, e in enumerate(pool) if e.label == label), key=lambda i: values[i]
        )[:shots]
    }


@pytest.mark.parametrize("number", range(500, 505))
def test_the_nearest_rows_of_each_class_are_chosen(number):
    pool, query = rows(0, 60), dna(number, 80)
    sequences = [e.sequence for e in pool]

    def distances(embed) -> np.ndarray:
        a, b = embed(sequences), embed([query])[0]
        return np.array([1 - x @ b / np.sqrt((x @ x) * (b @ b)) for x in a])

    def shown(chooser) -> set[int]:
        return {d.row for d in demonstrator(pool, 2, chooser).for_query(query)}

    assert shown("nearest") == ranked(distances(kmer_frequencies), pool, 2)
    assert shown("nearest_embedding") == ranked(distances(letters), pool, 2)


def rearranged(sequence: str) -> str:
    """Nearly the same words of four letters; no relative, since no piece of 30 is left."""
    return sequence[20:40] + sequence[:20] + sequence[60:] + sequence[40:60]


def test_the_nearest_row_of_a_rearranged_query_is_its_original():
    pool = rows(0, 30)
    for chooser in ("nearest", "diverse"):
        one = demonstrator(pool, 1, chooser, "nearest_last")
        assert one.for_query(rearranged(pool[4].sequence))[-1].row == 4


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_an_edited_copy_of_a_query_is_no_demonstration(chooser):
    pool = rows(0, 9)
    query = pool[4].sequence[:39] + "ACCA" + pool[4].sequence[43:]
    assert 4 not in {d.row for d in demonstrator(pool, 2, chooser).for_query(query)}
    assert 4 not in {d.row for d in demonstrator(pool, 2).fixed(avoid=[query])}


def test_matched_rows_have_the_querys_gc_content_and_length():
    pool = [
        Example(text, label)
        for label in range(CLASSES)
        for text in (dna(label, 40), "AT" * 20 + dna(label, 20), "GC" * 20 + dna(label, 20))
    ]
    query = "TA" * 20 + dna(500, 20)
    shown = demonstrator(pool, 1, "matched").for_query(query)
    assert {len(d.sequence) for d in shown} == {60}
    assert all(abs(gc_content(d.sequence) - gc_content(query)) < 0.15 for d in shown)


def test_diverse_rows_follow_maximal_marginal_relevance():
    pool, query = rows(0, 30), dna(500, 80)
    vectors = kmer_frequencies([e.sequence for e in pool] + [query])
    cosine = vectors @ vectors.T
    cosine /= np.sqrt(np.outer(np.diag(cosine), np.diag(cosine)))
    chosen: list[int] = []
    for _ in range(3):
        for label in range(CLASSES):
            left = [i for i, e in enumerate(pool) if e.label == label and i not in chosen]
            gain = [cosine[i, 30] - max((cosine[i, j] for j in chosen), default=0) for i in left]
            chosen.append(left[int(np.argmax(gain))])
    shown = {d.row for d in demonstrator(pool, 3, "diverse").for_query(query)}
    assert shown == set(chosen)
    assert shown != {d.row for d in demonstrator(pool, 3, "nearest").for_query(query)}


def test_a_copy_is_not_chosen_twice_where_demonstrations_are_diverse():
    query = dna(500, 80)
    near = rearranged(query)
    pool = [Example(near, label) for label in range(CLASSES) for _ in range(2)] + rows(0, 30)
    nearest = demonstrator(pool, 2, "nearest").for_query(query)
    diverse = demonstrator(pool, 2, "diverse").for_query(query)
    assert [d.sequence for d in nearest].count(near) == 2 * CLASSES
    assert [d.sequence for d in diverse].count(near) < CLASSES + 1


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_the_most_similar_stands_last(chooser):
    pool, query = rows(0, 60), dna(500, 80)
    shown = demonstrator(pool, 3, chooser, "nearest_last").for_query(query)
    texts = [d.sequence for d in shown]
    if chooser == "matched":  # one length, so GC content alone
        nearness = [-abs(gc_content(t) - gc_content(query)) for t in texts]
    else:
        embed = letters if chooser == "nearest_embedding" else kmer_frequencies
        *vectors, wanted = embed([*texts, query])
        nearness = [v @ wanted / np.sqrt(v @ v) for v in vectors]
    assert np.all(np.diff(nearness) >= -1e-12)


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_alternating_labels_come_in_equal_rounds_of_a_drawn_order(chooser):
    pool, query = rows(0, 60), dna(500, 80)
    first = set()
    for seed in range(30):
        one = demonstrator(pool, 3, chooser, "alternating", seed)
        labels = [d.label for d in one.for_query(query)]
        assert sorted(labels[:CLASSES]) == list(range(CLASSES))
        assert labels == labels[:CLASSES] * 3
        first.add(tuple(labels[:CLASSES]))
    assert len(first) == 6


def test_the_nearest_of_each_class_stand_in_the_last_round():
    pool, query = rows(0, 60), dna(500, 80)
    last = demonstrator(pool, 3, "nearest", "alternating").for_query(query)[-CLASSES:]
    best = demonstrator(pool, 1, "nearest").for_query(query)
    assert {d.row for d in last} == {d.row for d in best}


def test_a_random_order_is_no_order():
    pool, query = rows(0, 60), dna(500, 80)
    sets = [demonstrator(pool, 2, "nearest", seed=seed).for_query(query) for seed in range(20)]
    assert len(set(sets)) > 10 and len({frozenset(shown) for shown in sets}) == 1


def test_no_shots_show_nothing():
    one = demonstrator([], 0, "nearest", "nearest_last")
    assert one.for_query("ACGT") == () and demonstrator([], 0).fixed() == ()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"chooser": "best"}, "method.chooser=best: must be one of random, nearest"),
        ({"order": "best"}, "method.order=best: must be one of random, nearest_last"),
        ({"chooser": "nearest_embedding"}, "needs a backbone"),
    ],
)
def test_options_that_are_none_are_refused(options, part):
    with pytest.raises(InputError, match=part):
        DemonstrationChooser(rows(0, 9), CLASSES, 1, **options)


def test_too_few_rows_are_refused_with_the_numbers():
    with pytest.raises(InputError, match="shots=4: class 0 has 3 rows .* of 3 in the pool"):
        demonstrator(rows(0, 9), 4)
    with pytest.raises(InputError, match="shots=-1"):
        demonstrator(rows(0, 9), -1)


@pytest.mark.parametrize("chooser", CHOOSERS)
def test_rows_that_give_the_query_away_are_not_counted(chooser):
    pool = rows(0, 9)
    query = pool[4].sequence  # a row of class 1
    with pytest.raises(InputError, match="shots=3: class 1 has 2 rows .* of 3 in the pool"):
        demonstrator(pool, 3, chooser).for_query(query)


def test_a_fixed_set_is_refused_where_rows_or_a_query_are_missing():
    pool = rows(0, 9)
    with pytest.raises(InputError, match="class 1 has 2 rows"):
        demonstrator(pool, 3).fixed(avoid=[pool[4].sequence])
    with pytest.raises(InputError, match="method.chooser=nearest chooses for each query"):
        demonstrator(pool, 1, "nearest").fixed()
    with pytest.raises(InputError, match="method.order=nearest_last orders for each query"):
        demonstrator(pool, 1, order="nearest_last").fixed()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [((0, 1, 1, 0), 2, True), ((0, 1, 1), 2, False), ((0, 0), 2, False), ((0, 2), 2, False),
     ((), 2, True)],
)  # fmt: skip
def test_balance_by_hand(labels, classes, expected):
    assert balanced([Demonstration("A", label, 0) for label in labels], classes) is expected
