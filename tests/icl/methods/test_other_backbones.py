"""Every method that reads a backbone, on models of four architectures of transformers.

What holds for HyenaDNA in `test_every_method` holds for them; here on few rows and few steps.
"""

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.models import load, weights_sha256
from backbone.sequence.edits import Edit
from icl.method import ADAPTER
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.backbone.hf.tiny_models import save, save_tokenizer
from tests.devices import put
from tests.icl.methods.every import Trial

KINDS = ("gpt2", "llama", "mamba", "mixtral")
START = {"llama": ("<s>",)}
SHORT = dict(epochs=1, rows=8)
OPTIONS = {
    "deep_prompt": SHORT,
    "embedding_knn": {},
    "few_shot": {},
    "fine_tune": SHORT,
    "fisher_probe": {},
    "ia3": SHORT,
    "instruction_tuning": SHORT | dict(tuning_samples=8),
    "kmer_knn": {},
    "linear_probe": {},
    "lora": SHORT,
    "markov": {},
    "soft_prompt": SHORT,
    "zero_shot": {},
    "deep_prompt, channel": SHORT | dict(readout="channel"),
    "few_shot, channel": dict(readout="channel"),
    "few_shot, memory": dict(readout="memory"),
    "instruction_tuning, lora": SHORT | dict(adapter="lora", tuning_samples=8),
    "lora, channel": SHORT | dict(readout="channel", class_vectors=2),
    "soft_prompt, before": SHORT | dict(placement="before"),
    "soft_prompt, channel": SHORT | dict(readout="channel"),
    "soft_prompt, mean": SHORT | dict(readout="mean", placement="before"),
}
"""By method; a name with a comma is a further way to use the method before it."""

NOT_HERE = {"state_prompt"}
"""Methods that only HyenaDNA has what they need for."""

BUDGETS = {"prompt_tokens": 3, "shots": 1}


def rows(n: int, seed: int) -> list[Example]:
    """Class 0 is rich in A and T, class 1 in C and G; one row in four has an N."""
    random = np.random.default_rng(seed)
    shares = ([0.42, 0.08, 0.08, 0.42], [0.08, 0.42, 0.42, 0.08])
    found = []
    for i, length in enumerate(random.integers(8, 17, size=n)):
        letters = "".join(random.choice(list("ACGT"), size=length, p=shares[i % 2]))
        found.append(Example(letters if i % 4 else "N" + letters[1:], i % 2))
    return found


TRAIN, VAL, TEST = rows(16, 1), rows(8, 2), rows(6, 3)
TRIAL = Trial(TRAIN, VAL, TEST, BUDGETS, OPTIONS)


@pytest.fixture(scope="module", params=KINDS)
def backbone(request, tmp_path_factory):
    kind = request.param
    return load(f"hf:{save(kind, tmp_path_factory.mktemp(kind), START.get(kind, ()), seed=5)}")


@pytest.fixture(scope="module")
def fitted(backbone):
    return TRIAL.fitted(backbone)


def test_every_method_that_reads_a_backbone_is_tried():
    reading = {name for name in METHODS.names() if METHODS.get(name).uses_backbone}
    assert {name.partition(",")[0] for name in OPTIONS} | NOT_HERE == reading


@pytest.mark.parametrize("name", OPTIONS)
def test_scores_are_log_probabilities_and_the_backbone_keeps_its_bytes(fitted, backbone, name):
    once = fitted(name)
    assert once.scores.shape == (len(TEST), 2) and np.isfinite(once.scores).all()
    np.testing.assert_allclose(np.exp(once.scores).sum(axis=1), 1, atol=1e-6)
    assert weights_sha256(backbone) == once.weights_before
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("name", OPTIONS)
def test_a_restored_method_scores_the_same_in_batches_of_any_size(fitted, backbone, name):
    once = fitted(name)
    for size in (1, 4):
        restored = TRIAL.build(name, backbone, batch_size=size)
        restored.load_state(once.method.state())
        np.testing.assert_allclose(restored.scores(TEST), once.scores, atol=5e-5)
    np.testing.assert_allclose(once.method.scores(TEST[::-1])[::-1], once.scores, atol=5e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_seed_learns_the_same_to_the_last_bit(fitted, backbone, name):
    again = TRIAL.build(name, backbone)
    put(torch.rand(3)), np.random.rand(3)
    again.fit(TRAIN, VAL)
    np.testing.assert_array_equal(again.scores(TEST), fitted(name).scores)


@pytest.mark.parametrize("name", ["soft_prompt", "soft_prompt, channel", "lora", "linear_probe"])
def test_edited_sequences_are_scored_as_if_they_stood_alone(fitted, name):
    method, sequences = fitted(name).method, [e.sequence for e in TEST[:2]]
    edits = (Edit(0, 3, 4, "A"), Edit(1, 2, 2, "ACG"), Edit(1, 0, 3, ""))
    whole = [edit.of(sequences[edit.row]) for edit in edits]
    expected = method.scores([Example(s, 0) for s in (*sequences, *whole)])
    found = np.concatenate(method.scores_of_edits(sequences, edits))
    np.testing.assert_allclose(found, expected, atol=5e-5)


@pytest.mark.parametrize("name", ["soft_prompt", "soft_prompt, channel", "linear_probe"])
def test_relaxed_scores_are_the_scores_at_a_sequence(fitted, name):
    method, sequence = fitted(name).method, TEST[1].sequence
    letters = put(torch.eye(5))[["ACGTN".index(base) for base in sequence]].requires_grad_()
    found = method.relaxed_scores(letters)
    (expected,) = method.scores([Example(sequence, 0)])
    odds = found[1] - found[0]
    assert float(odds.detach()) == pytest.approx(expected[1] - expected[0], abs=2e-4)
    (slope,) = torch.autograd.grad(odds, letters)
    assert slope.isfinite().all() and slope.abs().max() > 0


@pytest.mark.parametrize("name", ["lora", "ia3", "soft_prompt, before"])
def test_what_is_learned_loads_into_the_plain_model_by_peft(fitted, backbone, tmp_path, name):
    """The plain model of transformers with the adapter gives the log-odds of the words."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    method, row = fitted(name).method, TEST[1]
    method.save_adapter(tmp_path)
    folder = backbone.name.removeprefix("hf:")
    plain = AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager")
    loaded = PeftModel.from_pretrained(plain, tmp_path / ADAPTER).eval()
    own = backbone.vocabulary.own
    ids = [own["ACGTN".index(base) + 7] for base in row.sequence] + [own[1]]
    if name != "soft_prompt, before":  # there the start is part of the prompt
        ids = [*backbone.vocabulary.start, *ids]
    with torch.no_grad():
        logits = loaded(input_ids=put(torch.tensor([ids])), use_cache=False).logits[0, -1]
    found = (logits[own[7]] - logits[own[11]]).item()
    offset = method.reader().prompt.offset
    forward = TRIAL.build(name, backbone, strands="forward")
    forward.load_state(method.state())
    (scores,) = forward.scores([row])
    expected = scores[0] - scores[1] - float(offset[0] - offset[1])
    assert found == pytest.approx(expected, abs=1e-4)


def test_offsets_of_long_convolutions_are_refused_in_one_line(backbone):
    with pytest.raises(
        InputError, match="of which this backbone has none: give method=soft_prompt"
    ):
        TRIAL.build("state_prompt", backbone).check(TEST)


def test_a_prompt_that_exceeds_the_context_is_refused_with_the_numbers(backbone):
    method = TRIAL.build("soft_prompt", backbone)
    long = [Example("A" * 400, 0)]
    with pytest.raises(
        InputError, match=f"exceed the backbone's max_seq_len of {method.max_seq_len}"
    ):
        method.check(long)


@pytest.fixture
def without_separator(tmp_path):
    folder = save("llama", tmp_path, seed=5)
    save_tokenizer(folder, specials={"unk_token": "[UNK]"})
    return load(f"hf:{folder}")


@pytest.mark.parametrize(
    "name", ["zero_shot", "few_shot", "few_shot, channel", "soft_prompt", "lora"]
)
def test_a_tokenizer_without_separator_is_refused_where_one_is_needed(without_separator, name):
    with pytest.raises(InputError, match="no separator and no end of text"):
        TRIAL.build(name, without_separator).check(TEST)


@pytest.mark.parametrize(
    "name", ["soft_prompt, channel", "lora, channel", "linear_probe", "fine_tune"]
)
def test_a_tokenizer_without_separator_serves_where_none_is_needed(without_separator, name):
    method = TRIAL.build(name, without_separator)
    method.check([*TRAIN, *VAL, *TEST])
    method.fit(TRAIN, VAL)
    assert np.isfinite(method.scores(TEST)).all()
