import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.speed import __main__ as speed
from experiments.speed import pretrain as speed_pretrain
from experiments.speed.fits import MILLION, extrapolated, fits, report
from experiments.speed.options import FORMS, PretrainOptions
from experiments.speed.pictures import draw_pretraining as draw
from experiments.speed.pretrain import Step
from experiments.speed.transformer import Transformer

COLUMNS = "path,width,layers,length,seconds,tokens_per_second,peak_bytes,device,dtype,faults"
SHAPE = (16, 2, 24)


def made_up(lengths: list[int]) -> pd.DataFrame:
    """Seconds of length^1 (ours), twice that (published) and L + L^2 / 100 (Transformer)."""
    seconds = {
        "ours": lambda n: 1e-5 * n,
        "published": lambda n: 2e-5 * n,
        "transformer": lambda n: 1e-5 * (n + n * n / 100),
    }
    rows = [
        [form, 128, 2, n, seconds[form](n), n / seconds[form](n), 1e4 * n, "cpu", "float32", 0]
        for form in FORMS
        for n in lengths
        if form != "transformer" or n <= 1 << 16
    ]
    return pd.DataFrame(rows, columns=COLUMNS.split(","))


def test_ours_and_the_published_form_do_the_same_step() -> None:
    ours, theirs = (Step(form, SHAPE, "cpu", "float32") for form in ("ours", "published"))
    assert torch.allclose(ours(), theirs(), atol=1e-6)
    pairs = zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    for a, b in pairs:
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_half_precision_is_close_to_single() -> None:
    losses = [Step("ours", SHAPE, "cpu", dtype)() for dtype in ("float32", "bf16")]
    assert losses[0] != losses[1] and torch.allclose(*losses, atol=0.02)


def test_the_transformer_is_causal_and_reads_its_past() -> None:
    step = Step("transformer", SHAPE, "cpu", "float32")
    assert isinstance(step.model, Transformer)
    changed = step.ids.clone()
    changed[0, 10] = 7 if changed[0, 10] != 7 else 8
    a, b = step.model(step.ids)[0], step.model(changed)[0]
    assert torch.allclose(a[:10], b[:10], atol=1e-6)
    assert not torch.allclose(a[20], b[20], atol=1e-8)


def test_fits_recover_exponents_and_extrapolate_the_quadratic() -> None:
    table = made_up([1 << 10, 1 << 12, 1 << 14, 1 << 16, MILLION])
    found = fits(table).set_index("path")
    assert found["exponent"]["ours"] == pytest.approx(1)
    assert 1.8 < found["exponent"]["transformer"] < 2
    assert found["longest"].tolist() == [MILLION, MILLION, 1 << 16]
    expected = 1e-5 * (MILLION + MILLION**2 / 100)
    assert extrapolated(table, "transformer", MILLION) == pytest.approx(expected)
    assert extrapolated(table, "ours", MILLION) is None  # it was measured
    lines = list(report(table))
    assert "published / ours at 65,536: 2.00" in lines
    assert f"transformer / ours at {MILLION:,}, EXTRAPOLATED: 10487" in lines
    assert any("over those at 4,096: 1.00 (target: 2.5)" in line for line in lines)
    assert any("peak memory at 1,048,576: 10.5 GB" in line for line in lines)


def test_rows_are_kept_and_only_what_is_missing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def apart(work, form, shape, *_: object, **__: object) -> tuple[float, int]:
        asked.append((form, shape[2]))
        return 0.5, 5_000_000

    monkeypatch.setattr(speed_pretrain, "apart", apart)
    monkeypatch.setattr("experiments.speed.prompt.matmul_rate", lambda device: 1e10)
    arguments = ["pretrain", f"out={tmp_path}", "width=16", "repeats=1", "threads=1"]
    assert speed.main([*arguments, "lengths=[8,16]", "longest_transformer=8"]) == 0
    assert asked == [
        ("ours", 8),
        ("published", 8),
        ("transformer", 8),
        ("ours", 16),
        ("published", 16),
    ]
    table = tmp_path / "speed_pretrain.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == ["ours"] * 2 + ["published"] * 2 + ["transformer"]
    for row in rows:
        rate = float(row["length"]) / float(row["seconds"])
        assert float(row["tokens_per_second"]) == pytest.approx(rate, rel=1e-4)
    asked.clear()
    assert speed.main([*arguments, "lengths=[8,32]", "paths=[ours]"]) == 0
    assert asked == [("ours", 32)]
    names = ["speed_pretrain.csv", "speed_pretrain.png", "speed_pretrain_fits.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert capsys.readouterr().out.splitlines()[-1] == str(table)


def test_a_long_step_is_done_once_and_one_that_would_not_fit_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed_pretrain, "ONCE", dict.fromkeys(FORMS, 1))
    monkeypatch.setattr(speed_pretrain, "apart", lambda *_, **__: (0.5, 4_000_000))
    monkeypatch.setattr(speed_pretrain, "free_memory", lambda device: 9_000_000)
    options = PretrainOptions(lengths=[8, 16, 32], paths=["ours"], width=16)
    nothing = pd.DataFrame(columns=COLUMNS.split(","))
    rows = list(speed_pretrain.measurements(options, nothing))
    assert [(row.length, row.seconds, row.peak_bytes) for row in rows] == [
        (8, 0.5, 4_000_000),
        (16, 0.5, 4_000_000),  # 8 MB were expected, of which 8.1 may be taken
        (32, 0.5, 4_000_000),  # from 16 on, where 4 MB were measured
    ]
    monkeypatch.setattr(speed_pretrain, "free_memory", lambda device: 8_000_000)
    rows = list(speed_pretrain.measurements(options, nothing))
    assert [row.seconds for row in rows] == [0.5, None, None]
    assert "left out" in speed_pretrain.line(rows[1])


def test_memory_and_result_come_from_one_process() -> None:
    result, peak = speed_pretrain.apart(np.zeros, 3, threads=1, device="cpu")
    assert result.tolist() == [0, 0, 0] and peak > 1e7


def test_the_picture_marks_what_is_extrapolated() -> None:
    figure = draw(made_up([1 << 12, 1 << 14, 1 << 16, MILLION]))
    left, right = figure.axes
    assert [line.get_label() for line in left.lines][-1] == "Transformer, extrapolated"
    assert [len(axes.lines) for axes in (left, right)] == [4, 3]
    assert left.get_xlabel() == "length of the row (tokens)" and "(GB)" in right.get_ylabel()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paths=[flash]"], "paths=[flash]: must be one of ours, published, transformer"),
        (["width=0"], "width=0: must be 1 or more"),
        (["lengths=[1]"], "lengths=[1]: must be 2 or more"),
        (["dtype=fp8"], "dtype=fp8: must be one of float32, bf16"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert speed.main(["pretrain", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err
