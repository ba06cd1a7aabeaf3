from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments import headline
from icl.reporting.report import find_reports
from icl.run import Finished
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Splits, Task, make_splits
from tests.experiments.made_up import report


def made(folder: Path, right: str, gc_matched: float = 0.5) -> Finished:
    """A finished run of which each row was right (1) or wrong (0)."""
    folder.mkdir(parents=True)
    lines = [f"{i}\tNA\t{'NA' if one == '1' else 'b'}\t0\t0" for i, one in enumerate(right)]
    text = "\n".join(["row\tlabel\tpredicted\tlog_p_NA\tlog_p_b", *lines]) + "\n"
    (folder / "predictions.tsv").write_text(text)
    share = right.count("1") / len(right)
    metrics = {"accuracy": Estimate(share, 0, 1), "auroc": Estimate(share + 0.1, 0, 1)}
    validation = {"accuracy": 0.25, "loss": 1.0}
    matched = Estimate(gc_matched, 0, 1)
    one = report(metrics=metrics, validation=validation, gc_matched_accuracy=matched)
    return Finished(one, folder, was_there=False)


@pytest.fixture
def table(tmp_path) -> headline.Table:
    """Two divisions of four rows; the sequence of group 0 is tested in both."""
    outcomes = {
        headline.PROMPT: ("1110", "1100"),
        "gc_only": ("0100", "0111"),
        "kmer_logreg": ("1110", "1100"),
        "linear_probe": ("0000", "0000"),
        headline.NO_PROMPT: ("1010", "0101"),
        headline.RANDOM: ("1111", "1111"),
    }
    finished = {
        (name,): [
            made(tmp_path / name / str(i), right, 0.4 + i / 5) for i, right in enumerate(rows)
        ]
        for name, rows in outcomes.items()
    }
    return headline.tabulate(finished, np.array([0, 1, 2, 3, 0, 4, 5, 6]))


def test_methods_are_averaged_over_divisions(table):
    soft = table.methods.set_index("method").loc[headline.PROMPT]
    # Accuracies 0.75 and 0.5: deviation 0.17678, times 12.7062 (Student, 1 degree) / sqrt(2).
    assert soft["accuracy"] == 0.625
    assert (soft["low"], soft["high"]) == pytest.approx((0.625 - 1.588275, 0.625 + 1.588275))
    assert soft["gc_matched_accuracy"] == pytest.approx(0.5)
    assert soft["auroc"] == pytest.approx(0.725)
    assert (soft["validation_accuracy"], soft["n"]) == (0.25, 2)


def test_differences_are_of_the_same_rows_pooled(table):
    assert tuple(table.paired["minus"]) == headline.OPPONENTS
    found = table.paired.set_index("minus")
    assert found["difference"].tolist() == pytest.approx([1 / 8, 0, 5 / 8, 1 / 8, -3 / 8])
    assert set(found["rows"]) == {8}
    assert set(found["sequences"]) == {7}
    # Equal on all rows: 7 sequences leave room for 3.8415 / (7 + 3.8415) of unseen ones.
    assert found.loc["kmer_logreg", ["low", "high"]].tolist() == pytest.approx(
        [-0.3543, 0.3543], abs=1e-4
    )


def test_a_row_of_the_paired_table_in_words():
    row = {"method": "a", "minus": "b", "difference": 0.0312, "low": -0.019, "high": 0.0434}
    assert headline.words(row) == "a minus b: +3.1 points, 95 % from -1.9 to 4.3"


def test_the_text_holds_every_number(table):
    lines = headline.markdown(table, "the command", "made up").splitlines()
    assert lines[0] == "Made by `the command`."
    assert "| prompt | 0.625 | -0.963 to 2.213 | 0.500 | 0.725 | 0.250 | 2 |" in lines
    assert sum(line.startswith("- prompt minus ") for line in lines) == 5
    assert any(line.startswith("- prompt minus linear_probe: +62.5 points") for line in lines)
    one = table.methods.assign(low=float("nan"), high=float("nan"))
    text = headline.markdown(headline.Table(one, table.paired), "the command", "made up")
    assert "| prompt | 0.625 | - | 0.500 |" in text


def test_competitors_differ_in_what_their_name_says():
    options = headline.Options(k=4, backbone="somewhere", data="d", method="deep_prompt")
    found = headline.competitors(options, {"deep_prompt": ["lr=0.5"]})
    soft = found[headline.PROMPT]
    assert (soft.prompt_tokens, soft.backbone, soft.method.lr) == (4, "somewhere", 0.5)
    assert found[headline.NO_PROMPT].prompt_tokens == 0
    assert found[headline.NO_PROMPT].method == soft.method
    controls = {name: one.control for name, one in found.items() if one.control}
    assert controls == {
        headline.RANDOM: "random_backbone",
        "prompt, train_labels_shuffled": "train_labels_shuffled",
    }
    assert soft.method.name == "deep_prompt"
    assert set(headline.OPPONENTS) < set(found)
    without = headline.competitors(replace(options, controls=[]), {})
    assert set(found) - set(without) == set(controls)
    with pytest.raises(InputError, match="noise"):
        headline.competitors(replace(options, controls=["noise"]), {})
    more = headline.competitors(replace(options, also=["soft_prompt:8"]), {"deep_prompt": ["lr=1"]})
    other = more["also soft_prompt, 8 tokens"]
    assert (other.method.name, other.prompt_tokens, other.control) == ("soft_prompt", 8, None)
    assert other.method.lr != 1
    with pytest.raises(InputError, match="write METHOD:PROMPT_TOKENS"):
        headline.competitors(replace(options, also=["soft_prompt"]), {})


def test_a_random_backbone_is_refused_because_it_is_a_control():
    with pytest.raises(InputError, match="one of the controls"):
        headline.competitors(headline.Options(backbone="random:bundled"), {})


class FewRows:
    """Class 1 is richer in G and C; two divisions of one pool of rows."""

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        random = np.random.default_rng(0)
        shares = ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
        pool = [
            Example("".join(random.choice(list("ACGT"), 40, p=shares[i % 2])), i % 2)
            for i in range(60)
        ]
        cut = 20 * split_seed
        rows = pool[cut:] + pool[:cut]
        return make_splits(task, rows[:24], rows[24:36], rows[36:], f"{split_seed} of a test")


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS._values, "few_rows", Task("few_rows", ("no", "yes"), FewRows()))
    shape = HyenaDNAConfig(
        d_model=8, n_layer=2, d_inner=16, max_seq_len=64, emb_dim=3, filter_order=4
    )
    random_model(shape, seed=1).save_pretrained(tmp_path / "model")
    threads = torch.get_num_threads()
    yield [
        *("task=few_rows", "k=2", "split_seeds=2", "threads=1", f"backbone={tmp_path / 'model'}"),
        *(f"out={tmp_path / 'runs'}", "method.epochs=1", "method.lr=1e-3"),
    ]
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_from_nothing_to_tables_and_a_second_call_repeats_no_run(arguments, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert headline.main(arguments) == 0
    first = capsys.readouterr().out
    assert "[1/16] majority, seed=0, split_seed=0\n" in first
    assert "min left" in first and "finished before" not in first
    reports = {file: file.read_bytes() for file in find_reports(runs)}
    assert len(reports) == 16
    files = [runs / f"headline_few_rows_soft_prompt{end}" for end in (".csv", "_paired.csv", ".md")]
    contents = [file.read_bytes() for file in files]
    methods, paired = pd.read_csv(files[0]), pd.read_csv(files[1])
    assert methods["n"].tolist() == [2] * 8
    assert paired["rows"].tolist() == [48] * 5
    # The second test set is the first moved by 20 rows: 48 rows of 44 sequences.
    assert paired["sequences"].tolist() == [44] * 5
    assert str(tmp_path / "runs") not in files[2].read_text()
    by_name = methods.set_index("method")["accuracy"]
    soft = by_name[headline.PROMPT]
    expected = [soft - by_name[name] for name in headline.OPPONENTS]
    assert paired["difference"].tolist() == pytest.approx(expected)

    assert headline.main(arguments) == 0
    assert capsys.readouterr().out.count("(finished before)") == 16
    assert {file: file.read_bytes() for file in find_reports(runs)} == reports
    assert [file.read_bytes() for file in files] == contents


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task=few_row", "few_rows"),
        ("method.epoch=3", "did you mean method.epochs?"),
        ("k=0", "k=0"),
        ("backbone=nowhere", "backbone=nowhere"),
        ("out=/proc/runs", "/proc/runs"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, capsys, word, message):
    assert headline.main([*arguments, word]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert message in line
