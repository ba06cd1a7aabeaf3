"""Probes: what is asked can be told from what is shown, and from nothing else."""

from collections import Counter

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from tasks.catalog import PROBES
from tasks.probes.boolean import FUNCTIONS, BitFunction
from tasks.probes.copying import Copying
from tasks.probes.probe import Episode, Pair, Passage, flipped, mode_accuracy
from tasks.probes.recall import Recall

EPISODES = 400


def episodes(generator, shots, n=EPISODES):
    return [generator.draw(shots, np.random.default_rng([7, row])) for row in range(n)]


def by_reading(drawn):
    """The answer of one who looks it up in what is shown."""
    if isinstance(drawn, Episode):
        return dict((p.sequence, p.answer) for p in drawn.demonstrations)[drawn.queries[0].sequence]
    earlier = drawn.text[: -len(drawn.query)]
    if drawn.strand == "+":
        return earlier[earlier.index(drawn.query) + len(drawn.query)]
    return reverse_complement(earlier[earlier.index(reverse_complement(drawn.query)) - 1])


READABLE = {"recall": "AT", "copy": "ACGT", "copy_reverse_complement": "ACGT"}


@pytest.mark.parametrize(("name", "letters"), READABLE.items())
def test_a_reader_is_right_follows_flipped_answers_and_is_at_chance_with_shuffled_ones(
    name, letters
):
    probe = PROBES.get(name)
    assert probe.letters == letters
    drawn = episodes(probe.generator, 2)
    right = [one.answer for one in drawn]
    assert [by_reading(one) for one in drawn] == right
    follows = [by_reading(one.flipped(letters)) for one in drawn]
    assert follows == [flipped(answer, letters) for answer in right]
    random = np.random.default_rng(0)
    shuffled = [by_reading(one.shuffled(letters, random)) for one in drawn]
    chance = 1 / len(letters)
    hits = np.mean([a == b for a, b in zip(shuffled, right, strict=True)])
    assert hits == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / EPISODES))


@pytest.mark.parametrize("name", PROBES.names())
def test_an_episode_is_a_function_of_its_generator_and_all_are_of_one_length(name):
    probe = PROBES.get(name)
    assert len({len(word) for word in probe.words}) == 1
    again = episodes(probe.generator, 2, n=20)
    assert episodes(probe.generator, 2, n=20) == again
    assert len(set(map(str, again))) == 20
    for one in again:
        assert one.answer in probe.words
        if isinstance(one, Episode):
            assert {p.answer for p in one.demonstrations} <= set(probe.words)
    shape = {
        len(one.text) if isinstance(one, Passage) else len("".join(map(str, one.demonstrations)))
        for one in again
    }
    assert len(shape) == 1


def test_recall_shows_each_word_equally_often_and_each_key_once():
    for one in episodes(Recall(words=("A", "T"), key=2), 4):
        keys = [pair.sequence for pair in one.demonstrations]
        assert len(set(keys)) == 8 and {len(key) for key in keys} == {2}
        assert Counter(pair.answer for pair in one.demonstrations) == {"A": 4, "T": 4}
        assert one.queries[0] in one.demonstrations
        assert one.mode_accuracy() == 0.5


def test_a_key_has_no_word_of_its_own():
    drawn = episodes(Recall(key=1), 2, n=2000)
    for key in "ACGT":
        answers = [one.answer for one in drawn if one.queries[0].sequence == key]
        assert answers.count("A") / len(answers) == pytest.approx(0.5, abs=0.1)
    places = Counter(one.demonstrations.index(one.queries[0]) for one in drawn)
    assert min(places.values()) > 400  # of 2000, at four places


def test_queries_of_one_episode_say_nothing_about_one_another():
    """With replacement: the answers that are left over cannot be counted."""
    random = np.random.default_rng(0)
    drawn = [Recall(key=1).draw(2, random, queries=4) for _ in range(500)]
    alike = np.mean([one.queries[0] == one.queries[1] for one in drawn])
    assert alike == pytest.approx(1 / 4, abs=0.08)


def test_without_demonstrations_the_query_stands_alone():
    one = Recall().draw(0, np.random.default_rng(0))
    assert one.demonstrations == () and one.answer in ("A", "T")
    passage = Copying().draw(0, np.random.default_rng(0))
    assert passage.text.endswith(passage.query) and passage.text.count(passage.query) == 1


def test_more_pairs_than_keys_are_refused():
    with pytest.raises(InputError, match="shots=9: 18 pairs .* there are 16 of 2 bases"):
        Recall(key=2).draw(9, np.random.default_rng(0))
    with pytest.raises(InputError, match="there are 256; give fewer shots"):
        PROBES.get("boolean").generator.draw(256, np.random.default_rng(0))


def test_copies_stand_where_they_should():
    one = Passage(("GG" + "AC", "TT" + "CC"), "G", "+", "AC", "G")
    assert one.text == "GGAC" + "G" + "TTCC" + "AC"
    assert one.flipped("ACGT").text == "GGAC" + "T" + "TTCC" + "AC"
    other = Passage(("AA", "GTCC"), "G", "-", "AC", "G")  # of ACGTT, the other strand is AACGT
    assert other.text == "AA" + "C" + "GTCC" + "AC"
    assert other.flipped("ACGT").text == "AA" + "A" + "GTCC" + "AC"
    for strand in "+-":
        copies = Copying(strand, unit=10, lead=4, apart=3).draw(2, np.random.default_rng(1))
        assert len(copies.text) == 3 * 3 + 2 * 10 + 4
        first, second = copies.text[3:13], copies.text[16:26]
        assert first == second
        unit = first if strand == "+" else reverse_complement(first)
        assert copies.query + copies.answer in unit


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", "10110001"),
        ("not", "01001110"),
        ("reverse", "10001101"),
        ("rotate_left", "01100011"),
        ("rotate_right", "11011000"),
        ("swap_halves", "00011011"),
        ("shift_left", "01100010"),
        ("shift_right", "01011000"),
        ("parity", "00000000"),
        ("majority", "00000000"),
        ("prefix_parity", "11011110"),
        ("neighbours_differ", "11010010"),
    ],
)
def test_functions_of_8_bits_by_hand(name, expected):
    bits = np.array([int(bit) for bit in "10110001"])
    assert "".join(map(str, FUNCTIONS[name](bits))) == expected
    assert set(FUNCTIONS) == {
        registered.removeprefix("boolean_")
        for registered in PROBES.names()
        if registered.startswith("boolean_") and registered != "boolean_composed"
    }


def test_parity_and_majority_of_an_odd_and_a_rich_input():
    ones = np.array([1, 1, 1, 1, 1, 0, 0, 0])
    assert FUNCTIONS["parity"](ones).tolist() == [1] * 8
    assert FUNCTIONS["majority"](ones).tolist() == [1] * 8


def test_one_function_answers_a_whole_episode_and_no_input_comes_twice():
    swap = str.maketrans("AC", "CA")
    only_not = BitFunction({"not": FUNCTIONS["not"]})
    for one in episodes(only_not, 8, n=50):
        pairs = [*one.demonstrations, *one.queries]
        assert all(pair.answer == pair.sequence.translate(swap) for pair in pairs)
        assert len({pair.sequence for pair in pairs}) == 9
        assert one.flipped("AC").demonstrations[0].answer == one.demonstrations[0].sequence
        assert one.flipped("AC").queries == one.queries
    both = BitFunction({"not": FUNCTIONS["not"], "reverse": FUNCTIONS["reverse"]}, applied=2)
    for one in episodes(both, 2, n=10):
        pair = one.queries[0]
        assert pair.answer == pair.sequence.translate(swap)[::-1]


def test_the_mode_is_the_most_frequent_answer_with_ties_at_random():
    assert mode_accuracy(["A", "A", "T"], "A") == 1.0
    assert mode_accuracy(["A", "A", "T"], "T") == 0.0
    assert mode_accuracy(["A", "T", "C", "C", "T"], "T") == 0.5
    assert np.isnan(mode_accuracy([], "T"))
    constant = [one.mode_accuracy() for one in episodes(PROBES.get("boolean_parity").generator, 7)]
    assert np.mean(constant) == pytest.approx(0.5, abs=0.1)
    assert (
        np.mean([one.mode_accuracy() for one in episodes(PROBES.get("boolean").generator, 7)]) < 0.3
    )


def test_shuffling_keeps_the_answers_that_are_shown():
    shown = tuple(Pair(sequence, answer) for sequence, answer in zip("ACGT", "AATT", strict=True))
    episode = Episode(shown, (Pair("A", "A"),))
    shuffled = [episode.shuffled("AT", np.random.default_rng(seed)) for seed in range(20)]
    for one in shuffled:
        assert [pair.sequence for pair in one.demonstrations] == list("ACGT")
        assert sorted(pair.answer for pair in one.demonstrations) == list("AATT")
        assert one.queries == episode.queries
    assert len({str(one) for one in shuffled}) > 3
