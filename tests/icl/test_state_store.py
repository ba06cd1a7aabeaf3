"""Encoded rows on disk: read as they were computed, bounded, found only where all is the same."""

import os
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.state_store import StateStore, key_of
from icl import cache
from icl.inference import state_cache
from icl.inference.embedding import embed
from icl.inference.reader import LabelWordScorer
from icl.method import Context
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.devices import device, put

pytestmark = pytest.mark.cpu  # states are kept on disk where they repeat: on a CPU

ROWS = ["ACGTAC", "GGTTAACC", "TTTTA", "CAGT" * 3]


def model(seed: int = 0) -> HyenaDNA:
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=160, initializer_range=0.4)
    return put(random_model(shape, seed)).requires_grad_(False).eval()


@pytest.fixture
def store(tmp_path, monkeypatch) -> StateStore:
    """An empty store that takes rows of any length."""
    monkeypatch.setattr(state_cache, "LEAST_LETTERS", 0)
    return StateStore(10**6, tmp_path)


def test_a_later_process_reads_what_was_computed(store, monkeypatch):
    computed = embed(model(), ROWS, store=store)
    assert len(list(store.folder.iterdir())) == 1
    monkeypatch.setattr("icl.inference.embedding.mean_states", None)  # encodes nothing
    read = embed(model(), ROWS[::-1], store=store)
    for name, states in computed.items():
        assert np.array_equal(read[name][::-1], states)
    assert embed(model(), ROWS[:1], store=store)["embedding"].shape == (1, 8)


def test_rows_that_are_new_are_computed_alone(store, monkeypatch):
    embed(model(), ROWS[:2], store=store)
    asked = []

    def encode(sequences: Sequence[str]) -> tuple[torch.Tensor]:
        asked.extend(sequences)
        return (put(torch.tensor([[len(sequence)] for sequence in sequences])),)

    for rows in (["A", "CC"], ["GGG", "CC", "A"]):
        found = state_cache.cached_states(model(), "length", rows, encode, 8, store=store)
        assert found[0][:, 0].tolist() == [len(row) for row in rows]
    assert asked == ["A", "CC", "GGG"]


def test_other_weights_and_kinds_have_other_names():
    names = {key_of(model(), "one"), key_of(model(1), "one"), key_of(model(), "other")}
    assert len(names) == 3 and key_of(model(), "one") in names


def test_files_that_were_used_longest_ago_make_room(tmp_path):
    store = StateStore(2500, tmp_path)
    block = (put(torch.zeros(1, 250)),)  # 1,000 bytes, and the header
    assert store.write("key", ["A"], block)
    (first,) = tmp_path.iterdir()
    os.utime(first, (1, 1))
    assert store.write("key", ["B"], block)
    assert store.write("key", ["C"], block)
    assert not first.exists() and set(store.read("key", ["A", "B", "C"])) == {"B", "C"}
    assert not store.write("key", ["D"], (put(torch.zeros(1, 700)),))


def test_a_damaged_file_is_removed_and_its_rows_are_computed(store):
    computed = embed(model(), ROWS, store=store)["final_norm"]
    (file,) = store.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    assert np.array_equal(embed(model(), ROWS, store=store)["final_norm"], computed)
    assert len(store.read(file.name.partition("-")[0], ROWS)) == len(ROWS)


def prompt(store: StateStore | None, tokens: int) -> np.ndarray:
    """Scores of a tuned prompt."""
    frozen = model()
    entry = METHODS.get("soft_prompt")
    context = Context(
        ("a", "b"), 0, lambda: frozen, prompt_tokens=tokens, store=store, device=device()
    )
    method = entry.cls(entry.config(epochs=1, rows=2), context)
    rows = [Example(row, i % 2) for i, row in enumerate(ROWS)]
    method.prepare(rows, rows)
    method.fit(rows, rows)
    return method.scores(rows)


def test_prompts_of_other_lengths_read_the_same_states(store, monkeypatch):
    alone = [prompt(None, tokens) for tokens in (2, 5)]
    assert np.array_equal(prompt(store, 2), alone[0])
    monkeypatch.setattr(LabelWordScorer, "contexts", None)  # encodes nothing
    assert np.array_equal(prompt(store, 5), alone[1])


def test_the_command_says_sizes_and_removes_files(store, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cache, "cache_folder", lambda kind: tmp_path / kind)
    for kind in cache.KINDS:
        (tmp_path / kind).mkdir()
    (tmp_path / "states" / "a").write_bytes(bytes(3_000_000))
    assert cache.main(["list"]) == 0
    assert "states          3.0 MB in " in capsys.readouterr().out
    assert cache.main(["clear", "states"]) == 0
    assert "3.0 MB removed from" in capsys.readouterr().out
    assert not (tmp_path / "states").exists() and (tmp_path / "kinship").exists()
    assert cache.main(["clear", "state"]) == 2
    assert "did you mean states" in capsys.readouterr().err
