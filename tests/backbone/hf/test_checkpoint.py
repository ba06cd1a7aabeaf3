"""What is loaded as a backbone, and what is refused in one line."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    CpmAntConfig,
    GPTNeoXConfig,
    PreTrainedTokenizerFast,
)

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.models import backbone_details, load, weights_sha256
from backbone.places import pretraining_regions
from backbone.tokens import SEP, TOKEN_ID
from tests.backbone.hf.tiny_models import VOCABULARY, config_of, save, save_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save("llama", tmp_path / "llama", seed=3)


def change(folder: Path, file: str = "config.json", **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(folder: Path) -> None:
    model = load(f"hf:{folder}")
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_weights_are_read_in_single_precision(folder: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(folder).half()
    half.save_pretrained(folder)
    assert {p.dtype for p in load(f"hf:{folder}").parameters()} == {torch.float32}


def test_random_weights_have_the_same_shape_and_their_own_digest(folder: Path) -> None:
    stored, drawn, again = (load(f"{kind}hf:{folder}") for kind in ("", "random:", "random:"))
    shapes = [[p.shape for p in model.parameters()] for model in (stored, drawn)]
    assert shapes[0] == shapes[1] and stored.config == drawn.config
    assert weights_sha256(drawn) == weights_sha256(again) != weights_sha256(stored)


def test_the_digest_names_weights_and_vocabulary_and_not_the_folder(folder: Path, tmp_path) -> None:
    copy = save("llama", tmp_path / "copy", seed=3)
    assert weights_sha256(load(f"hf:{copy}")) == weights_sha256(load(f"hf:{folder}"))
    save_tokenizer(copy, start=("<s>",))
    assert weights_sha256(load(f"hf:{copy}")) != weights_sha256(load(f"hf:{folder}"))


def test_a_report_names_architecture_parameters_and_license(folder: Path) -> None:
    card = "---\nlanguage: dna\nlicense: cc-by-4.0\n---\n\n# A model\nlicense: none\n"
    (folder / "README.md").write_text(card)
    model = load(f"hf:{folder}")
    details = backbone_details(model)
    assert details == {
        "backbone_architecture": "LlamaForCausalLM",
        "backbone_parameters": sum(p.numel() for p in model.parameters()),
        "backbone_license": "cc-by-4.0",
    }
    assert pretraining_regions(f"hf:{folder}") is None


class Hub:
    """What `snapshot_download` does for a local stand-in of the Hub."""

    def __init__(self, root: Path, files: Path, commit: str) -> None:
        self.root, self.files, self.commit, self.asked = root, files, commit, []

    def __call__(self, hub: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((hub, revision))
        cached = self.root / hub.replace("/", "--") / "snapshots" / self.commit
        cached.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            for path in self.files.glob(pattern):
                (cached / path.name).write_bytes(path.read_bytes())
        return str(cached)


def test_an_id_is_fetched_at_its_revision_which_reports_name(folder, tmp_path, monkeypatch) -> None:
    hub = Hub(tmp_path / "cache", folder, "0123abc")
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    model = load("hf:lab/dna-llama@v1.0")
    assert hub.asked == [("lab/dna-llama", "v1.0")]
    assert backbone_details(model)["backbone_revision"] == "0123abc"
    assert weights_sha256(model) == weights_sha256(load(f"hf:{folder}"))


def test_an_id_that_is_not_cached_is_one_line_without_a_network(monkeypatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError, match="is not in the local cache and the Hub cannot be reached"):
        load("hf:lab/dna-llama")


def test_no_code_of_a_folder_is_fetched_or_run(folder, tmp_path, monkeypatch) -> None:
    trap = tmp_path / "trap"
    for name in ("modeling_llama.py", "configuration_llama.py", "tokenization.py", "__init__.py"):
        (folder / name).write_text(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n")
    load(f"hf:{folder}")
    hub = Hub(tmp_path / "cache", folder, "0123abc")
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    load("hf:lab/dna-llama")
    assert not trap.exists()
    assert not list((tmp_path / "cache").rglob("*.py"))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_checkpoint_that_asks_for_its_own_code_is_refused(folder, tmp_path, file) -> None:
    trap = tmp_path / "trap"
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(trap)!r}).touch()\n")
    change(folder, file, auto_map={"AutoModelForCausalLM": "own.Model", "AutoTokenizer": "own.T"})
    with pytest.raises(InputError, match=r"code of its own \(auto_map\), which is never done"):
        load(f"hf:{folder}")
    assert not trap.exists()


def merging_tokenizer(folder: Path) -> None:
    """A tokenizer that has learned to read AC and GT as one token each."""
    vocabulary = VOCABULARY | {"AC": 11, "GT": 12}
    inner = Tokenizer(models.BPE(vocabulary, [("A", "C"), ("G", "T")], unk_token="[UNK]"))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    made.save_pretrained(folder)


def kmer_tokenizer(folder: Path) -> None:
    """A tokenizer of overlapping words that stand apart."""
    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "ACG": 1}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("..."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]").save_pretrained(folder)


def without_n(folder: Path) -> None:
    """A tokenizer that leaves out what it does not know."""
    vocabulary = {token: i for token, i in VOCABULARY.items() if token not in ("N", "[UNK]")}
    inner = Tokenizer(models.BPE(vocabulary, []))
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)


def beyond(folder: Path) -> None:
    save_tokenizer(folder, VOCABULARY | {"A": 40})


@pytest.mark.parametrize(
    ("tokenizer", "says"),
    [
        (merging_tokenizer, r"reads 69 bases as \d\d tokens \(BPE or k-mers\)"),
        (kmer_tokenizer, "does not read A, C, G and T as one token each"),
        (without_n, "neither a token for N nor an unknown token"),
        (beyond, "ids beyond the model's 11 tokens"),
    ],
)
def test_a_tokenizer_that_does_not_read_single_bases_is_refused(folder, tokenizer, says) -> None:
    tokenizer(folder)
    with pytest.raises(InputError, match=says):
        load(f"hf:{folder}")


def test_n_without_a_token_is_read_as_the_unknown_one(folder: Path) -> None:
    vocabulary = {token: i for token, i in VOCABULARY.items() if token != "N"}
    save_tokenizer(folder, vocabulary)
    model = load(f"hf:{folder}")
    assert TOKEN_ID["[UNK]"] in model.absent and TOKEN_ID["N"] not in model.absent


def test_the_end_of_a_text_is_a_separator_where_there_is_no_other(folder: Path) -> None:
    save_tokenizer(folder, specials={"unk_token": "[UNK]", "eos_token": "</s>"})
    assert SEP not in load(f"hf:{folder}").absent


def test_a_token_that_there_is_not_is_named_when_it_is_read(folder: Path) -> None:
    save_tokenizer(folder, specials={"unk_token": "[UNK]"})
    model = load(f"hf:{folder}")
    with pytest.raises(InputError, match=r"no token for \[SEP\]: .* nor an end of text"):
        model.embed(torch.tensor([SEP]))
    with pytest.raises(InputError, match=r"no token for \[MASK\]"):
        model.embed(torch.tensor([TOKEN_ID["[MASK]"]]))


def bert(folder: Path) -> None:
    shape = dict(num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForMaskedLM(BertConfig(vocab_size=11, hidden_size=16, **shape)).save_pretrained(folder)


def hyena(folder: Path) -> None:
    random_model(
        HyenaDNAConfig(d_model=8, n_layer=1, d_inner=16, max_seq_len=64), 0
    ).save_pretrained(folder)


def incomplete(folder: Path) -> None:
    AutoModelForCausalLM.from_config(config_of("llama")).model.save_pretrained(folder)


def not_finite(folder: Path) -> None:
    model = AutoModelForCausalLM.from_config(config_of("llama"))
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    model.save_pretrained(folder)


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (bert, "is a masked model (bert), which reads both sides"),
        (lambda f: change(f, architectures=["LlamaForMaskedLM"]), "is a masked model"),
        (lambda f: CpmAntConfig().save_pretrained(f), "reads token ids only (no inputs_embeds)"),
        (lambda f: GPTNeoXConfig().save_pretrained(f), "gpt_neox is none of the architectures"),
        (lambda f: change(f, model_type="dnabert9"), "dnabert9 is no architecture of transformers"),
        (lambda f: change(f, model_type="t5"), "t5 is no causal language model"),
        (hyena, "is a HyenaDNA: leave out hf:"),
        (lambda f: (f / "config.json").unlink(), "there is no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is no JSON"),
        (lambda f: (f / "tokenizer.json").unlink(), "its tokenizer cannot be read"),
        (incomplete, "lm_head.weight is missing"),
        (not_finite, "lm_head.weight is not finite"),
        (truncated, "its weights cannot be read"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_in_one_line(folder: Path, made, says: str) -> None:
    made(folder)
    with pytest.raises(InputError) as told:
        load(f"hf:{folder}")
    assert says in str(told.value) and "\n" not in str(told.value)


def test_a_name_that_is_neither_folder_nor_id_is_refused() -> None:
    with pytest.raises(InputError, match="there is no such folder, and an id on the Hub is"):
        load("hf:no_such_folder")
