"""Streams of related windows: what the windows of a row share, and what nobody may draw."""

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.pretraining.related import synthetic
from backbone.pretraining.related.genomes import NOWHERE, Genomes, Runs, Stretch, read_genomes
from backbone.pretraining.related.genomic import mean_weight, mutated
from backbone.pretraining.related.source import STREAMS
from backbone.pretraining.related.stream import Stream, read_mixture, related_stream
from backbone.pretraining.windows import divide


def codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def random_codes(seed: int, length: int, letters: str = "ACGT") -> np.ndarray:
    return codes("".join(np.random.default_rng(seed).choice(list(letters), size=length)))


@pytest.fixture
def two_genomes() -> Genomes:
    """One genome of A and T alone, and one of C and G alone; a third of both is masked."""
    masked = Runs(np.array([0, 5_000]), np.array([2_000, 6_000]))
    return Genomes(
        [
            Stretch("at", random_codes(0, 9_000, "AT"), masked),
            Stretch("cg", random_codes(1, 9_000, "CG"), masked),
        ]
    )


@pytest.mark.parametrize("name", STREAMS)
def test_a_draw_is_a_function_of_the_generator_and_has_the_lengths_asked_for(name, two_genomes):
    family = STREAMS[name](two_genomes)
    lengths = [40, 70, 55]
    first, again, other = (
        family.windows(np.random.default_rng(seed), lengths) for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert [len(window) for window in first] == lengths
    assert set(np.concatenate(first)) <= set(b"ACGT")


@pytest.mark.parametrize("name", STREAMS)
def test_the_windows_of_a_row_fill_it_with_separators_between(name, two_genomes):
    family = STREAMS[name](two_genomes)
    for seed in range(20):
        lengths = family.lengths(np.random.default_rng(seed), 1000)
        assert sum(lengths) + len(lengths) - 1 in (1000, 999)
        assert all(length > 0 for length in lengths)


@pytest.mark.parametrize("name", ["neighbourhood", "genome"])
def test_windows_of_a_row_come_from_one_genome(name, two_genomes):
    family = STREAMS[name](two_genomes)
    for seed in range(10):
        letters = set(np.concatenate(family.windows(np.random.default_rng(seed), [50] * 8)))
        assert letters in (set(b"AT"), set(b"CG"))


def test_a_neighbourhood_is_a_span_of_its_record():
    # Position i is written in four bases, so that a window tells where it comes from.
    record = codes("".join("".join("ACGT"[i >> 2 * d & 3] for d in range(8)) for i in range(4_000)))
    family = STREAMS["neighbourhood"](Genomes([Stretch("g", record)]))
    spans = []
    text = record.tobytes()
    for seed in range(30):
        windows = family.windows(np.random.default_rng(seed), [60] * 10)
        both = [
            (w.tobytes(), w.tobytes()[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA")))
            for w in windows
        ]
        starts = [max(text.find(one), text.find(other)) for one, other in both]
        assert min(starts) >= 0
        spans.append(max(starts) - min(starts))
    assert min(spans) < 4_000 < max(spans)


def test_enriched_windows_are_rich_in_the_same_kmers():
    """The pool's best windows under one weighting: they resemble each other more than chance."""
    genomes = Genomes([Stretch("g", random_codes(5, 200_000))])

    def spread(name: str) -> float:
        found = []
        for seed in range(40):
            windows = STREAMS[name](genomes).windows(np.random.default_rng(seed), [100] * 10)
            counts = np.array([np.bincount(w, minlength=85)[[65, 67, 71, 84]] for w in windows])
            found.append(counts.mean(axis=0).std())
        return float(np.mean(found))

    assert spread("enriched") > 1.3 * spread("genome")


def test_mean_weight_counts_known_kmers_alone():
    weights = np.arange(16.0)  # AA is 0, AC is 1, CA is 4, GT is 11
    assert mean_weight(codes("AACA"), weights, 2) == pytest.approx((0 + 1 + 4) / 3)
    assert mean_weight(codes("ACNGT"), weights, 2) == pytest.approx((1 + 11) / 2)
    assert mean_weight(codes("NN"), weights, 2) == 0
    assert mean_weight(codes("A"), weights, 2) == 0


def test_relatives_differ_by_their_divergence():
    ancestor = random_codes(0, 20_000)
    copy = mutated(np.random.default_rng(1), ancestor, 0.3, 20_000)
    # Deletions shift the copy: compare up to the first one is too short, so look at its length.
    assert len(copy) == pytest.approx(20_000 * (1 - 0.03), rel=0.01)
    same = mutated(np.random.default_rng(1), ancestor, 0.0, 20_000)
    assert np.array_equal(same, ancestor)


def test_a_sampled_chain_has_its_own_probabilities():
    random = np.random.default_rng(0)
    chain = synthetic.random_chain(random, 2)
    assert chain.shape == (16, 4)
    assert np.allclose(chain.sum(axis=1), 1)
    window = synthetic.sample(random, chain, [200_000, 5])[0]
    numbers = np.searchsorted(codes("ACGT"), window)
    contexts = 4 * numbers[:-2] + numbers[1:-1]
    counts = np.zeros((16, 4))
    np.add.at(counts, (contexts, numbers[2:]), 1)
    often = counts.sum(axis=1) > 3_000
    seen = counts[often] / counts[often].sum(axis=1, keepdims=True)
    assert np.abs(seen - chain[often]).max() < 0.03


def test_runs_count_and_number_the_positions_that_an_array_marks():
    marked = np.array([1, 1, 0, 0, 1, 0, 1, 1, 1], dtype=bool)
    runs = Runs.where(marked)
    assert runs.starts.tolist() == [0, 4, 6]
    assert [runs[number] for number in range(len(runs))] == [0, 1, 4, 6, 7, 8]
    assert [runs.others(9)[number] for number in range(3)] == [2, 3, 5]
    for start in range(10):
        for end in range(start, 10):
            assert runs.within(start, end) == marked[start:end].sum()
    assert len(NOWHERE) == NOWHERE.within(0, 9) == 0
    assert (NOWHERE.others(9).starts.tolist(), NOWHERE.others(9).ends.tolist()) == ([0], [9])
    assert len(Runs.where(np.ones(3, dtype=bool)).others(3)) == 0


@pytest.fixture
def soft_masked(tmp_path, monkeypatch) -> Genomes:
    """Repeats of A and T in lower case, 300 and 40 bases long, in a genome of C and G."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    parts = [
        "".join(random.choice(list(letters), size=length))
        for letters, length in (("CG", 500), ("at", 300), ("CG", 700), ("at", 40), ("CG", 460))
    ]
    (tmp_path / "masked.fa").write_text(f">one\n{''.join(parts)}\n>two\n{'ACGT' * 50}\n")
    genomes = read_genomes({"g": divide([str(tmp_path / "masked.fa")])}, "train")
    assert genomes is not None
    return genomes


def test_soft_masked_letters_are_capitals_for_every_stream_and_their_runs_are_kept(soft_masked):
    one, two = soft_masked.stretches
    assert set(np.unique(one.letters)) == set(b"ACGT")
    assert one.masked.starts.tolist() == [500, 1_500]
    assert one.masked.ends.tolist() == [800, 1_540]
    assert len(two.masked) == 0
    for name in STREAMS:
        drawn = STREAMS[name](soft_masked).windows(np.random.default_rng(0), [50] * 4)
        assert set(np.concatenate(drawn)) <= set(b"ACGT")


def test_a_pair_of_strata_lies_inside_repeats_and_between_them(soft_masked):
    family = STREAMS["repeats"](soft_masked)

    def weak(window: np.ndarray) -> float:
        return float(np.isin(window, codes("AT")).mean())

    for seed in range(20):
        repeats, rest = family.pair(np.random.default_rng(seed), [60] * 8, [60] * 8)
        assert min(map(weak, repeats)) >= 0.5
        # The second record is all capitals, and half of its bases are A or T.
        assert max(map(weak, rest)) <= 0.5
    single = {
        min(map(weak, family.windows(np.random.default_rng(seed), [60] * 4))) >= 0.5
        for seed in range(20)
    }
    assert single == {True, False}


def test_windows_of_repeats_may_be_longer_than_repeats_and_than_regions(soft_masked):
    family = STREAMS["repeats"](soft_masked)
    repeats, rest = family.pair(np.random.default_rng(0), [1_000] * 4, [5_000] * 4)
    assert {len(window) for window in repeats} == {1_000}
    assert {len(window) for window in rest} <= {200, 2_000}


@pytest.mark.parametrize("masked", [NOWHERE, NOWHERE.others(100)])
def test_repeats_that_nothing_marks_are_refused(masked):
    with pytest.raises(InputError, match="there are none; give such FASTA files"):
        STREAMS["repeats"](Genomes([Stretch("g", codes("ACGT" * 25), masked)]))


def test_excluded_and_unknown_stretches_are_passed_over():
    letters = random_codes(0, 1_000, "C").copy()
    letters[100:900] = ord("N")
    genomes = Genomes([Stretch("g", letters)], max_unknown=0)
    random = np.random.default_rng(0)
    drawn = [genomes.anywhere(random, 20, None) for _ in range(200)]
    # A sixth of all places is free of N, so that 20 attempts fail in 3 % of the draws.
    assert sum(ord("N") in window for window in drawn) < 20
    with pytest.raises(InputError, match="no A, C, G or T"):
        Genomes([Stretch("g", codes("NNN"))])


def test_the_mixture_is_read_as_shares():
    assert read_mixture(["markov:3", "plain"]) == {"markov": 0.75, "plain": 0.25}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["markow"], "did you mean markov"),
        (["markov:0"], "must be a positive number"),
        (["markov:x"], "must be a positive number"),
        (["markov", "markov:2"], "is given twice"),
        ([], "name at least one stream"),
    ],
)
def test_a_mixture_with_a_mistake_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        read_mixture(words)


def test_a_stream_of_ones_own_is_registered_by_a_decorator(two_genomes):
    @related_stream("all_a")
    class AllA(Stream):
        def windows(self, random, lengths):
            return [np.full(length, ord("A"), dtype=np.uint8) for length in lengths]

    try:
        assert read_mixture(["all_a"]) == {"all_a": 1.0}
        with pytest.raises(ValueError, match="registered twice"):
            related_stream("all_a")(AllA)
    finally:
        del STREAMS["all_a"]
