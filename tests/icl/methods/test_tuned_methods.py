"""Methods that tune a copy of the backbone: lora, ia3, fine_tune, instruction_tuning."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.hyena.zoo import weights_sha256
from backbone.sequence.dna import reverse_complement
from backbone.tokens import SEP, TOKEN_ID
from icl.inference.batches import EncodedSequences
from icl.method import Context
from icl.methods.catalog import METHODS
from icl.tuning.adapters import backbone_of, merge_adapter
from icl.tuning.loop import in_parts
from tasks.task import Example
from tests.devices import device, put

FORMS = {
    "lora": dict(lr=0.02),
    "ia3": dict(lr=0.1),
    "fine_tune": dict(lr=0.01),
    "instruction_tuning": dict(lr=0.01, tuning_samples=48),
    "instruction_tuning_lora": dict(lr=0.02, tuning_samples=48, adapter="lora"),
}


def shaped():
    config = HyenaDNAConfig(
        d_model=16, n_layer=2, d_inner=32, max_seq_len=300, filter_order=8, initializer_range=0.3
    )
    return put(random_model(config, seed=3)).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def model():
    return shaped()


def rows(n, seed, shortest=20, longest=40):
    """Class 0 is rich in A and T, class 1 in C and G; both strands are alike in this."""
    random = np.random.default_rng(seed)
    shares = ([0.42, 0.08, 0.08, 0.42], [0.08, 0.42, 0.42, 0.08])
    lengths = random.integers(shortest, longest + 1, size=n)
    return [
        Example("".join(random.choice(list("ACGT"), size=length, p=shares[i % 2])), i % 2)
        for i, length in enumerate(lengths)
    ]


def build(model, form, batch_size=8, shots=1, words=("A", "N"), **options):
    name = form.removesuffix("_lora")
    entry = METHODS.get(name)
    context = Context(
        labels=("poor", "rich"),
        seed=0,
        load_backbone=lambda: model,
        batch_size=batch_size,
        shots=shots if entry.budget == "shots" else None,
        label_words=words,
        device=device(),
    )
    settings = {"name": name, "epochs": 4, "rows": 8, **FORMS.get(form, {}), **options}
    return entry.cls(entry.config(**settings), context)


@pytest.fixture(scope="module")
def fitted(model):
    """Every form after `fit`, with the sum of the shared backbone before and after."""
    made = {}
    for form in FORMS:
        method = build(model, form)
        before = weights_sha256(model)
        method.fit(rows(64, seed=4), rows(24, seed=5))
        made[form] = method, before == weights_sha256(model)
    return made


@pytest.mark.parametrize("form", FORMS)
def test_fit_learns_an_easy_task_and_leaves_the_shared_backbone_alone(fitted, form):
    method, same = fitted[form]
    assert same
    test = rows(60, seed=6)
    scores = method.scores(test)
    assert scores.shape == (60, 2) and scores.dtype == np.float64
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-9)
    assert (scores.argmax(1) == [e.label for e in test]).mean() > 0.75
    assert {"accuracy", "loss", "epoch"} <= method.validation.keys()


@pytest.mark.parametrize("form", FORMS)
def test_a_method_restored_from_its_state_scores_the_same_in_batches_of_any_size(
    model, fitted, form
):
    method, _ = fitted[form]
    examples = rows(20, seed=7)
    expected = np.exp(method.scores(examples))
    for size in (1, 7, 64):
        restored = build(model, form, batch_size=size)
        restored.load_state(method.state())
        assert np.abs(np.exp(restored.scores(examples)) - expected).max() < 1e-5
    assert restored.trainable_parameters == method.trainable_parameters
    turned = np.exp(restored.scores(examples[::-1]))[::-1]
    assert np.abs(turned - expected).max() < 1e-5
    with pytest.raises(InputError):
        build(model, form).load_state({})


@pytest.mark.parametrize("form", FORMS)
def test_fit_repeats_itself(fitted, form, model):
    again = build(model, form)
    again.fit(rows(64, seed=4), rows(24, seed=5))
    for name, array in fitted[form][0].state().items():
        np.testing.assert_array_equal(array, again.state()[name])


@pytest.mark.parametrize("form", FORMS)
def test_counts_of_parameters(fitted, form, model):
    every = sum(p.numel() for p in model.parameters())  # tied weights count once
    offsets = 2
    lora = 2 * 8 * ((16 + 48) + (16 + 16) + (16 + 32) + (32 + 16))
    expected = {
        "lora": lora + offsets,
        "ia3": 2 * (48 + 32) + offsets,
        "fine_tune": every + 16 * 2 + 2,
        "instruction_tuning": every + offsets,
        "instruction_tuning_lora": lora + offsets,
    }
    method, _ = fitted[form]
    assert method.trainable_parameters == expected[form]
    learned = sum(a.size for n, a in method.state().items() if not n.startswith("demonstrations"))
    assert learned == expected[form]


@pytest.mark.parametrize("form", ["lora", "ia3"])
@pytest.mark.parametrize("words", [("A", "N"), ("AC", "GT")])
def test_scores_are_those_of_the_plain_model_with_its_adapter(model, fitted, form, words):
    method = build(model, form, words=words)
    method.load_state(fitted[form][0].state())
    adapted = backbone_of(method.module)
    for example in rows(3, seed=8):
        scores = []
        for strand in (example.sequence, reverse_complement(example.sequence)):
            for word in words:
                ids = [TOKEN_ID[c] for c in strand] + [SEP] + [TOKEN_ID[c] for c in word]
                likely = adapted(put(torch.tensor([ids]))).logits.log_softmax(-1)[0]
                at = range(len(strand), len(ids) - 1)
                scores.append(sum(likely[i, ids[i + 1]].item() for i in at))
        expected = put(torch.tensor(scores)).reshape(2, 2).mean(0) + put(
            torch.from_numpy(method.offset)
        )
        expected = expected.log_softmax(0)
        np.testing.assert_allclose(method.scores([example])[0], expected, atol=1e-5)


def test_an_adapter_of_the_projection_acts_and_receives_gradients(model, fitted):
    """The operator multiplies by the projection's weights itself where nothing wraps them."""
    adapted = backbone_of(fitted["lora"][0].module)
    ids = put(torch.tensor([[TOKEN_ID[c] for c in "ACGTTGCA"]]))
    for block, plain in zip(adapted.backbone.layers, model.backbone.layers, strict=True):
        signal = put(torch.randn(1, 5, 16))
        heard = block.mixer.project(signal)
        slow = block.mixer.in_proj(signal).transpose(1, 2)
        torch.testing.assert_close(heard, slow)
        assert (heard - plain.mixer.project(signal)).abs().max() > 1e-3
    adapted(ids).logits[0, -1, 7].backward()
    gradients = {n: p.grad for n, p in adapted.named_parameters() if p.requires_grad}
    for name in ("in_proj", "out_proj", "fc1", "fc2"):
        assert any(g.abs().max() > 0 for n, g in gradients.items() if name in n and "lora_B" in n)
    adapted.zero_grad()


@pytest.mark.parametrize("form", ["lora", "ia3"])
def test_merged_weights_answer_as_the_adapter_does(fitted, form):
    module = fitted[form][0].module
    ids = put(torch.randint(7, 11, (3, 50)))
    with torch.no_grad():
        plain = merge_adapter(module)
        torch.testing.assert_close(
            plain(ids).logits, backbone_of(module)(ids).logits, atol=1e-4, rtol=1e-5
        )
    assert not [n for n, _ in plain.named_parameters() if "lora" in n or "ia3" in n]


@pytest.mark.parametrize("form", FORMS)
def test_a_step_in_parts_has_the_gradient_of_the_whole(model, form, monkeypatch):
    gradients = []
    for part in (1, 1 << 20):
        monkeypatch.setattr("icl.tuning.loop.PART", part)
        method = build(model, form, rows=16)
        if form.startswith("instruction_tuning"):
            method.tuning_samples = method.config.tuning_samples = 16
        loss = next(method.steps(rows(32, seed=4), np.random.default_rng(0))).loss()
        loss.backward()
        gradients.append((loss.item(), [p.grad for p in method.module.parameters()]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    found = 0
    for one, whole in zip(gradients[0][1], gradients[1][1], strict=True):
        if whole is not None:
            torch.testing.assert_close(one, whole, atol=1e-5, rtol=1e-4)
            found += int(whole.abs().max() > 0)
    assert found


def test_parts_of_a_step_are_as_large_as_the_length_of_their_rows_allows(monkeypatch):
    monkeypatch.setattr("icl.tuning.loop.PART", 200)
    queries = EncodedSequences(["A" * 60] * 7, 1000)
    seen = []

    def loss(part):
        seen.append(part.tolist())
        return torch.tensor(float(part.mean()), requires_grad=True, device=device())

    value = in_parts(loss, np.arange(7), queries, torch.nn.Linear(1, 1)).loss()
    assert seen == [[0, 1, 2], [3, 4, 5], [6]] and value.item() == 3.0


def test_fine_tune_reads_the_mean_over_the_rows_own_positions(model, fitted):
    method, _ = fitted["fine_tune"]
    classifier = method.module
    for example in rows(3, seed=9):
        logits = []
        for strand in (example.sequence, reverse_complement(example.sequence)):
            ids = put(torch.tensor([[TOKEN_ID[c] for c in strand]]))
            found = classifier.backbone(ids, output_hidden_states=True)
            states = found.hidden_states[-1][0].mean(dim=0)
            logits.append(classifier.head(states))
        expected = F.log_softmax(torch.stack(logits).mean(dim=0), dim=0).detach()
        np.testing.assert_allclose(method.scores([example])[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("lora", {"rank": 0}, "method.rank=0"),
        ("ia3", {"strands": "one"}, "method.strands=one"),
        ("fine_tune", {"epochs": 0}, "method.epochs=0"),
        ("instruction_tuning", {"adapter": "ia3"}, "method.adapter=ia3"),
        ("instruction_tuning", {"tuning_samples": 0}, "method.tuning_samples=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(model, form, options, message):
    with pytest.raises(InputError, match=message):
        build(model, form, **options)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_do_not_fit_are_refused(model, form):
    build(model, form).check(rows(4, seed=0))
    with pytest.raises(InputError, match="301 nucleotides .* max_seq_len"):
        build(model, form).check([Example("A" * 301, 0)])
