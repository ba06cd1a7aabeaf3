"""Named streams: repeatable, and different for every purpose, key and seed."""

import itertools

from backbone.common.streams import stream, stream_seed

ASKED = [
    (0, "demonstrations", ()),
    (0, "shuffled labels", ()),
    (1, "demonstrations", ()),
    (0, "demonstrations", (0,)),
    (0, "demonstrations", (0, 0)),
    (0, "demonstrations", (1,)),
]


def test_a_stream_repeats():
    for seed, purpose, keys in ASKED:
        first, second = (stream(seed, purpose, *keys).random(4) for _ in range(2))
        assert (first == second).all()


def test_no_two_streams_share_their_numbers():
    drawn = [set(stream(seed, purpose, *keys).random(100)) for seed, purpose, keys in ASKED]
    assert all(not one & other for one, other in itertools.combinations(drawn, 2))


def test_seeds_for_other_generators_differ_and_fit_64_bits():
    seeds = [stream_seed(seed, purpose, *keys) for seed, purpose, keys in ASKED]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
