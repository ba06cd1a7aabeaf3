"""No result of a run depends on the number of threads, to the last digit."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from icl.config.options import configure
from icl.run import run
from tasks.task import Example, make_splits

METHODS = {
    "linear_probe": {},
    "fisher_probe": {},
    "soft_prompt": {"k": 3, "method.epochs": 2},
    "soft_prompt, before": {"k": 3, "method.epochs": 2, "method.placement": "before"},
    "soft_prompt, channel": {"k": 3, "method.epochs": 1, "method.readout": "channel"},
    "few_shot": {"k": 1},
    "few_shot, channel": {"k": 2, "method.readout": "channel"},
    "few_shot, memory": {"k": 2, "method.readout": "memory"},
    "fine_tune": {"method.epochs": 2, "method.rows": 16},
    "lora": {"method.epochs": 1, "method.rows": 16},
    "instruction_tuning": {"k": 1, "method.epochs": 1, "method.tuning_samples": 16},
    "cnn": {"method.epochs": 1},
    "kmer_logreg": {"method.kmer": 3},
}


@pytest.fixture
def longer(tiny, monkeypatch):
    """Rows of 150 bases in place of 40, whose operations are large enough to be shared."""
    splits_of = tiny.splits

    def splits(task, split_seed, data):
        short = splits_of(task, split_seed, data)
        parts = (
            [Example(e.sequence * 3 + e.sequence[:30], e.label) for e in part]
            for part in (short.train, short.val, short.test)
        )
        return make_splits(task, *parts, origin="drawn for a test")

    monkeypatch.setattr(tiny, "splits", splits)


def results_of(folder: Path) -> tuple[str, dict[str, bytes]]:
    learned = load_file(folder / "learned.safetensors")
    return (folder / "predictions.tsv").read_text(), {n: a.tobytes() for n, a in learned.items()}


@pytest.mark.parametrize("name", METHODS)
def test_predictions_and_what_is_learned_are_the_same(longer, tmp_path, monkeypatch, name):
    # Rows are few here: cut them into as many pieces as many rows would be.
    monkeypatch.setattr("backbone.engine.prefix.POSITIONS", 700)
    monkeypatch.setattr("icl.tuning.loop.PART", 700)
    found, names = [], set()
    for threads in (1, 2, 3):
        monkeypatch.setattr("icl.inference.state_cache._KEPT", type(_kept())())
        places = {"threads": threads, "out": str(tmp_path / str(threads)), "audit": "none"}
        options = (
            METHODS[name]
            | places
            | {"batch_size": 8, "disk_gb": 0, "val_rows": 12, "test_rows": 16}
        )
        (done,) = run(configure("tiny_rows", name.partition(",")[0], options))
        found.append(results_of(done.folder))
        names.add(done.folder.name)
    assert len(names) == 1
    assert found[1] == found[0] and found[2] == found[0]


def _kept() -> object:
    from icl.inference import state_cache

    return state_cache._KEPT
