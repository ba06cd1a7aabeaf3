"""few_shot and zero_shot: what is shown, how it is read, and that nothing is tuned."""

from dataclasses import replace

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.hyena.zoo import weights_sha256
from backbone.sequence.dna import gc_content, reverse_complement
from backbone.sequence.edits import Edit
from icl.inference.demonstrations import PREFIX
from icl.method import Context
from icl.methods.catalog import METHODS
from icl.methods.zero_shot import word_orders
from tasks.metrics.classification import evaluate
from tasks.task import Example
from tests.devices import device, put

MOST = 300


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=8, n_layer=2, d_inner=16, max_seq_len=MOST, initializer_range=0.3
    )
    return put(random_model(shape, seed=1)).requires_grad_(False).eval()


def rows(n, seed, classes=2, shortest=20, longest=40):
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, size=n)
    return [
        Example("".join(random.choice(list("ACGT"), size=length)), i % classes)
        for i, length in enumerate(lengths)
    ]


TRAIN, VAL, TEST = rows(16, 1), rows(10, 2), rows(12, 3)


def build(model, name="few_shot", classes=2, shots=2, seed=0, words=None, control=None, **options):
    entry = METHODS.get(name)
    context = Context(
        labels=("a", "b", "c")[:classes],
        seed=seed,
        load_backbone=lambda: model,
        batch_size=8,
        shots=shots,
        label_words=words,
        control=control,
        queries=options.pop("queries", ()),
        device=device(),
    )
    return entry.cls(entry.config(**{"name": name, "calibration": "none", **options}), context)


def fitted(model, *args, train=TRAIN, val=VAL, **options):
    made = build(model, *args, **options)
    made.fit(train, val)
    return made


def shown(made):
    state = made.state()
    text, ends = state[PREFIX + "letters"].tobytes().decode(), state[PREFIX + "lengths"].cumsum()
    return [text[end - n : end] for end, n in zip(ends, state[PREFIX + "lengths"], strict=True)]


@pytest.mark.parametrize("calibration", ["none", "contextual", "offset", "prior"])
def test_without_shots_it_is_zero_shot(model, calibration):
    options = {"calibration": calibration, "words_used": "searched"}
    few = fitted(model, shots=0, **options)
    zero = fitted(model, "zero_shot", shots=None, **options)
    np.testing.assert_array_equal(few.scores(TEST), zero.scores(TEST))
    assert few.validation == zero.validation
    assert set(few.state()) == set(zero.state()) == {"words", "offset"}
    assert few.details["demonstrations_shown"] == 0


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
def test_no_demonstrations_shown_are_zero_shot(model, sets):
    alone = fitted(model, control="query_alone", demonstrations=sets)
    zero = fitted(model, "zero_shot", shots=None)
    np.testing.assert_allclose(alone.scores(TEST), zero.scores(TEST), atol=1e-5)
    assert alone.details["bases_shown"] == 0


def test_one_balanced_set_from_train_is_shown_and_the_seed_moves_it(model):
    sets = []
    for seed in (0, 1):
        made = fitted(model, seed=seed)
        state = made.state()
        assert sorted(state[PREFIX + "labels"]) == [0, 0, 1, 1]
        assert shown(made) == [TRAIN[row].sequence for row in state[PREFIX + "rows"]]
        labels = [TRAIN[row].label for row in state[PREFIX + "rows"]]
        assert labels == state[PREFIX + "labels"].tolist()
        sets.append(tuple(shown(made)))
    assert sets[0] != sets[1]
    assert tuple(shown(fitted(model, seed=0))) == sets[0]


def test_what_is_scored_is_never_shown(model):
    train = [*TRAIN, *TEST, *(Example(reverse_complement(e.sequence), e.label) for e in TEST)]
    scored = {e.sequence for e in TEST} | {reverse_complement(e.sequence) for e in TEST}
    queries = [e.sequence for e in TEST]
    for seed in range(4):
        made = fitted(model, train=train, seed=seed, queries=queries)
        assert not scored & set(shown(made))


def test_a_query_of_the_pool_is_not_shown_to_itself(model):
    made = fitted(model, demonstrations="per_query", chooser="nearest")
    for example in TRAIN[:4]:
        made.scores([example])
        (chosen,) = [made.demonstrations._own[example.sequence]]
        assert example.sequence not in [d.sequence for d in chosen.demonstrations]
        assert {d.sequence for d in chosen.demonstrations} <= {e.sequence for e in TRAIN}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("sets", ["fixed", "per_query"])
def test_averaged_words_are_the_mean_over_their_orders(model, classes, sets):
    train, val, test = (rows(12, seed, classes) for seed in (1, 2, 3))
    words = ("A", "C", "N")[:classes]
    options = {"classes": classes, "shots": 1, "demonstrations": sets, "train": train, "val": val}
    singles = [fitted(model, words=w, **options).scores(test) for w in word_orders(words)]
    mean = np.mean(singles, axis=0)
    expected = mean - np.log(np.exp(mean).sum(1, keepdims=True))
    made = fitted(model, words=words, words_used="averaged", **options)
    np.testing.assert_allclose(made.scores(test), expected, atol=1e-6)
    assert made.full_vocabulary_accuracy(test) is None


def test_searched_words_are_the_best_on_validation(model):
    found = {w: fitted(model, words=w, shots=1) for w in (("A", "N"), ("N", "A"))}
    made = fitted(model, words=("A", "N"), shots=1, words_used="searched")
    best = max(found, key=lambda w: (found[w].validation["accuracy"], -found[w].validation["loss"]))
    np.testing.assert_array_equal(made.scores(TEST), found[best].scores(TEST))
    assert made.details["words"] == [list(best)]
    right = found[best].full_vocabulary_accuracy(TEST)
    assert made.full_vocabulary_accuracy(TEST) == right


def test_orders_of_words():
    assert word_orders(("A", "N")) == [("A", "N"), ("N", "A")]
    assert len(set(word_orders(("A", "C", "G")))) == 6
    four = ("A", "C", "G", "T")
    assert word_orders(four) == [four, (*"CGTA",), (*"GTAC",), (*"TACG",)]


class Biased:
    """Reads GC content, and always leans towards class 0 by the same amount."""

    lean = 5.0

    def __init__(self, reader, examples, strands):
        self.sequences = [e.sequence for e in examples]

    def answers(self):
        signal = np.array([gc_content(s) - 0.5 if s.strip("N") else 0.0 for s in self.sequences])
        odds = np.stack([self.lean - 10 * signal, 10 * signal], axis=1)
        return odds - np.log(np.exp(odds).sum(1, keepdims=True)), np.zeros(len(signal), dtype=int)


@pytest.mark.parametrize(
    ("calibration", "nulls"),
    [("contextual", "n_run"), ("contextual", "empty"), ("offset", ""), ("prior", "")],
)
def test_calibration_takes_a_known_lean_away(model, monkeypatch, calibration, nulls):
    monkeypatch.setattr("icl.inference.reader.PromptQuerySet", Biased)
    random = np.random.default_rng(0)

    def by_gc(n):
        shares = ([0.35, 0.15, 0.15, 0.35], [0.15, 0.35, 0.35, 0.15])
        return [
            Example("".join(random.choice(list("ACGT"), 40, p=shares[i % 2])), i % 2)
            for i in range(n)
        ]

    val, test = by_gc(400), by_gc(400)
    options = {"nulls": nulls} if nulls else {}
    made = fitted(model, train=val, val=val, calibration=calibration, **options)
    labels = np.array([e.label for e in test])
    before = evaluate(labels, made.uncalibrated_scores(test), resamples=10)
    after = evaluate(labels, made.scores(test), resamples=10)
    assert before["accuracy"].value < 0.85 < 0.95 < after["accuracy"].value
    assert after["ece"].value < before["ece"].value
    offset = made.state()["offset"]
    # Null queries hold nothing but the lean; what rows tell of it is a sample's.
    assert abs(offset[1] - offset[0] - Biased.lean) < (1e-9 if nulls else 1.0)
    assert made.trainable_parameters == 2


def test_null_queries_calibrate_by_default(model):
    assert METHODS.get("few_shot").config().calibration == "contextual"
    assert METHODS.get("zero_shot").config().calibration == "contextual"
    made, plain = fitted(model, calibration="contextual"), fitted(model)
    np.testing.assert_array_equal(made.uncalibrated_scores(TEST), plain.scores(TEST))
    made.scores(TEST)
    assert made.state()["offset"].any() and made.details["calibration"] == "contextual"


def test_nothing_is_calibrated_where_it_is_turned_off(model):
    made = fitted(model)
    assert made.uncalibrated_scores(TEST) is None
    assert made.trainable_parameters == 0
    assert not made.state()["offset"].any()


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
def test_what_was_found_is_loaded_without_training_rows(model, sets):
    before = weights_sha256(model)
    options = {"demonstrations": sets, "calibration": "offset", "words_used": "searched"}
    made = fitted(model, **options)
    assert weights_sha256(model) == before
    fresh = build(model, **options)
    fresh.load_state(made.state())
    np.testing.assert_array_equal(fresh.scores(TEST), made.scores(TEST))
    assert fresh.full_vocabulary_accuracy(TEST) == made.full_vocabulary_accuracy(TEST)
    for other in (made, fresh):
        other.read_forward_alone()
    np.testing.assert_array_equal(fresh.scores(TEST), made.scores(TEST))


def test_states_that_do_not_fit_are_refused(model):
    made = fitted(model)
    state = made.state()
    with pytest.raises(InputError, match="label words"):
        build(model, words=("C", "G")).load_state(state)
    with pytest.raises(InputError, match="demonstrations"):
        build(model, shots=0).load_state(state)
    with pytest.raises(InputError, match="demonstrations"):
        lengths = state[PREFIX + "lengths"] + 1
        build(model).load_state(state | {PREFIX + "lengths": lengths})
    with pytest.raises(InputError, match="offset"):
        build(model).load_state(state | {"offset": np.zeros(3)})


@pytest.mark.parametrize("sets", ["fixed", "per_query"])
def test_what_does_not_fit_is_refused_dropped_or_trimmed(model, sets):
    train = rows(16, 1, shortest=60, longest=60)
    options = {"shots": 3, "train": train, "demonstrations": sets}
    with pytest.raises(InputError, match="6 demonstrations"):
        fitted(model, **options)
    dropped = fitted(model, policy="drop", **options)
    dropped.scores(TEST)
    assert dropped.details["demonstrations_shown"] == 4
    assert dropped.details["demonstrations_dropped"] == 2
    assert dropped.details["bases_shown"] == 240
    trimmed = fitted(model, policy="trim", **options)
    trimmed.scores(TEST)
    assert trimmed.details["demonstrations_trimmed"] == 6
    assert 6 * 35 < trimmed.details["bases_shown"] < 6 * 45


def test_flipped_labels_are_shown_flipped(model):
    plain, flipped = fitted(model), fitted(model, control="demo_labels_flipped")
    assert shown(plain) == shown(flipped)
    labels = [m.state()[PREFIX + "labels"] for m in (plain, flipped)]
    np.testing.assert_array_equal(labels[0], 1 - labels[1])


@pytest.mark.parametrize(
    "control", ["demo_labels_shuffled", "demo_labels_random", "demos_random_dna"]
)
def test_a_control_draws_for_each_query_alone(model, control):
    options = {"control": control, "demonstrations": "per_query"}
    together = fitted(model, **options).scores(TEST)
    alone = fitted(model, **options).scores(TEST[5:6])
    np.testing.assert_allclose(together[5:6], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"chooser": "closest"}, "method.chooser=closest"),
        ({"chooser": "nearest"}, "per_query"),
        ({"order": "nearest_last"}, "per_query"),
        ({"order": "sorted"}, "method.order=sorted"),
        ({"demonstrations": "some"}, "method.demonstrations=some"),
        ({"demonstration_strands": "reverse"}, "method.demonstration_strands=reverse"),
        ({"policy": "cut"}, "method.policy=cut"),
        ({"calibration": "temperature"}, "method.calibration=temperature"),
        ({"nulls": "random"}, "method.nulls=random"),
        ({"words_used": "all"}, "method.words_used=all"),
        ({"strands": "reverse"}, "method.strands=reverse"),
        ({"words_used": "averaged", "shots": 0}, "needs demonstrations"),
        (
            {"calibration": "contextual", "nulls": "empty", "demonstrations": "per_query"},
            "method.nulls=empty",
        ),
    ],
)
def test_mistakes_are_one_line(model, options, part):
    with pytest.raises(InputError, match=part) as error:
        build(model, **options)
    assert "\n" not in str(error.value)


def test_rows_and_pools_that_are_too_long_or_too_small(model):
    with pytest.raises(InputError, match=f"exceed the {MOST - 2}"):
        build(model).check([Example("A" * (MOST - 1), 0)])
    with pytest.raises(InputError, match="empty"):
        build(model).check([Example("", 0)])
    with pytest.raises(InputError, match="shots=9"):
        fitted(model, shots=9)
    made = fitted(model)
    with pytest.raises(InputError, match="the maximum is"):
        made.scores([Example("A" * (MOST - 10), 0)])


def test_it_runs_is_reported_and_predicts(call, tiny, tmp_path):
    from icl import predict
    from icl.reporting.report import find_reports, read_report

    words = ["task=tiny_rows", "method=few_shot", "shots=2", "backbone=random:bundled"]
    code, _, err = call(*words, "method.calibration=offset", "evaluate=val")
    assert code == 0, err
    (path,) = find_reports(tmp_path)
    report = read_report(path.parent)
    assert report.setup.shots == report.setup.k == 2
    assert report.outcome.details["bases_shown"] == 160
    assert "ece_before_calibration" in report.outcome.details
    method, _ = predict.load_method(path.parent)
    (first, *_) = predict.predict(method, ["ACGTTGCA" * 5])
    assert first.sum() == pytest.approx(1)
    context = replace(method.context, batch_size=1)
    assert context.shots == 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("few_shot", {"readout": "channel"}),
        ("few_shot", {"readout": "memory"}),
        ("markov", {}),
    ],
)
def test_demonstrations_swapped_between_classes_mirror_the_channel(model, name, options):
    """What stands for one class then stands for the other: their scores change places."""
    plain, swapped = (
        fitted(model, name, shots=3, control=control, **options).scores(TEST)
        for control in (None, "demo_labels_flipped")
    )
    np.testing.assert_allclose(plain, swapped[:, ::-1], atol=1e-5)
    assert np.abs(plain[:, 0] - plain[:, 1]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"demonstrations": "per_query", "chooser": "nearest"}, "demonstrations=fixed"),
        ({"words_used": "searched"}, "readout=channel has none"),
        ({"words": ("A", "C")}, "leave out verbalizer.words"),
    ],
)
def test_options_that_the_channel_cannot_use_are_refused(model, options, says):
    with pytest.raises(InputError, match=says):
        build(model, readout="channel", **options)


def test_a_memory_holds_more_demonstrations_than_the_context(model):
    long = rows(40, seed=4, shortest=40)
    made = fitted(model, shots=20, readout="memory", train=long)
    assert made.demonstrations.details([], made.reader().template)["demonstrations_shown"] == 40


def test_a_memory_is_saved_and_edited_rows_are_scored_whole(model):
    made, again = (build(model, shots=3, readout="memory") for _ in range(2))
    made.fit(TRAIN, VAL)
    again.load_state(made.state())
    found = made.scores(TEST)
    np.testing.assert_array_equal(again.scores(TEST), found)
    sequences = [TEST[0].sequence]
    edited = Edit(0, 3, 4, "A")
    changed = sequences[0][:3] + "A" + sequences[0][4:]
    whole, edits = made.scores_of_edits(sequences, [edited])
    np.testing.assert_allclose(whole[0], found[0], atol=1e-6)
    np.testing.assert_allclose(edits[0], made.scores([Example(changed, 0)])[0], atol=1e-6)


def test_each_class_has_the_whole_context_to_itself(model):
    """300 tokens hold seven demonstrations of 40 bases of one class, not of two."""
    long = rows(40, seed=4, shortest=40)
    assert build(model, shots=6, readout="channel").check(long) is None
    fitted(model, shots=6, readout="channel", train=long)
    with pytest.raises(InputError, match="exceed the maximum of 300"):
        fitted(model, shots=6, train=long)
