"""Generation under the prompt of a class of a finished run."""

import pytest
import torch

from backbone.generate import Sampling
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.tokens import NUCLEOTIDES
from icl import generate
from icl.predict import load_method
from icl.reporting.report import find_reports


@pytest.fixture
def finished(call, tiny, tmp_path):
    """Folders of finished runs by their method."""
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=200, initializer_range=0.4)
    random_model(shape, seed=0).save_pretrained(tmp_path / "tiny")
    words = ("task=tiny_rows", "audit=none", "threads=1", f"backbone={tmp_path / 'tiny'}")
    call(*words, "method=soft_prompt", "k=3", "method.epochs=1", "method.readout=channel")
    call(*words, "method=few_shot", "k=1", "method.readout=channel")
    call(*words, "method=zero_shot")
    return {path.parent.parent.name: path.parent for path in find_reports(tmp_path)}


def test_bases_are_drawn_behind_the_vectors_of_the_class(finished):
    method, _ = load_method(finished["soft_prompt"])
    of_class = generate.ClassPrompt.of(method, "rich")
    model, sampling = of_class.model, Sampling(temperature=0)
    (drawn,) = generate.draw_sequences(model, of_class.context(9), 1, 8, sampling, prompt="G")
    vectors, text = of_class.reader.prompt.vectors[1].detach(), "G"
    for _ in range(8):
        ids = torch.tensor([7 + "ACGT".index(base) for base in text])
        whole = torch.cat([vectors, model.embed(ids)])[None]
        logits = model.logits(reference.encode(model, whole))[0, -1, list(NUCLEOTIDES)]
        text += "ACGT"[int(logits.argmax())]
    assert drawn == text


def test_sequences_do_not_depend_on_how_many_are_drawn_together(finished, monkeypatch):
    method, _ = load_method(finished["few_shot"])
    of_class = generate.ClassPrompt.of(method, "poor")
    found = []
    for rows in (64, 2):
        monkeypatch.setattr(generate, "ROWS", rows)
        context = of_class.context(12)
        found.append(generate.draw_sequences(of_class.model, context, 5, 12, Sampling(seed=1)))
    assert found[0] == found[1] and len(set(found[0])) == 5


def test_the_command_prints_fasta(finished, capsys):
    words = [f"run={finished['few_shot']}", "class=rich", "bases=90", "count=2", "prompt=ACGU"]
    assert generate.main([*words, "threads=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines if line[0] == ">"] == [">generated_1 ", ">generated_2 "]
    assert lines[1].startswith("ACGT") and [len(line) for line in lines[1:3]] == [80, 14]


MISTAKES = {
    ("few_shot", "class=rih"): "did you mean rich?",
    ("few_shot",): "class= is missing",
    ("few_shot", "class=rich", "bases=500"): "500 bases exceed the",
    ("few_shot", "class=rich", "prompt=AXC"): "position 2",
    ("few_shot", "class=rich", "temperature=-1"): "temperature=-1",
    ("few_shot", "class=rich", "count=0"): "count=0: must be 1 or more",
    ("zero_shot", "class=rich"): "method.readout=channel",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line(finished, capsys, words):
    method, *others = words
    assert generate.main([f"run={finished[method]}", *others]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert MISTAKES[words] in captured.err
