"""Every command on a model of transformers, beside what transformers itself computes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from backbone import generate as generation
from backbone import likelihood
from backbone.models import load
from backbone.sequence.dna import reverse_complement
from experiments import probe
from icl import generate, load_run
from icl.explain import __main__ as explain
from icl.inference.embedding import embed, layer_names
from icl.reporting.report import find_reports, read_report
from icl.variants import __main__ as variants
from tests.backbone.hf.tiny_models import VOCABULARY, save, save_tokenizer

TEXT = "GATTACANCCGGTTAACGTACGTAGC"


@pytest.fixture(params=["llama", "mamba"])
def folder(request, tmp_path: Path) -> Path:
    return save(request.param, tmp_path / "model", ("<s>",), seed=6)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(variants, "prepare_arithmetic", lambda *_: None)


def plain(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def states_and_logits(folder: Path, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Final states (L, D) and logits of A, C, G and T (L, 4) behind every base of a text."""
    ids = torch.tensor([[VOCABULARY["<s>"], *(VOCABULARY[letter] for letter in text)]])
    with torch.no_grad():
        found = plain(folder)(input_ids=ids, output_hidden_states=True, use_cache=False)
    return found.hidden_states[-1][0, 1:], found.logits[0, 1:, [VOCABULARY[x] for x in "ACGT"]]


def log_likelihood(folder: Path, text: str) -> float:
    log_p = states_and_logits(folder, text)[1].log_softmax(-1)
    known = [(t, "ACGT".index(text[t])) for t in range(1, len(text)) if text[t] != "N"]
    return float(sum(log_p[t - 1, letter] for t, letter in known))


def table(path: str) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_likelihoods_are_those_of_the_plain_model(folder: Path) -> None:
    Path("x.fa").write_text(f">one\n{TEXT}\n")
    assert likelihood.main([f"backbone=hf:{folder}", "fasta=x.fa"]) == 0
    (row,) = table("likelihood.tsv")
    for name, text in (("forward", TEXT), ("reverse", reverse_complement(TEXT))):
        assert float(row[name]) == pytest.approx(log_likelihood(folder, text), abs=1e-3)


def test_the_likeliest_bases_go_on_as_the_plain_model_says(folder: Path, capsys) -> None:
    words = [f"backbone=hf:{folder}", "prompt=GATTACA", "bases=8", "temperature=0"]
    assert generation.main(words) == 0
    text = "GATTACA"
    for _ in range(8):
        text += "ACGT"[int(states_and_logits(folder, text)[1][-1].argmax())]
    assert capsys.readouterr().out.splitlines()[1] == text


def test_embeddings_are_means_of_the_plain_models_states(folder: Path) -> None:
    model = load(f"hf:{folder}")
    assert layer_names(model) == ("embedding", "block_1", "block_2", "final_norm")
    found = embed(model, [TEXT], strands="forward")
    expected = states_and_logits(folder, TEXT)[0].double().mean(dim=0)
    np.testing.assert_allclose(found["final_norm"][0], expected, atol=1e-5)


def test_variants_change_likelihood_and_states_as_in_whole_sequences(folder: Path) -> None:
    alt = f"{TEXT[:9]}A{TEXT[10:]}"
    Path("pairs.csv").write_text(f"ref,alt\n{TEXT},{alt}\n")
    assert variants.main([f"backbone=hf:{folder}", "table=pairs.csv", "out=o"]) == 0
    (row,) = table("o/variants.tsv")
    strands = [(TEXT, alt), tuple(map(reverse_complement, (TEXT, alt)))]
    changes = [log_likelihood(folder, b) - log_likelihood(folder, a) for a, b in strands]
    assert float(row["delta_log_likelihood"]) == pytest.approx(np.mean(changes), abs=1e-4)
    gaps = []
    for (one, other), start in zip(strands, (9, len(TEXT) - 10), strict=True):
        means = [states_and_logits(folder, x)[0][start:].mean(dim=0) for x in (one, other)]
        gaps.append(float((means[1] - means[0]).norm()))
    assert float(row["state_distance"]) == pytest.approx(np.mean(gaps), abs=1e-4)


def test_a_probe_asks_it_in_context(folder: Path) -> None:
    words = [f"backbone=hf:{folder}", "episodes=2", "shots=[1]", "threads=1", "out=p"]
    assert probe.main(["probe=[copy]", *words]) == 0


@pytest.fixture
def finished(call, tiny, folder: Path, tmp_path: Path) -> dict[str, Path]:
    """Folders of finished runs by their control and readout."""
    words = ("task=tiny_rows", "audit=none", "threads=1", f"backbone=hf:{folder}")
    words = (*words, "method=soft_prompt", "k=2", "method.epochs=1", "test_rows=8", "val_rows=8")
    assert call(*words, "n_train=16", "controls=[random_backbone]")[0] == 0
    assert call(*words, "n_train=16", "method.readout=channel")[0] == 0
    reports = {path: read_report(path) for path in find_reports(tmp_path)}
    return {
        one.setup.control or one.setup.config["method"]["readout"]: path.parent
        for path, one in reports.items()
    }


def test_a_run_and_its_control_say_what_they_read(finished, folder: Path) -> None:
    own, control = (read_report(finished[n] / "report.json") for n in ("direct", "random_backbone"))
    assert own.setup.backbone == f"hf:{folder}"
    assert control.setup.backbone == f"random:hf:{folder}"
    assert own.setup.weights_sha256 != control.setup.weights_sha256
    count = sum(p.numel() for p in plain(folder).parameters())
    for report in (own, control):
        assert report.outcome.details["backbone_parameters"] == count
        assert report.outcome.details["backbone_architecture"] == type(plain(folder)).__name__


def test_a_finished_run_is_found_again_and_answers(finished, call, folder: Path) -> None:
    words = ("task=tiny_rows", "audit=none", "threads=1", f"backbone=hf:{folder}")
    words = (*words, "method=soft_prompt", "k=2", "method.epochs=1", "test_rows=8", "val_rows=8")
    code, out, _ = call(*words, "n_train=16")
    assert code == 0 and "already there" in out
    found = load_run(finished["direct"]).predict_proba(["ACGTACGT", "TTTTAAAA"])
    assert found.shape == (2, 2) and np.isfinite(found).all()


def test_weights_that_changed_since_are_refused(finished, folder: Path) -> None:
    kind = "llama" if "Llama" in type(plain(folder)).__name__ else "mamba"
    save(kind, folder, ("<s>",), seed=7)
    with pytest.raises(ValueError, match="has other weights than when the run was made"):
        load_run(finished["direct"])


def test_dna_is_drawn_behind_the_prompt_of_a_class(finished, capsys) -> None:
    words = [f"run={finished['channel']}", "class=rich", "bases=12", "threads=1"]
    assert generate.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()[1]) == 12


def test_what_a_prompt_is_made_of_is_told(finished, tmp_path: Path) -> None:
    words = [f"run={finished['direct']}", "parts=[vectors]", "out=e", "threads=1", "audit=none"]
    explain.main([word for word in words if "audit" not in word])
    (found,) = tmp_path.rglob("vectors.tsv")
    assert {row["nucleotide"] for row in table(str(found))} <= set("ACGT")


def test_a_mistake_is_one_line_and_nothing_is_written(call, tiny, folder, tmp_path, capsys) -> None:
    save_tokenizer(folder, specials={"unk_token": "[UNK]"})
    capsys.readouterr()  # what transformers printed while it saved
    code, _, err = call("task=tiny_rows", "method=zero_shot", f"backbone=hf:{folder}", "threads=1")
    assert code == 2 and err.strip().count("\n") == 0 and "no separator" in err
    code, _, err = call("task=tiny_rows", "method=zero_shot", "backbone=hf:none", "threads=1")
    assert code == 2 and err.strip().count("\n") == 0 and "there is no such folder" in err
    assert not (tmp_path / "runs").exists()
