import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbone.common.errors import InputError
from backbone.hyena import zoo
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.hyena.tokenizer import DNATokenizer

LAYOUTS = ["tiny-1k-d128", "d128-checkpointed-lightning", "hf-tiny-1k-d128"]


@pytest.fixture
def model() -> HyenaDNA:
    return random_model(HyenaDNAConfig(d_model=16, n_layer=2, d_inner=32, max_seq_len=64), seed=1)


@pytest.fixture
def folder(model: HyenaDNA, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def published_form(model: HyenaDNA, folder: Path, checkpointed: bool) -> None:
    """Writes a model as the reference repository does, by its documented names."""
    folder.mkdir()
    c = model.config
    layer = {"_name_": "hyena", "emb_dim": c.emb_dim, "filter_order": c.filter_order, "l_max": 64}
    layer |= {"local_order": 3, "modulate": True, "w": 10, "lr_pos_emb": 0.0}
    config = {"d_model": 16, "n_layer": 2, "d_inner": 32, "vocab_size": 12, "layer": layer}
    (folder / "config.json").write_text(json.dumps(config | {"pad_vocab_size_multiple": 8}))
    state = {}
    for name, tensor in model.state_dict().items():
        name = "model." + name.removeprefix("hyena.")
        if checkpointed:
            name = name.replace(".mixer.", ".mixer.layer.").replace(".mlp.", ".mlp.layer.")
        state[name] = tensor
        if name.endswith("implicit_filter.1.freq"):
            state[name.replace(".1.freq", ".3.freq")] = tensor
    state["train_torchmetrics.perplexity.total_log_probs"] = torch.zeros(1)
    torch.save({"epoch": 1, "state_dict": state}, folder / "weights.ckpt")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_agree_with_the_reference_in_every_layout(golden: Path, layout: str) -> None:
    model = zoo.load(str(golden / layout))
    expected = load_file(golden / layout / "expected.safetensors")
    with torch.no_grad():
        ids = expected["input_ids"]
        assert (model(ids).logits - expected["logits"]).abs().max() < 1e-4
        prompt = expected["soft_prompt"].expand(len(ids), -1, -1)
        vectors = torch.cat([prompt, model.embed(ids)], dim=1)[:, : ids.shape[1]]
        logits = model(inputs_embeds=vectors).logits
        assert (logits - expected["soft_prompt_logits"]).abs().max() < 1e-4


@pytest.mark.parametrize("checkpointed", [False, True])
def test_reference_layouts_give_the_same_model(
    model: HyenaDNA, tmp_path: Path, checkpointed: bool
) -> None:
    published_form(model, tmp_path / "published", checkpointed)
    assert zoo.weights_sha256(zoo.load(str(tmp_path / "published"))) == zoo.weights_sha256(model)


def test_saved_model_comes_back_by_load_and_by_from_pretrained(
    model: HyenaDNA, folder: Path
) -> None:
    ids = torch.randint(7, 11, (2, 20))
    with torch.no_grad():
        expected = model.eval()(ids).logits
        assert torch.equal(zoo.load(str(folder))(ids).logits, expected)
        assert torch.equal(HyenaDNA.from_pretrained(folder).eval()(ids).logits, expected)


def test_loaded_model_is_frozen_and_in_evaluation_mode(folder: Path) -> None:
    loaded = zoo.load(str(folder))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_untied_head_is_kept(tmp_path: Path) -> None:
    config = HyenaDNAConfig(
        d_model=16, n_layer=1, d_inner=32, max_seq_len=64, tie_word_embeddings=False
    )
    model = random_model(config, seed=3)
    model.save_pretrained(tmp_path / "untied")
    loaded = zoo.load(str(tmp_path / "untied"))
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(loaded.lm_head.weight, loaded.get_input_embeddings().weight)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("hyena.backbone.ln_f.bias"), "ln_f.bias is missing"),
        (lambda t: t.update(spare=torch.zeros(2)), "spare is not of this model"),
        (
            lambda t: t.update({"hyena.backbone.ln_f.bias": torch.zeros(3)}),
            r"ln_f.bias has shape \(3,\)",
        ),
    ],
)
def test_wrong_tensor_is_named(folder: Path, change, says: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=says):
        zoo.load(str(folder))


def test_positional_features_that_are_not_the_formula_are_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "hyena.backbone.layers.1.mixer.filter_fn.modulation.deltas"
    tensors[name] = torch.full((1, 1, 16), 7.0)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=name):
        zoo.load(str(folder))


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_malicious_pickle_runs_nothing_and_is_named(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": {}, "x": Malicious(trap)}, folder / "weights.ckpt")
    with pytest.raises(InputError, match="would run .*mkdir"):
        zoo.load(str(folder))
    (folder / "weights.ckpt").write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(InputError, match=r"weights\.ckpt"):
        zoo.load(str(folder))
    assert not trap.exists()


@pytest.mark.parametrize("file", ["model.safetensors", "weights.ckpt"])
def test_truncated_weights_are_named(model: HyenaDNA, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "cut"
    published_form(model, folder, checkpointed=False)
    if file == "model.safetensors":
        save_file({"x": torch.zeros(50)}, folder / file)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=file):
        zoo.load(str(folder))


def test_folder_without_checkpoint_and_unknown_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json"):
        zoo.load(str(tmp_path))
    with pytest.raises(InputError, match="did you mean tiny-1k"):
        zoo.load("tiny_1k")


def test_published_name_loads_from_a_local_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot(hub: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((hub, revision))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    zoo.load("tiny-1k@abc")
    assert asked == [("LongSafari/hyenadna-tiny-1k-seqlen-hf", "abc")]


def test_published_name_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(InputError, match="backbone=FOLDER"):
        zoo.load("small-32k")


def test_random_control_has_the_shape_but_not_the_weights(folder: Path) -> None:
    before = torch.random.get_rng_state()
    control, trained = zoo.load(f"random:{folder}"), zoo.load(str(folder))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert control.config.d_model == trained.config.d_model
    assert zoo.weights_sha256(control) != zoo.weights_sha256(trained)
    assert zoo.weights_sha256(control) == zoo.weights_sha256(zoo.load(f"random:{folder}"))


def test_digest_changes_with_a_single_weight(model: HyenaDNA, folder: Path) -> None:
    loaded = zoo.load(str(folder))
    assert zoo.weights_sha256(loaded) == zoo.weights_sha256(model)
    loaded.backbone.ln_f.bias[3] += 1e-3
    assert zoo.weights_sha256(loaded) != zoo.weights_sha256(model)


def test_tokenizer_is_saved_and_loaded_with_the_model(folder: Path) -> None:
    DNATokenizer().save_pretrained(folder)
    assert DNATokenizer.from_pretrained(folder)("acgtn")["input_ids"] == [7, 8, 9, 10, 11]
