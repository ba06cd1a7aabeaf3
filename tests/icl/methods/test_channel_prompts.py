"""Prompts that are tuned under the channel readout."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from backbone.common.errors import InputError
from backbone.common.streams import stream
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.tokens import SEP, encode_dna
from icl.inference.channel import ChannelQuerySet
from icl.inference.readout import NORMALISATIONS
from icl.method import Context
from icl.methods.deep_prompt import DeepPrompt
from icl.methods.few_shot import FewShot, FewShotConfig
from icl.methods.lora import Lora, LoraOptions
from icl.methods.soft_prompt import SoftPromptConfig, SoftPromptMethod
from icl.methods.state_prompt import StatePrompt, StatePromptConfig
from icl.tuning.adapters import merge_adapter
from prompts.calibration import fitted
from tasks.kinds import TASK_KINDS
from tasks.task import Example
from tests.devices import device, put
from tests.icl.inference.test_channel import plain_likelihood, plain_states, vectors


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=16, n_layer=2, d_inner=32, max_seq_len=160, initializer_range=0.3
    )
    return put(random_model(shape, seed=3)).requires_grad_(False).eval()


def rows(n, seed):
    """Class 0 is rich in A and T, class 1 in C and G."""
    random = np.random.default_rng(seed)
    shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    return [
        Example("".join(random.choice(list("ACGT"), size=30, p=shares[i % 2])), i % 2)
        for i in range(n)
    ]


def build(model, name="soft", **options):
    context = Context(("poor", "rich"), 0, lambda: model, prompt_tokens=3, device=device())
    chosen = {"readout": "channel", "epochs": 2, "rows": 16, "lr": 0.05, **options}
    if name == "state":
        return StatePrompt(StatePromptConfig(**chosen), context)
    return SoftPromptMethod(SoftPromptConfig(**chosen), context)


@pytest.mark.parametrize("name", ["soft", "state"])
def test_epochs_are_chosen_on_few_rows_and_all_validation_rows_calibrate(model, monkeypatch, name):
    scored = []
    answers = ChannelQuerySet.answers
    monkeypatch.setattr(
        ChannelQuerySet, "answers", lambda self: scored.append(len(self.labels)) or answers(self)
    )
    build(model, name, validation_samples=10).fit(rows(40, 1), rows(30, 2))
    # Before tuning: training rows that fit the scale, and epoch 0. Then two epochs, then all rows.
    assert scored == [10, 10, 10, 10, 30]


def test_calibration_returns_the_scores_that_the_prompt_then_gives(model):
    made = build(model)
    made.prepare(rows(40, 1), rows(30, 2))
    made.reader().start_from(rows(40, 1))
    queries = made.query_set(rows(30, 2))
    returned = made.reader().calibrate(queries.scores(), queries.labels)
    np.testing.assert_allclose(queries.scores(), returned, rtol=0, atol=1e-5)
    assert returned.std() > 0.01


def test_vectors_behind_the_query_are_refused(model):
    with pytest.raises(InputError, match="leave out method.placement"):
        build(model, placement="split")


def test_tuning_starts_at_no_less_than_bayes_rule(model):
    made = build(model, init="nucleotides")  # so that all classes say the same
    made.prepare(rows(40, 1), rows(30, 2))
    reader = made.reader()
    reader.begin(made.query_set(rows(40, 1)))
    assert reader.details()["scale"] == pytest.approx(30**0.5, rel=1e-5)
    assert reader.details()["offset"] == pytest.approx([0, 0], abs=1e-6)


def test_the_normalisation_that_fits_the_validation_rows_best_is_found_and_kept(model):
    made = build(model, normalisation="auto", epochs=1, init="demonstrations")
    train, val = rows(40, 1), rows(30, 2)
    cut = [Example(e.sequence[: 3 + 27 * (i % 3 == 0)], e.label) for i, e in enumerate(val)]
    made.fit(train, cut)
    chosen = made.reader().normalisation
    losses = {}
    for name in NORMALISATIONS:
        fixed = build(model, normalisation=name, init="demonstrations")
        fixed.prepare(train, cut)
        order = stream(0, "rows of the first prompt").permutation(len(train))
        fixed.reader().start_from([train[i] for i in order])
        queries = fixed.query_set(cut)
        scores = fitted(queries.scores(), queries.labels)
        losses[name] = TASK_KINDS["classes"].validate(scores, queries.labels)[0]
    assert chosen == min(losses, key=losses.__getitem__)
    found = made.scores(val)
    assert made.details["normalisation"] == chosen and made.details["scale"] > 0
    again = build(model, normalisation="auto", init="demonstrations")
    again.load_state(made.state())
    np.testing.assert_array_equal(again.scores(val), found)
    with pytest.raises(InputError, match="does not say its normalisation"):
        again.load_state({n: a for n, a in made.state().items() if n != "normalisation"})


def test_rows_of_one_length_leave_the_first_normalisation(model):
    reader = build(model, normalisation="auto", init="demonstrations").reader()
    reader.start_from(rows(40, 1))
    reader.choose_normalisation(rows(30, 2), "both")
    assert reader.normalisation == "sqrt"


def test_few_shot_fits_a_scale_to_validation_rows_and_keeps_it(model):
    context = Context(("poor", "rich"), 0, lambda: model, shots=2, device=device())
    chosen = {"readout": "channel", "calibration": "offset", "normalisation": "auto"}

    def made():
        return FewShot(FewShotConfig(**chosen), context)

    method = made()
    method.fit(rows(40, 1), rows(30, 2))
    scores = method.scores(rows(20, 3))
    details = method.details
    assert details["scale"] not in (0, 1) and details["normalisation"] == "sqrt"
    raw = method.uncalibrated_scores(rows(20, 3))
    by_hand = log_softmax(details["scale"] * raw + np.array(details["offset"]), axis=1)
    np.testing.assert_allclose(scores, by_hand, rtol=0, atol=1e-12)
    assert method.trainable_parameters == 3
    again = made()
    again.load_state(method.state())
    np.testing.assert_array_equal(again.scores(rows(20, 3)), scores)


@pytest.mark.parametrize(("readout", "placement"), [("direct", "after"), ("mean", "before")])
def test_state_offsets_read_directly_are_added_at_every_position(model, readout, placement):
    made = build(model, "state", readout=readout, placement=placement, strands="forward")
    made.prepare(rows(8, 1), rows(4, 2))
    prompt = made.reader().prompt
    with torch.no_grad():
        for i, parameter in enumerate((prompt.state, prompt.before, prompt.after)):
            parameter.copy_(0.3 * vectors(*parameter.shape[:-1], seed=i, width=16))
    query = rows(1, 3)[0].sequence
    ids = put(torch.from_numpy(encode_dna(query))).long()
    sep = model.embed(put(torch.tensor([SEP])))
    whole = torch.cat([prompt.before, model.embed(ids), sep, prompt.after]).detach()
    states = plain_states(model, whole, prompt.state.detach())[0]
    read = states[-1] if readout == "direct" else states[len(prompt.before) :][: len(query)].mean(0)
    words = made.verbalizer.ids[:, 0]
    expected = model.logits(read)[words].log_softmax(-1)
    np.testing.assert_allclose(made.scores([Example(query, 0)])[0], expected, atol=1e-4)
    assert made.trainable_parameters == (2 + 3) * 16 + 2


def test_an_adapter_is_tuned_with_vectors_of_each_class(model):
    context = Context(("poor", "rich"), 0, lambda: model, device=device())
    options = {"readout": "channel", "class_vectors": 3, "epochs": 2, "strands": "forward"}
    made = Lora(LoraOptions(rows=8, **options), context)
    made.fit(rows(24, 1), rows(12, 2))
    prompt, merged = made.module.prompt, merge_adapter(made.module.adapted)
    alone = Lora(LoraOptions(), context)
    vectors_and_comparison = 2 * 3 * 16 + 1 + 2
    assert made.trainable_parameters == alone.trainable_parameters - 2 + vectors_and_comparison
    assert not torch.equal(prompt.vectors[0], prompt.vectors[1])
    query = rows(1, 3)[0].sequence
    with torch.no_grad():
        likely = [
            plain_likelihood(merged, [one], query, put(torch.zeros(2, 16)))
            for one in prompt.vectors
        ]
        scores = prompt.log_scale.exp() * torch.stack(likely) / 29**0.5 + prompt.offset
    expected = scores.log_softmax(-1).cpu().numpy()
    np.testing.assert_allclose(made.scores([Example(query, 0)])[0], expected, atol=1e-4)
    assert made.details["normalisation"] == "sqrt"


def test_the_channel_compares_classes_and_nothing_else(model):
    context = Context(("height",), 0, lambda: model, kind="regression", device=device())
    with pytest.raises(InputError, match="compares classes"):
        Lora(LoraOptions(readout="channel"), context)


def test_deep_prompts_without_vectors_are_demonstrations_alone(model):
    context = Context(("poor", "rich"), 0, lambda: model, prompt_tokens=0, shots=2, device=device())
    config = {"readout": "channel", "epochs": 1, "rows": 16}
    scores = []
    for cls in (DeepPrompt, SoftPromptMethod):
        made = cls(SoftPromptConfig(**config), context)
        made.prepare(rows(20, 1), rows(6, 2))
        scores.append(made.query_set(rows(6, 2)).scores())
    np.testing.assert_array_equal(*scores)
