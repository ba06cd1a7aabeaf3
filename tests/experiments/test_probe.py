"""Probing: the prompt is the template's, answers are the model's, and controls find an effect."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from backbone.hyena.zoo import load
from backbone.tokens import SEP, TOKEN_ID
from experiments.probe import Writer, continuations, main, measure
from icl.controls import controlled_demonstrations
from tasks.catalog import PROBES
from tasks.probes.probe import Episode, Pair, Passage

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ROOT / "experiments" / "recipes" / "recall"


@pytest.fixture(scope="module")
def model():
    shape = HyenaDNAConfig(
        d_model=16, n_layer=2, d_inner=32, max_seq_len=200, initializer_range=0.5
    )
    return random_model(shape, seed=3).requires_grad_(False).eval()


def ids(text):
    return [SEP if letter == "|" else TOKEN_ID[letter] for letter in text]


def test_an_episode_is_written_in_the_template_of_few_shot_runs():
    shown = (Pair("AC", "A"), Pair("GG", "T"))
    episode = Episode(shown, (Pair("GG", "T"),))
    written = Writer(PROBES.get("recall")).ids(episode)
    assert written.tolist() == ids("AC|A|GG|T|GG|")
    bits = Episode((Pair("AAAACCCC", "CCCCAAAA"),), (Pair("ACACACAC", "CACACACA"),))
    written = Writer(PROBES.get("boolean_not")).ids(bits)
    assert written.tolist() == ids("AAAACCCC|CCCCAAAA|ACACACAC|")


def test_a_passage_is_nucleotides_alone():
    passage = Passage(("TT", "GG"), "C", "-", "ACA", "C")
    assert Writer(PROBES.get("copy")).ids(passage).tolist() == ids("TTGGGACA")


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_an_answer_is_the_greedy_continuation_among_the_letters(model, batch_size):
    rows = np.random.default_rng(0).integers(7, 11, size=(10, 30))
    found = continuations(model, rows, "ACT", 4, batch_size)
    for row, text in zip(rows, found, strict=True):
        read = torch.from_numpy(row)[None]
        for letter in text:
            scores = {one: float(model(read).logits[0, -1, TOKEN_ID[one]]) for one in "ACT"}
            assert letter == max(scores, key=scores.__getitem__)
            read = torch.cat([read, torch.tensor([[TOKEN_ID[letter]]])], dim=1)
    assert len(set(found)) > 1


@pytest.mark.parametrize("name", ["recall", "copy", "boolean_identity"])
def test_a_random_model_is_right_by_chance_and_follows_nothing(model, name):
    probe = PROBES.get(name)
    result = measure(model, probe, 2, episodes=200)
    assert measure(model, probe, 2, episodes=200, batch_size=7) == result
    chance = {"recall": 1 / 2, "copy": 1 / 4, "boolean_identity": 0.0}[name]
    for estimate in (result.accuracy, result.shuffled, result.follows):
        assert estimate.low - 0.02 <= chance <= estimate.high + 0.02
        assert estimate.low <= estimate.value <= estimate.high


def test_controls_find_the_effect_in_a_model_that_was_trained_to_recall():
    """The positive control: what a few-shot effect looks like where there is one."""
    model = load(str(TRAINED))
    for shots in (1, 2):
        result = measure(model, PROBES.get("recall"), shots, episodes=1000)
        assert result.accuracy.value > 0.9
        assert result.mode == 0.5
        assert result.shuffled.low < 0.5 < result.shuffled.high
        assert result.flipped.value < 0.1
        assert result.follows.value > 0.9
    alone = measure(model, PROBES.get("recall"), 0, episodes=400)
    assert alone.accuracy.low < 0.5 < alone.accuracy.high


@pytest.mark.parametrize(
    ("control", "expected"),
    [(None, 1.0), ("demo_labels_flipped", 0.0), ("demo_labels_shuffled", 0.5)],
)
def test_the_controls_of_runs_find_the_same_effect(control, expected):
    """What `controls=` does to the demonstrations of a run, on episodes that can be read."""
    probe, prompts, right = PROBES.get("recall"), [], []
    writer = Writer(probe)
    for row in range(400):
        episode = probe.generator.draw(2, np.random.default_rng([1, row]))
        shown = writer.demonstrations(episode.demonstrations)
        random = np.random.default_rng([2, row])
        shown = controlled_demonstrations(shown, control, 2, random, None)
        prompts.append(writer.template.prompt(shown, episode.queries[0].sequence).ids)
        right.append(episode.answer)
        if control == "demo_labels_flipped":
            assert np.array_equal(prompts[-1], writer.ids(episode.flipped(probe.letters)))
    found = continuations(load(str(TRAINED)), np.stack(prompts), probe.letters, 1)
    hits = np.mean([a == b for a, b in zip(found, right, strict=True)])
    assert hits == pytest.approx(expected, abs=0.08)


def test_the_command_prints_a_line_each_and_writes_the_table(tmp_path, capsys):
    out = tmp_path / "probes.tsv"
    given = ["probe=[recall,copy]", "shots=[0,1]", "episodes=20", "threads=1"]
    threads = torch.get_num_threads()
    try:
        assert main([f"backbone={TRAINED}", *given, f"out={out}"]) == 0
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    with out.open() as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert [(line["probe"], line["shots"]) for line in lines] == [
        ("recall", "0"), ("recall", "1"), ("copy", "0"), ("copy", "1"),
    ]  # fmt: skip
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 5
    assert "shuffled" in shown[0]
    assert f"{float(lines[1]['accuracy']):.3f} [" in shown[2]
    assert float(lines[1]["accuracy_low"]) < float(lines[1]["accuracy"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("probe=recal", "unknown probe 'recal'; did you mean recall?"),
        ("shots=-1", "must be 0 or more"),
        ("shots=9 probe=recall", "shots=9: 18 pairs need as many keys"),
        ("shots=40 probe=copy", "exceed this checkpoint's max_seq_len of 128"),
        ("episodes=0", "episodes=0: must be 1 or more"),
        ("out=/no/such/table.tsv", "there is no folder /no/such"),
        ("backbone=nowhere", "backbone=nowhere is neither a folder nor a known name"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(capsys, words, message):
    threads = torch.get_num_threads()
    try:
        assert main([f"backbone={TRAINED}", "episodes=5", "threads=1", *words.split()]) == 2
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_lists_options_and_probes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "episodes=1000" in text
    assert all(name in text for name in PROBES.names())
