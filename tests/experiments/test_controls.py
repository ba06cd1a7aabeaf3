from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments import controls
from icl.reporting.report import find_reports
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Splits, Task, make_splits
from tests.experiments.made_up import report


def made(folder: Path, control: str | None, seed: int, right: str) -> Finished:
    """A finished run of which each row was right (1) or wrong (0)."""
    folder = folder / f"{control}{seed}"
    folder.mkdir()
    lines = [f"{i}\ta\t{'a' if one == '1' else 'b'}" for i, one in enumerate(right)]
    (folder / "predictions.tsv").write_text("\n".join(["row\tlabel\tpredicted", *lines]) + "\n")
    matched = Estimate(0.5 + seed / 10, 0, 1)
    one = report("few_shot", control=control, seed=seed, gc_matched_accuracy=matched)
    return Finished(one, folder, was_there=False)


def test_the_table_has_a_row_a_control_with_means_over_seeds(tmp_path):
    finished = {
        ("few_shot", control): [
            made(tmp_path, control, seed, right) for seed, right in enumerate(rights)
        ]
        for control, rights in {
            None: ("1110", "1100"),
            "demo_labels_flipped": ("0001", "0011"),
            "random_backbone": ("1110", "1100"),
        }.items()
    }
    table, found = controls.tabulate(finished)
    assert list(table.columns) == list(controls.COLUMNS)
    assert table["control"].tolist() == ["", "demo_labels_flipped", "random_backbone"]
    assert table["accuracy"].tolist() == pytest.approx([5 / 8, 3 / 8, 5 / 8])
    assert table["difference"].tolist()[1:] == pytest.approx([1 / 4, 0])
    assert table["gc_matched_accuracy"].tolist() == pytest.approx([0.55] * 3)
    assert table["seeds"].tolist() == [2, 2, 2]
    assert table["verdict"].tolist()[2] == "no evidence of gaining from pretraining"
    text = controls.markdown(table.assign(gc_matched_accuracy=np.nan), found, "the command")
    assert "nan" not in text and "| - |" in text
    text = controls.markdown(table, found, "the command")
    assert "| few_shot | demo_labels_flipped | 0.375 |" in text
    assert "- few_shot minus random_backbone: +0.0 points, 95 % from -49.0 to 49.0: no evid" in text
    assert "falls below chance" in text


def test_each_method_gets_its_budget_and_the_controls_that_apply():
    options = controls.Options(
        methods=["soft_prompt", "gc_only"], prompt_tokens=4, prompt_shots=3, n_train=9
    )
    prompt, gc = controls.configurations(options, {"soft_prompt": ["lr=0.5"]})
    assert (prompt.prompt_tokens, prompt.shots, prompt.n_train) == (4, 3, 9)
    assert prompt.method.lr == 0.5 and "demo_labels_flipped" in prompt.controls
    assert (gc.prompt_tokens, gc.shots, gc.controls) == (None, None, ["train_labels_shuffled"])
    alone, _ = controls.configurations(controls.Options(methods=options.methods), {})
    assert alone.controls == ["words_swapped", "train_labels_shuffled", "random_backbone"]
    planned = controls.cells([alone, gc], seeds=2)
    assert len(planned) == 2 * (4 + 2)
    assert [one.config.seed for one in planned] == [0] * 6 + [1] * 6
    assert planned[1].title == "soft_prompt, words_swapped, seed=0, split_seed=0"
    assert all(one.config.controls == [] for one in planned)


def test_no_method_is_refused():
    with pytest.raises(InputError, match="at least one method"):
        controls.configurations(controls.Options(methods=[]), {})


class FewRows:
    """Class 1 is richer in G and C."""

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        random = np.random.default_rng(0)
        shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
        rows = [
            Example("".join(random.choice(list("ACGT"), 24, p=shares[i % 2])), i % 2)
            for i in range(40)
        ]
        return make_splits(task, rows[:16], rows[16:24], rows[24:], "of a test")


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS._values, "few_rows", Task("few_rows", ("no", "yes"), FewRows()))
    shape = HyenaDNAConfig(
        d_model=8, n_layer=2, d_inner=16, max_seq_len=64, emb_dim=3, filter_order=4
    )
    random_model(shape, seed=1).save_pretrained(tmp_path / "model")
    threads = torch.get_num_threads()
    yield [
        *("task=few_rows", "methods=[soft_prompt,gc_only]", "seeds=2", "threads=1"),
        *(f"backbone={tmp_path / 'model'}", f"out={tmp_path / 'runs'}", "prompt_tokens=2"),
        *("method.epochs=1", "method.soft_prompt.lr=1e-3"),
    ]
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_from_nothing_to_tables_and_a_second_call_repeats_no_run(arguments, tmp_path, capsys):
    assert controls.main(arguments) == 0
    first = capsys.readouterr().out
    assert "[1/12] soft_prompt, seed=0, split_seed=0\n" in first and "min left" in first
    reports = {file: file.read_bytes() for file in find_reports(tmp_path / "runs")}
    assert len(reports) == 12
    files = [tmp_path / "runs" / f"controls_few_rows.{end}" for end in ("csv", "md")]
    contents = [file.read_bytes() for file in files]
    table = pd.read_csv(files[0], keep_default_na=False)
    assert table["method"].tolist() == ["soft_prompt"] * 4 + ["gc_only"] * 2
    assert set(table["seeds"]) == {2}
    assert str(tmp_path) not in files[1].read_text().replace(str(tmp_path / "model"), "")

    assert controls.main(arguments) == 0
    assert capsys.readouterr().out.count("(finished before)") == 12
    assert {file: file.read_bytes() for file in find_reports(tmp_path / "runs")} == reports
    assert [file.read_bytes() for file in files] == contents


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task=few_row", "few_rows"),
        ("method.epoch=3", "did you mean method.epochs?"),
        ("method.deep_prompt.lr=3", "deep_prompt is not run"),
        ("seeds=0", "seeds=0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, capsys, word, message):
    assert controls.main([*arguments, word]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert message in line
