"""Results do not move unnoticed: whoever moves them raises a version, so that runs are repeated.

`ICL_GOLDEN=write pytest tests/icl/test_golden.py` writes golden.json anew, once that is done.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from icl.config.options import RESULT_VERSION, configure
from icl.methods.catalog import METHODS
from icl.run import run
from tests.devices import device

GOLDEN = Path(__file__).with_name("golden.json")
ROWS = 4
OPTIONS = {"epochs": 2, "tuning_samples": 8, "validation_samples": 8}
"""Options that keep a run short, for the methods that have them."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A backbone of random weights, small enough to be read in a blink."""
    folder = tmp_path_factory.mktemp("backbone")
    shape = HyenaDNAConfig(d_model=8, n_layer=1, d_inner=16, max_seq_len=256)
    random_model(shape, 0).save_pretrained(folder)
    return str(folder)


def scores_of(name: str, backbone: str, out: Path, **changes: object) -> list[list[float]]:
    """Log-probabilities of the first evaluated rows of a short run."""
    entry = METHODS.get(name)
    known = entry.config.__dataclass_fields__
    own = {f"method.{option}": value for option, value in OPTIONS.items() if option in known}
    budget = {} if entry.budget is None else {"k": 2}
    places = {
        "backbone": backbone,
        "out": str(out),
        "audit": "none",
        "threads": 1,
        "device": device(),
    }
    (done,) = run(configure("tiny_rows", name, own | budget | places | changes))
    lines = (done.folder / "predictions.tsv").read_text().splitlines()[1 : ROWS + 1]
    return [[float(cell) for cell in line.split("\t")[3:-1]] for line in lines]


@pytest.mark.parametrize("name", METHODS.names())
def test_results_move_only_with_their_version(tiny, small, tmp_path, name):
    version = [RESULT_VERSION, METHODS.get(name).version]
    scores = scores_of(name, small, tmp_path)
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("ICL_GOLDEN") == "write":
        rounded = np.round(scores, 4).tolist()
        kept[name] = {"version": version, "scores": rounded}
        lines = [f"{json.dumps(one)}: {json.dumps(kept[one])}" for one in sorted(kept)]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    assert kept[name]["version"] == version, "write golden.json anew, as this file's head says"
    atol = 5e-3 if device() == "cpu" else 5e-2  # sums in another order, amplified by tuning
    assert np.allclose(scores, kept[name]["scores"], atol=atol), (
        f"results of {name} have moved: raise version= of its @method (or RESULT_VERSION in "
        f"icl.config.options, if those of all methods moved) and write golden.json anew"
    )


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "soft_prompt", "linear_probe", "lora"])
def test_the_batch_size_never_changes_a_prediction(tiny, small, tmp_path, name):
    scores = [scores_of(name, small, tmp_path / str(size), batch_size=size) for size in (1, 7, 64)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-5)
