import csv
from math import log2
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from backbone.hooks import is_plain
from backbone.hyena import reference, zoo
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments.speed import __main__ as speed
from experiments.speed import channel as speed_channel
from experiments.speed import peak
from experiments.speed import prompt as speed_prompt
from experiments.speed.floor import arithmetic
from experiments.speed.options import PromptOptions
from experiments.speed.paths import Paths, Shape
from experiments.speed.pictures import draw_prompt as draw

SMALL = Shape(width=16, layers=2, prompt_tokens=6, batch=3, query_length=9)

COLUMNS = (
    "width,layers,prompt_tokens,batch,query_length,phase,seconds_plain,seconds_engine,ratio,"
    "peak_bytes_plain,peak_bytes_engine,device,dtype"
)


def test_the_published_form_gives_the_models_hidden_states() -> None:
    config = HyenaDNAConfig(d_model=8, n_layer=3, d_inner=16, max_seq_len=50, initializer_range=0.4)
    model = random_model(config, seed=0).double().eval()
    vectors = torch.randn(2, 40, 8, dtype=torch.float64)
    with torch.no_grad():
        found, expected = reference.encode(model, vectors), model.encode(vectors)
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("folder", ["tiny-1k-d128", "hf-tiny-1k-d128"])
def test_the_published_form_gives_the_reference_outputs(golden: Path, folder: str) -> None:
    model = zoo.load(str(golden / folder))
    expected = load_file(golden / folder / "expected.safetensors")
    ids, prompt = expected["input_ids"], expected["soft_prompt"]
    with torch.no_grad():
        logits = model.logits(reference.encode(model, model.embed(ids)))
        rest = ids[:, : ids.shape[1] - len(prompt)]
        prompted = reference.last_logits(model, prompt, rest)
    assert torch.allclose(logits, expected["logits"], atol=1e-4)
    assert torch.allclose(prompted, expected["soft_prompt_logits"][:, -1], atol=1e-4)


def test_both_paths_give_the_same_logits_and_the_same_step() -> None:
    plain, engine = Paths(SMALL, "cpu"), Paths(SMALL, "cpu")
    assert torch.allclose(plain.logits("plain"), engine.logits("engine"), atol=1e-5)
    plain.train("plain")
    engine.train("engine")
    assert plain.prompt.grad is not None and engine.prompt.grad is not None
    scale = plain.prompt.grad.abs().max()
    assert scale > 0
    assert torch.allclose(plain.prompt.grad, engine.prompt.grad, atol=1e-4 * float(scale))
    assert not torch.equal(engine.prompt, Paths(SMALL, "cpu").prompt)


def test_counting_hooks_no_module_so_the_path_that_is_counted_is_the_one_that_is_timed() -> None:
    seen = []
    arithmetic(lambda: seen.append(is_plain(torch.nn.Linear, torch.nn.Linear(2, 2))))
    assert seen == [True]


def test_arithmetic_counts_products_and_transforms_of_both_passes() -> None:
    a, b = torch.randn(3, 5), torch.randn(5, 7, requires_grad=True)
    assert arithmetic(lambda: a @ b) == 2 * 3 * 5 * 7
    assert arithmetic(lambda: (a @ b).sum().backward()) == 2 * 2 * 3 * 5 * 7
    x = torch.randn(4, 30)
    one = 4 * 2.5 * 64 * log2(64)
    assert arithmetic(lambda: torch.fft.rfft(x, n=64)) == one
    assert arithmetic(lambda: torch.fft.irfft(torch.fft.rfft(x, n=64), n=64)) == 2 * one


def test_the_batch_is_halved_until_the_plain_path_fits() -> None:
    shape = Shape(128, 2, 32_768, 32, 500)
    assert speed_prompt.fitting_batch(shape, 1e12) == 32
    assert speed_prompt.fitting_batch(shape, 23 * 2**30 * 0.8) == 16
    assert speed_prompt.fitting_batch(shape, 1e6) == 0


def test_memory_is_that_of_a_process_of_its_own() -> None:
    mine = torch.ones(60_000_000)  # 240 MB that the other process does not hold
    little = peak.peak_of(torch.ones, 1, threads=1, device="cpu")
    much = peak.peak_of(torch.ones, len(mine) // 2, threads=1, device="cpu")
    assert 100e6 < much - little < 140e6


def test_rows_are_written_as_they_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed_prompt, "peak_of", lambda *_, **__: 5_000_000)
    monkeypatch.setattr(speed_prompt, "matmul_rate", lambda device: 1e10)
    arguments = ["prompt_tokens=[1,4]", "widths=[128]", "batch=2", "query_length=5", "repeats=1"]
    arguments += ["threads=1", f"out={tmp_path / 'speed'}"]
    assert speed.main(["prompt", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    table = tmp_path / "speed" / "speed_prompt.csv"
    assert printed[-1] == str(table)
    assert sorted(p.name for p in table.parent.iterdir()) == [
        "speed_prompt.csv",
        "speed_prompt.png",
    ]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]).startswith(COLUMNS)
    assert [(row["prompt_tokens"], row["phase"]) for row in rows] == [
        (tokens, phase) for tokens in ("1", "4") for phase in ("train", "evaluate")
    ]
    for row in rows:
        quotient = float(row["seconds_plain"]) / float(row["seconds_engine"])
        assert float(row["ratio"]) == pytest.approx(quotient, rel=1e-2)
        assert float(row["operations"]) > 0 and float(row["floor_ratio"]) > 0


def test_fixed_demonstrations_are_a_case_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed_prompt, "peak_of", lambda *_, **__: 5_000_000)
    monkeypatch.setattr(speed_prompt, "matmul_rate", lambda device: 1e10)
    arguments = ["shots=2", "length=6", "batch=2", "repeats=1", "threads=1", f"out={tmp_path}"]
    assert speed.main(["k_shot", *arguments]) == 0
    assert "(target: 20)" in capsys.readouterr().out
    with (tmp_path / "speed_k_shot.csv").open() as file:
        (row,) = csv.DictReader(file)
    case = [row[name] for name in ("layers", "prompt_tokens", "query_length", "phase", "bar")]
    assert case == ["2", "24", "6", "evaluate", "20"]


def test_both_ways_to_the_channel_give_the_same_likelihoods_and_the_same_step() -> None:
    plain, engine = (speed_channel.ChannelPaths(SMALL, 3, "cpu") for _ in range(2))
    expected = plain.likelihood("plain")
    assert expected.shape == (3, 3)
    assert torch.allclose(engine.likelihood("engine"), expected, rtol=1e-5)
    plain.train_channel("plain")
    engine.train_channel("engine")
    assert plain.contexts.grad is not None and engine.contexts.grad is not None
    scale = float(plain.contexts.grad.abs().max())
    assert scale > 0
    assert torch.allclose(plain.contexts.grad, engine.contexts.grad, atol=1e-4 * scale)


def test_the_channel_is_a_case_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed_prompt, "matmul_rate", lambda device: 1e10)
    monkeypatch.setattr(speed_prompt, "TURN", 0.0)
    arguments = ["context=4096", "prompt_tokens=2", "length=6", "batch=2", "repeats=1", "threads=1"]
    assert speed.main(["channel", *arguments, f"out={tmp_path}"]) == 0
    assert "(target: 8)" in capsys.readouterr().out
    with (tmp_path / "speed_channel.csv").open() as file:
        train, evaluate = csv.DictReader(file)
    assert [row["phase"] for row in (train, evaluate)] == ["train", "evaluate"]
    assert [row["prompt_tokens"] for row in (train, evaluate)] == ["2", "4096"]
    assert float(train["seconds_direct"]) > 0 and evaluate["seconds_direct"] == ""
    quotient = float(evaluate["seconds_plain"]) / float(evaluate["seconds_engine"])
    assert float(evaluate["ratio"]) == pytest.approx(quotient, rel=1e-2)


def test_what_does_not_fit_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed_prompt, "peak_of", lambda *_, **__: 5_000_000)
    monkeypatch.setattr(speed_prompt, "memory_of", lambda device: 1e3)
    options = PromptOptions(prompt_tokens=[3], widths=[128], batch=2, query_length=5, repeats=1)
    rows = list(speed_prompt.measurements(options))
    assert [(row.seconds_plain, row.ratio, row.batch) for row in rows] == [(None, None, 2)] * 2
    assert "batch 2: the plain path needs about" in capsys.readouterr().out


def test_the_picture_has_a_panel_for_each_width_and_figure() -> None:
    row = {"layers": 2, "batch": 4, "query_length": 5, "device": "cpu", "ratio": 3.0}
    row |= {"peak_bytes_plain": 9e9, "peak_bytes_engine": 1e9}
    rows = [
        row | {"width": width, "prompt_tokens": tokens, "phase": phase}
        for width in (128, 256)
        for tokens in (16, 128)
        for phase in ("train", "evaluate")
    ]
    figure = draw(pd.DataFrame(rows))
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "width 128, 2 layers",
        "width 256, 2 layers",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["promt"], "unknown command 'promt'; did you mean prompt"),
        (["k_shot", "shots=0"], "shots=0: must be 1 or more"),
        (["prompt", "width=[128]"], "did you mean widths?"),
        (["prompt", "widths=[64]"], "widths: 64 is not one of 128, 256"),
        (["prompt", "prompt_tokens=[0]"], "prompt_tokens=[0]: must be 1 or more"),
        (["prompt", "batch=0"], "batch=0: must be 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert speed.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err
    assert len(captured.err.splitlines()) == 1


def test_mutants_score_alike_whole_and_from_shared_states(tmp_path, capsys):
    words = ["rows=3", "length=20", "prompt_tokens=2", "passes=40", "rounds=2", "threads=1"]
    assert speed.main(["mutagenesis", *words, "batch=7", f"out={tmp_path}"]) == 0
    table = pd.read_csv(tmp_path / "speed_mutagenesis.csv")
    assert list(table["way"]) == ["published", "modules", "engine", "shared"]
    assert list(table["mutants"]) == [40, 40, 40, 3 * 3 * 20]
    assert table["difference"].max() < 1e-5 and (table["ratio"] > 0).all()
    assert "(target: 8)" in capsys.readouterr().out
