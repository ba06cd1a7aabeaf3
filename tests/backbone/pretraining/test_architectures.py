"""Models of transformers trained by the same trainer: they learn, resume, and are backbones."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from backbone.common.errors import InputError
from backbone.hyena.model import HyenaDNA
from backbone.models import load
from backbone.pretrain import main, pretrain, source_of
from backbone.pretraining.trainer import Trainer
from backbone.tokens import TOKENS, encode_dna
from tests.backbone.pretraining.pretraining import lines, tiny

KINDS = ("llama", "mamba")


@pytest.fixture(autouse=True)
def undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps indexes in the test's folder, and the number of threads as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_a_motif_is_learned_and_the_exported_folder_is_a_backbone(tmp_path: Path, kind) -> None:
    config = tiny(tmp_path, architecture=kind, tokens=256 * 60, lr=0.02, checkpoint_every=10**9)
    folder = pretrain(config)
    (perplexity,) = lines(config.out, "final_valid_perplexity")
    assert perplexity < 3
    model = load(f"hf:{folder}")
    assert model.config.max_seq_len == 64 and len(model.start()) == 0
    assert model.vocabulary.own[: len(TOKENS)] == tuple(
        None if token == "[RESERVED]" else i for i, token in enumerate(TOKENS)
    )
    text = "ACCGTTTAGGCANACCG"
    ids = torch.from_numpy(encode_dna(text))[None]
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    read = AutoTokenizer.from_pretrained(folder)(text.lower(), return_tensors="pt")["input_ids"]
    assert torch.equal(read, ids)
    with torch.no_grad():
        expected = plain(input_ids=ids, use_cache=False).logits[..., 7:]
        found = model.logits(model.encode(model.embed(ids)))[..., 7:12]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path, kind: str) -> None:
    whole = pretrain(tiny(tmp_path, architecture=kind))
    config = tiny(tmp_path, architecture=kind, out=str(tmp_path / "again"))
    list(islice(Trainer(config, source_of(config)).run(), 7))  # the last checkpoint is at step 4
    again = pretrain(config)
    weights = [load_file(folder / "model.safetensors") for folder in (whole, again)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


def test_weights_start_as_the_seed_says(tmp_path: Path) -> None:
    configs = [tiny(tmp_path, architecture="llama", seed=seed) for seed in (0, 0, 1)]
    models = [Trainer(config, source_of(config)).model for config in configs]
    heads = [model.get_output_embeddings().weight for model in models]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert all(math.isfinite(float(head.sum())) for head in heads)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["architecture=lama"], "architecture=lama"),
        (["architecture=llama", "gradient_checkpointing=block"], "is HyenaDNA's; drop it"),
        (["architecture=llama", "d_model=99"], "d_model=99 has 3 heads"),
        (["architecture=mamba", "source=related"], "source=windows of alphabet=dna"),
        (["architecture=mamba", "alphabet=protein"], "source=windows of alphabet=dna"),
    ],
)
def test_what_only_hyena_has_is_refused_in_one_line(words, says, capsys) -> None:
    assert main(["fasta=[x.fa]", "out=run", "minutes=1", *words]) == 2
    told = capsys.readouterr().err
    assert says in told and told.strip().count("\n") == 0


def test_a_run_of_one_architecture_does_not_go_on_as_another(tmp_path: Path) -> None:
    pretrain(tiny(tmp_path, architecture="llama", tokens=256))
    with pytest.raises(InputError, match="architecture=llama, not mamba"):
        pretrain(tiny(tmp_path, architecture="mamba", tokens=256))


def test_a_run_can_start_from_the_weights_of_another(tmp_path):
    first = pretrain(tiny(tmp_path, out=str(tmp_path / "first")))
    config = tiny(tmp_path, out=str(tmp_path / "second"), init=str(first))
    begun = Trainer(config, source_of(config)).model
    for name, values in HyenaDNA.from_pretrained(first).state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], values, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"has d_model=16, not 8; give d_model=16"):
        pretrain(replace(config, d_model=8, out=str(tmp_path / "third")))
    with pytest.raises(InputError, match="architecture=llama: init="):
        pretrain(replace(config, architecture="llama"))
