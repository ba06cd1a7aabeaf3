"""The bundled weights in every form in which people have checkpoints: written here, read back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hyena import checkpoints, zoo
from backbone.hyena.model import HyenaDNA

Tensors = dict[str, Tensor]
SPECIALS = ["<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>"]


@pytest.fixture(scope="module")
def bundled() -> HyenaDNA:
    return zoo.load("bundled")


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """The tensors of the bundled file, under the names of the Hub's port."""
    return load_file(checkpoints.WEIGHTS / "bundled" / "model.safetensors")


def config(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = json.loads((checkpoints.WEIGHTS / "bundled" / "config.json").read_text())
    # As a checkpoint of others: what this project saves itself needs no confirmation.
    (folder / "config.json").write_text(json.dumps(raw | {"architectures": ["Other"]} | changes))


def positions(model: HyenaDNA, dtype: torch.dtype = torch.float32) -> Tensors:
    """The positional buffers that the published layouts carry."""
    found = {}
    for i, block in enumerate(model.backbone.layers):
        filters = block.mixer.filter_fn
        features, t = filters.positions(model.config.max_seq_len)
        name = f"hyena.backbone.layers.{i}.mixer.filter_fn."
        found[f"{name}pos_emb.z"] = features[None].to(dtype).clone()
        found[f"{name}pos_emb.t"] = t[None].to(dtype).clone()
        found[f"{name}modulation.deltas"] = -filters.decay()[None, None].to(dtype).clone()
    return found


def difference(folder: Path | str, bundled: HyenaDNA) -> float:
    """The largest difference of the nucleotides' logits, as a share of the largest logit."""
    ids = torch.randint(7, 12, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = zoo.load(str(folder))(ids).logits, bundled(ids).logits
    return float((ours - theirs)[..., 7:12].abs().max() / theirs[..., 7:12].abs().max())


def wrapped(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda given: {
        prefix + name.removeprefix("hyena."): tensor for name, tensor in given.items()
    }


def compiled_inside(given: Tensors) -> Tensors:
    """Layers wrapped by torch.compile one by one, in a model under DistributedDataParallel."""
    return {
        "module." + name.replace(".mixer.", "._orig_mod.mixer."): tensor
        for name, tensor in given.items()
    }


WRAPPED = {
    "module.": wrapped("module."),
    "_orig_mod.": wrapped("_orig_mod."),
    "model.": wrapped("model."),
    "module._orig_mod.model.": wrapped("module._orig_mod.model."),
    "_orig_mod.module.model.": wrapped("_orig_mod.module.model."),
    "model.module._orig_mod.": wrapped("model.module._orig_mod."),
    "model.model.": wrapped("model.model."),
    "module.hyena.": lambda given: {f"module.{name}": t for name, t in given.items()},
    "compiled layers": compiled_inside,
}


@pytest.mark.parametrize("form", WRAPPED)
def test_wrappers_of_training_are_taken_off_in_any_order(form, tensors, bundled, tmp_path):
    config(tmp_path)
    save_file(WRAPPED[form](tensors), tmp_path / "model.safetensors")
    assert difference(tmp_path, bundled) < 1e-5


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.ckpt", "last.ckpt", "best.pt"])
def test_pickled_weights_are_read_as_weights_alone(name, tensors, bundled, tmp_path):
    config(tmp_path)
    content = {"state_dict": tensors} if name.endswith("ckpt") else tensors
    torch.save(content, tmp_path / name)
    assert difference(tmp_path, bundled) < 1e-5


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_joined_by_their_index(kind, tensors, bundled, tmp_path):
    config(tmp_path)
    names = sorted(tensors)
    stem, suffix = kind.split(".")
    shards = [f"{stem}-0000{i + 1}-of-00002.{suffix}" for i in range(2)]
    places = {name: shards[i % 2] for i, name in enumerate(names)}
    for shard in shards:
        part = {name: tensors[name] for name in names if places[name] == shard}
        save = save_file if suffix == "safetensors" else torch.save
        save(part, tmp_path / shard)
    index = tmp_path / f"{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert difference(tmp_path, bundled) < 1e-5

    (tmp_path / shards[1]).unlink()
    with pytest.raises(InputError, match=f"names {shards[1]}, which is not in the same folder"):
        zoo.load(str(tmp_path))


def test_an_index_that_points_outside_its_folder_is_refused(tensors, tmp_path):
    config(tmp_path / "inside")
    save_file(tensors, tmp_path / "outside.safetensors")
    index = tmp_path / "inside" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "../outside.safetensors")}))
    with pytest.raises(InputError, match="not in the same folder"):
        zoo.load(str(tmp_path / "inside"))


def test_a_single_file_is_a_backbone_with_its_config_beside_it(tensors, bundled, tmp_path):
    config(tmp_path)
    save_file(tensors, tmp_path / "epoch_3.safetensors")
    assert difference(tmp_path / "epoch_3.safetensors", bundled) < 1e-5


def test_a_file_alone_gives_its_own_shape_where_it_can(tensors, bundled, tmp_path):
    save_file(tensors | positions(bundled), tmp_path / "alone.safetensors")
    assert difference(tmp_path / "alone.safetensors", bundled) < 1e-5
    loaded = zoo.load(str(tmp_path / "alone.safetensors"))
    assert zoo.weights_sha256(loaded) == zoo.weights_sha256(bundled)

    save_file(tensors, tmp_path / "short.safetensors")
    with pytest.raises(InputError, match="put its config.json there"):
        zoo.load(str(tmp_path / "short.safetensors"))


def test_several_files_of_weights_are_not_chosen_between(tensors, tmp_path):
    config(tmp_path)
    for name in ("epoch_1.ckpt", "epoch_2.ckpt"):
        torch.save(tensors, tmp_path / name)
    with pytest.raises(InputError, match="give one of them: epoch_1.ckpt, epoch_2.ckpt"):
        zoo.load(str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_weights_and_buffers_are_read_as_float32(dtype, tensors, bundled, tmp_path, caplog):
    config(tmp_path)
    stored = {name: t.to(dtype) for name, t in tensors.items()} | positions(bundled, dtype)
    save_file(stored, tmp_path / "model.safetensors")
    assert difference(tmp_path, bundled) < 1e-2
    assert f"stored in {str(dtype)[6:]} and read as float32" in caplog.text
    assert next(zoo.load(str(tmp_path)).parameters()).dtype == torch.float32


def test_a_trainers_heads_and_metrics_are_left_out_and_named(tensors, bundled, tmp_path, caplog):
    config(tmp_path)
    extra = {
        "decoder.0.output_transform.weight": torch.zeros(2, 128),
        "score.weight": torch.zeros(2, 128),
        "val_torchmetrics.accuracy.total": torch.zeros(1),
    }
    save_file(tensors | positions(bundled) | extra, tmp_path / "model.safetensors")
    assert difference(tmp_path, bundled) < 1e-5
    assert "left out 3 tensors besides those of the language model: decoder.0" in caplog.text
    assert zoo.provenance(zoo.load(str(tmp_path))).notes == (
        "left out 3 tensors besides those of the language model: "
        "decoder.0.output_transform.weight, score.weight, val_torchmetrics.accuracy.total",
    )


def test_a_context_length_that_no_tensor_confirms_is_said(tensors, bundled, tmp_path, caplog):
    config(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors")
    zoo.load(str(tmp_path))
    assert "max_seq_len=10240 is what config.json says; no tensor confirms it" in caplog.text
    caplog.clear()
    save_file(tensors | positions(bundled), tmp_path / "model.safetensors")
    zoo.load(str(tmp_path)), zoo.load("bundled")
    assert not caplog.text


def test_a_context_length_that_the_buffers_contradict_is_refused(tensors, bundled, tmp_path):
    config(tmp_path, max_seq_len=4096)
    save_file(tensors | positions(bundled), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="pos_emb.z is not what max_seq_len"):
        zoo.load(str(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, tensors, tmp_path):
    config(tmp_path)
    name = "hyena.backbone.layers.1.mlp.fc1.weight"
    broken = tensors[name].clone()
    broken[3, 4] = value
    save_file(tensors | {name: broken}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=f"{name} has 1 of 65536 values that are NaN or infinite"):
        zoo.load(str(tmp_path))


def multimolecule(folder: Path, tensors: Tensors, letters: str = "ACGTN") -> list[str]:
    """Writes MultiMolecule's layout: other names, sines everywhere, another vocabulary's order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = [*SPECIALS, *letters]
    of_ours = ["<cls>", "<eos>", "<null>", "<mask>", "<pad>", "<null>", "<unk>", *"ACGTN"]
    stored: Tensors = {}
    for name, tensor in tensors.items():
        name = name.replace("hyena.backbone.", "model.").replace(".ln_f.", ".final_layer_norm.")
        if name.endswith("word_embeddings.weight"):
            rows = [of_ours.index(token) if token in of_ours else 6 for token in order]
            tensor = torch.cat([tensor[rows], torch.zeros(16 - len(rows), tensor.shape[1])])
            stored["lm_head.weight"] = tensor.clone()
        if name.endswith(".1.freq"):
            for place in (3, 5):
                stored[name.replace(".1.freq", f".{place}.freq")] = tensor.clone()
        stored[name] = tensor
    save_file(stored, folder / "model.safetensors")
    shape = {"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 512}
    shape |= {"max_position_embeddings": 10240, "filter_emb_dim": 5, "layer_norm_eps": 1e-5}
    shape |= {"vocab_size": len(order), "pad_token_id": 0, "model_type": "hyenadna"}
    (folder / "config.json").write_text(json.dumps(shape | {"embedding_dropout": 0.1}))
    (folder / "vocab.txt").write_text("\n".join(order) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"nmers": 1, "codon": False}))
    return order


@pytest.mark.parametrize("letters", ["ACGTN", "NTGCA", "ACGTRYN"])
def test_multimolecules_port_is_read_by_its_own_vocabulary(letters, tensors, bundled, tmp_path):
    multimolecule(tmp_path, tensors, letters)
    assert difference(tmp_path, bundled) < 1e-5
    assert zoo.load(str(tmp_path)).config.pad_token_id == 4  # the ids are this vocabulary's


def test_multimolecules_port_without_its_vocabulary_or_of_longer_words_is_refused(
    tensors, tmp_path
):
    multimolecule(tmp_path, tensors)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"nmers": 3}))
    with pytest.raises(InputError, match="its tokens are k-mers"):
        zoo.load(str(tmp_path))
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt must be in the folder of the weights"):
        zoo.load(str(tmp_path))


def test_a_classifier_without_a_head_is_read_with_tied_weights(tensors, bundled, tmp_path):
    config(tmp_path, tie_word_embeddings=False)
    save_file(
        {n: t for n, t in tensors.items() if n != "lm_head.weight"}
        | {"score.weight": torch.zeros(2, 128)},
        tmp_path / "model.safetensors",
    )
    assert difference(tmp_path, bundled) < 1e-5


class Hub:
    """What `snapshot_download` does for a local stand-in of the Hub."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error, self.asked = folder, error, []

    def __call__(self, hub: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((hub, revision, tuple(allow_patterns)))
        if self.error:
            raise self.error
        return str(self.folder)


def test_a_full_id_of_the_hub_is_fetched_at_its_revision(tensors, tmp_path, monkeypatch):
    folder = tmp_path / "snapshots" / "0123abc"
    config(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    hub = Hub(folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    model = zoo.load("owner/some-hyena@v1.0")
    assert [one[:2] for one in hub.asked] == [("owner/some-hyena", "v1.0")] * 2
    # Pickles are asked for only where there are no safetensors.
    assert "model*.safetensors" in hub.asked[0][2] and "pytorch_model*.bin" in hub.asked[1][2]
    assert zoo.provenance(model).revision == "0123abc"


def failures() -> dict[str, tuple[Exception, str]]:
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    answer = httpx2.Response(404, request=httpx2.Request("GET", "http://localhost"))
    return {
        "revision": (RevisionNotFoundError("no", response=answer), "has no revision v9"),
        "gated": (GatedRepoError("no", response=answer), "accept its terms"),
        "missing": (RepositoryNotFoundError("no", response=answer), "the Hub has no model"),
        "network": (LocalEntryNotFoundError("no"), "the Hub cannot be reached"),
        "disk": (OSError(28, "No space left on device", "/cache/x"), "no space is left"),
    }


@pytest.mark.parametrize("kind", ["revision", "gated", "missing", "network", "disk"])
def test_what_the_hub_refuses_is_said_in_a_line_of_its_own(kind, tmp_path, monkeypatch):
    error, says = failures()[kind]
    monkeypatch.setattr("huggingface_hub.snapshot_download", Hub(tmp_path, error))
    with pytest.raises(InputError, match=says) as caught:
        zoo.load("owner/some-hyena@v9")
    assert "\n" not in str(caught.value)
