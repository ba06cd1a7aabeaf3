"""What is learned loads with PEFT on our HyenaDNA and gives the same logits."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import icl
from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import ADAPTER_TARGETS, random_model
from backbone.tokens import SEP, TOKEN_ID
from icl.tuning.adapters import backbone_of, copy_with_adapter, ia3_config, lora_config
from icl.tuning.peft_export import name_backbone, save_adapter, save_prompt
from prompts.soft_prompt import PromptShape, SoftPrompt
from tests.devices import device, put

WORDS = ("A", "N")
IDS = put(torch.tensor([[TOKEN_ID[c] for c in "ACGGTCATTGCA"] + [SEP]]))


def small():
    """A model of as many dimensions as words, where a guess at the embedding could go wrong."""
    config = HyenaDNAConfig(
        d_model=12, n_layer=2, d_inner=16, max_seq_len=64, filter_order=8, initializer_range=0.3
    )
    return put(random_model(config, seed=1)).requires_grad_(False).eval()


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        yield


def drawn(module):
    """Gives every number that is tuned a value of its own."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.copy_(put(torch.randn(parameter.shape, generator=generator)) * 0.3 + 0.5)
    return module


@pytest.mark.parametrize(
    "config",
    [lora_config(ADAPTER_TARGETS, 4, 8.0), ia3_config(ADAPTER_TARGETS)],
    ids=["lora", "ia3"],
)
def test_an_adapter_loads_and_answers_as_ours(tmp_path, config):
    from peft import PeftModel

    module = drawn(copy_with_adapter(small(), config, seed=0))
    save_adapter(module, WORDS, [0.5, -0.5], tmp_path)
    with torch.no_grad():
        ours = backbone_of(module)(IDS).logits
        loaded = PeftModel.from_pretrained(small(), tmp_path).eval()
        torch.testing.assert_close(loaded(input_ids=IDS).logits, ours, atol=1e-6, rtol=0)
        assert (ours - small()(IDS).logits).abs().max() > 0.01


def prompt_of(model, before=3, after=0, layers=0):
    return drawn(SoftPrompt(model, PromptShape(before, after, layers), 2, "normal", seed=0))


def test_a_soft_prompt_before_the_query_loads_and_answers_as_ours(tmp_path):
    from peft import PeftModel

    from icl.inference.batches import EncodedSequences
    from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
    from icl.inference.reader import LabelWordScorer, PromptReader
    from icl.method import Context
    from prompts.verbalizer import verbalizer

    model = small()
    prompt = prompt_of(model)
    assert save_prompt(model, prompt, WORDS, tmp_path)
    loaded = PeftModel.from_pretrained(small(), tmp_path).eval()
    context = Context(("a", "b"), 0, lambda: model, device=device())
    nothing = DemonstrationSet(DemonstrationConfig(), context, lambda: 0)
    reader = PromptReader(LabelWordScorer(model, verbalizer(2, WORDS)), prompt, nothing, context)
    batch = EncodedSequences(["ACGGTCATTGCA"], 40).batch(np.zeros(1, dtype=np.int64))
    with torch.no_grad():
        scores, logits = reader.answers(batch, reader.prefix(60))
        theirs = loaded(input_ids=IDS).logits[:, -1]
    torch.testing.assert_close(theirs, logits, atol=1e-5, rtol=0)
    spoken = json.loads((tmp_path / "label_words.json").read_text())
    words = [TOKEN_ID[word] for word in spoken["words"]]
    answer = theirs[:, words] + put(torch.tensor(spoken["offset"]))
    torch.testing.assert_close(answer, scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(0, 3, 0), (3, 0, 1), (2, 2, 0), (0, 0, 0)])
def test_a_prompt_of_another_form_is_not_written(tmp_path, shape):
    model = small()
    assert not save_prompt(model, prompt_of(model, *shape), WORDS, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_the_same_adapter_is_written_to_the_last_byte_and_names_no_folder(tmp_path):
    for name in ("one", "two"):
        module = drawn(copy_with_adapter(small(), lora_config(ADAPTER_TARGETS, 4, 8.0), seed=0))
        save_adapter(module, WORDS, [0.0, 0.0], tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors", "label_words.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == ["fc1", "fc2", "in_proj", "out_proj"]


PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "apply-a-prompt.md"
BLOCK = re.compile(r"<!-- run: peft -->\n+```python\n(.*?)```", re.DOTALL)


def test_the_page_reads_a_saved_prompt_with_peft_as_the_run_does(tiny, call):
    few = ["task=tiny_rows", "threads=1", "method.epochs=1", "backbone=bundled", "audit=none"]
    assert call(*few, "method=soft_prompt", "method.placement=before", "k=3")[0] == 0
    (run,) = Path("runs/tiny_rows/soft_prompt").iterdir()
    (block,) = BLOCK.findall(PAGE.read_text())
    lines = [line for line in block.splitlines() if line and "import" not in line]
    assert len(lines) <= 10 and "runs/TASK/soft_prompt/HASH" in block
    names: dict[str, object] = {}
    exec(block.replace("runs/TASK/soft_prompt/HASH", str(run)), names)
    expected = icl.load_run(str(run)).predict_proba([names["sequence"]])[0]
    np.testing.assert_allclose(names["probabilities"].cpu().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "name"),
    [("tiny-1k", "LongSafari/hyenadna-tiny-1k-seqlen-hf"), ("bundled", "bundled"), ("a/b", "a/b")],
)
def test_the_backbone_is_named_in_the_adapter(tmp_path, backbone, name):
    model = small()
    assert save_prompt(model, prompt_of(model), WORDS, tmp_path)
    name_backbone(tmp_path, backbone)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == name and config["num_virtual_tokens"] == 3
    name_backbone(tmp_path / "none", backbone)
    assert not (tmp_path / "none").exists()


def test_generation_goes_on_with_the_likeliest_token_with_and_without_an_adapter():
    from peft import PromptTuningConfig, get_peft_model

    model, expected = small(), IDS
    for _ in range(4):
        token = model(expected).logits[:, -1].argmax(-1)
        expected = torch.cat([expected, token[:, None]], dim=1)
    asked = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(IDS, **asked), expected)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    prompted = get_peft_model(model, config)
    # PEFT guesses the embedding by its number of rows where it does not find it by its name.
    assert prompted.word_embeddings is model.get_input_embeddings()
    assert prompted.generate(input_ids=IDS, **asked).shape == (1, IDS.shape[1] + 4)


def test_the_model_refuses_what_it_does_not_have():
    model, mask = small(), torch.ones_like(IDS)
    plain = model(IDS, attention_mask=mask).logits
    assert torch.equal(model(IDS, return_dict=False)[0], plain)
    mask[0, -2:] = 0
    assert torch.equal(model(IDS, attention_mask=mask).logits, plain)
    mask[0, -2:], mask[0, 0] = 1, 0
    with pytest.raises(InputError, match="right"):
        model(IDS, attention_mask=mask)
    with pytest.raises(InputError, match="attention"):
        model(IDS, output_attentions=True)
    assert model.config.num_attention_heads == 0


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["method=soft_prompt", "method.placement=before"], 3),
        (["method=soft_prompt"], 0),
        (["method=ia3"], 3),
        (["method=instruction_tuning", "method.adapter=lora", "method.tuning_samples=8"], 3),
        (["method=fine_tune"], 0),
    ],
)
def test_a_run_leaves_the_adapter_beside_its_report(tiny, call, words, files):
    few = ["task=tiny_rows", "threads=1", "method.epochs=1", "backbone=bundled"]
    code, _, err = call(*few, *words)
    assert code == 0, err
    (report,) = Path("runs").rglob("report.json")
    folder = report.parent / "adapter"
    assert len(list(folder.glob("*"))) == files
