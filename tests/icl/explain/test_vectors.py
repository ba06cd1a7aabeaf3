"""Vectors of prompts: what they are near and worth, and prompts written as DNA."""

import numpy as np
import pandas as pd
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from icl.explain.__main__ import main
from icl.explain.dna_prompt import Search, as_prompt, prompt_table, searched
from icl.explain.vectors import (
    LearnedPrompt,
    matched_by_chance,
    nearest_nucleotides,
    similarity_table,
    vector_table,
)
from icl.method import Context
from icl.methods.catalog import METHODS
from icl.reporting.report import find_reports
from tasks.task import Example
from tests.devices import device, put


def rows(n: int, seed: int) -> list[Example]:
    random = np.random.default_rng(seed)
    shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    return [
        Example("".join(random.choice(list("ACGT"), size=12, p=shares[i % 2])), i % 2)
        for i in range(n)
    ]


TRAIN, VAL, TEST = rows(24, 1), rows(16, 2), rows(20, 3)


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=100, initializer_range=0.4)
    return put(random_model(shape, seed=3)).requires_grad_(False).eval()


def learned(model, name: str = "soft_prompt", prompt_tokens: int = 3, **options) -> LearnedPrompt:
    entry = METHODS.get(name)
    context = Context(
        ("poor", "rich"), 0, lambda: model, prompt_tokens=prompt_tokens, device=device()
    )
    method = entry.cls(entry.config(name=name, epochs=2, **options), context)
    method.fit(TRAIN, VAL)
    return LearnedPrompt.of(method, VAL, TEST)


WAYS = {
    "after": {},
    "split": dict(placement="split"),
    "deep": dict(name="deep_prompt", placement="split"),
    "channel": dict(readout="channel"),
    "deep channel": dict(name="deep_prompt", readout="channel"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_that_is_nothing_but_dna_is_found_again(model, way):
    prompt = learned(model, **WAYS[way])
    shape = prompt.prompt.stacked().shape[:2]
    ids = put(torch.randint(7, 11, shape, generator=torch.Generator().manual_seed(5)))
    made = as_prompt(prompt, ids)
    assert torch.equal(nearest_nucleotides(model, made.stacked()), ids)
    assert torch.equal(made.stacked(), model.embed(ids))
    assert not any(p.any() for n, p in made.named_parameters() if n.startswith("deep"))


@pytest.mark.parametrize("way", WAYS)
def test_a_vector_that_is_left_out_is_gone(model, way):
    prompt = learned(model, **WAYS[way]).prompt
    fewer = prompt.keeping([0, 2])
    assert torch.equal(fewer.stacked(), prompt.stacked()[:, [0, 2]])
    everything = prompt.keeping([0, 1, 2])
    for name, value in prompt.state_dict().items():
        assert torch.equal(everything.state_dict()[name], value), name
    assert prompt.keeping([]).stacked().numel() == 0


def test_the_table_of_vectors(model):
    prompt = learned(model, placement="split", prompt_tokens=3)
    words = model.get_input_embeddings().weight
    with torch.no_grad():
        prompt.prompt.before[0] = 3 * words[9]  # G, three times as long
    table = vector_table(prompt)
    assert list(table["place"]) == ["before_0", "after_0", "after_1"]
    assert (table["nucleotide"][0], table["token"][0]) == ("G", "G")
    assert table["cosine"][0] == pytest.approx(1, abs=1e-6)
    assert table["norm"][0] == pytest.approx(3 * float(words[9].norm()))
    unit = np.mean([float((words[a] - words[b]).norm()) for a in range(7, 11) for b in range(7, a)])
    assert table["distance"][0] == pytest.approx(2 * float(words[9].norm()) / unit, rel=1e-5)
    loss, _ = prompt.validation(prompt.prompt.keeping([0, 2]))
    assert table["loss_without"][1] == pytest.approx(loss)
    whole, _ = prompt.validation(prompt.prompt)
    assert table["contribution"][1] == pytest.approx(loss - whole)


def test_what_is_judged_is_what_the_run_would_say(model):
    """Offsets fitted anew on the validation rows are those of the run, which ended the same way."""
    for way in ("after", "channel"):
        prompt = learned(model, **WAYS[way])
        queries = prompt.fitted(prompt.prompt).queries(VAL, "both")
        scores = queries.scores()
        loss = -scores[np.arange(len(VAL)), queries.labels].mean()
        assert prompt.validation(prompt.prompt)[0] == pytest.approx(loss, abs=1e-5)


def test_similarity_does_not_depend_on_the_order():
    one = put(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)))
    other = one.flip(1) * 2
    table = similarity_table(["a", "b"], [one, other])
    assert table["matched"][0] == pytest.approx(1, abs=1e-6)
    assert table["in_place"][0] < 0.9
    assert 0 < table["matched_by_chance"][0] < 0.9
    assert matched_by_chance((1, 1, 500)) == pytest.approx(0, abs=0.02)
    with pytest.raises(InputError, match="prompts of one shape"):
        similarity_table(["a", "b"], [one, one[:, :2]])


def test_the_search_never_ends_worse_than_it_started(model):
    prompt = learned(model, prompt_tokens=2)
    start = nearest_nucleotides(model, prompt.prompt.stacked())
    found = searched(prompt, TRAIN, Search(passes=9))
    loss = [prompt.judged(as_prompt(prompt, ids), TRAIN)[0] for ids in (found, start)]
    assert loss[0] <= loss[1]
    for place in range(2):  # no single letter improves what was found
        for letter in (7, 8, 9, 10):
            other = found.clone()
            other[0, place] = letter
            assert prompt.judged(as_prompt(prompt, other), TRAIN)[0] >= loss[0]


def test_the_table_of_prompts(model):
    table = prompt_table(learned(model, prompt_tokens=2), TRAIN, Search(passes=1, starts=2))
    assert list(table["prompt"]) == ["learned", "nearest", "searched", "random", "none"]
    assert list(table["letters"].map(len)) == [0, 2, 2, 2, 0]
    assert (table["accuracy_low"] <= table["accuracy"]).all()


@pytest.fixture
def finished(call, tiny, tmp_path):
    """Folders of two runs that differ in their seeds, and of one without a prompt."""
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=100)
    put(random_model(shape, seed=0)).save_pretrained(tmp_path / "tiny")
    words = ("task=tiny_rows", "audit=none", "threads=1", f"backbone={tmp_path / 'tiny'}")
    call(*words, "method=soft_prompt", "k=2", "method.epochs=1", "seeds=2")
    call(*words[:3], "method=gc_only")
    soft = sorted(find_reports(tmp_path / "runs" / "tiny_rows" / "soft_prompt"))
    (other,) = find_reports(tmp_path / "runs" / "tiny_rows" / "gc_only")
    return [*(path.parent for path in soft), other.parent]


def test_vectors_and_dna_on_the_command_line(finished, tmp_path, capsys):
    one, two, other = finished
    out = tmp_path / "x"
    words = [f"run={one}", f"out={out}", "parts=[vectors,dna]", f"others=[{two}]", "threads=1"]
    assert main([*words, "passes=1", "search_rows=10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("prompt: nearest nucleotides ")
    assert {path.name for path in out.iterdir()} == {
        "vectors.tsv",
        "similarity.tsv",
        "prompts.tsv",
    }
    assert len(pd.read_csv(out / "vectors.tsv", sep="\t")) == 2
    assert main([f"run={other}", "parts=[vectors]"]) == 2
    error = capsys.readouterr().err
    assert "gc_only has learned no prompt vectors" in error and error.count("\n") == 1
    assert main([f"run={one}", "parts=[]"]) == 2 and main([f"run={one}", "parts=[dan]"]) == 2
