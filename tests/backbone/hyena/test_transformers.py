"""`import backbone` makes the model known to transformers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import backbone
from backbone.hyena import zoo
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.hyena.tokenizer import DNATokenizer, RNATokenizer

ROOT = Path(backbone.__file__).parents[1]
BUNDLED = ROOT / "backbone" / "weights" / "bundled"


def run(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = "import sys, backbone; print({'torch', 'transformers'} & set(sys.modules) or 'none')"
    assert run(code) == "none"


@pytest.mark.parametrize(
    "order", ["import backbone, transformers", "import transformers, backbone"]
)
def test_the_automatic_classes_load_the_bundled_checkpoint(order: str):
    code = f"""
{order}
path = {str(BUNDLED)!r}
config = transformers.AutoConfig.from_pretrained(path)
model = transformers.AutoModelForCausalLM.from_pretrained(path)
tokenizer = transformers.AutoTokenizer.from_pretrained(path)
print(*(type(x).__name__ for x in (config, model, tokenizer)), tokenizer("ACGTN")["input_ids"])
"""
    assert run(code) == "HyenaDNAConfig HyenaDNA DNATokenizer [7, 8, 9, 10, 11]"


def test_the_text_generation_pipeline_continues_dna_greedily():
    from transformers import pipeline

    generate = pipeline("text-generation", model=str(BUNDLED))
    (found,) = generate("ACGTACGTAC", max_new_tokens=4, do_sample=False)
    model, tokenizer = zoo.load("bundled"), DNATokenizer()
    ids = torch.tensor([tokenizer("ACGTACGTAC")["input_ids"]])
    for _ in range(4):
        with torch.no_grad():
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert found["generated_text"] == "".join(tokenizer.convert_ids_to_tokens(ids[0].tolist()))


def test_a_tokenizer_of_another_alphabet_comes_back_by_its_name(tmp_path: Path):
    from transformers import AutoTokenizer

    config = HyenaDNAConfig(d_model=8, n_layer=1, d_inner=16, max_seq_len=32)
    random_model(config, seed=0).save_pretrained(tmp_path)
    RNATokenizer().save_pretrained(tmp_path)
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path), RNATokenizer)
    assert isinstance(HyenaDNA.from_pretrained(tmp_path), HyenaDNA)
