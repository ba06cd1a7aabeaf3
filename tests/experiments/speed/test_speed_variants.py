"""`experiments.speed variants`: what it compares is the same; nothing is timed against a clock."""

import numpy as np
import pandas as pd
import pytest

from backbone.engine.branches import BranchEngine
from backbone.engine.prefix import PrefixEngine
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments.speed import variants
from experiments.speed.options import VariantsOptions

SHAPE = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=64, initializer_range=0.4)


def test_branches_and_whole_passes_give_the_same_changes():
    model = random_model(SHAPE, 0).double().requires_grad_(False).eval()
    alleles = variants.random_alleles(5, 21, seed=3)
    assert all(a.change.of(a.sequence) != a.sequence for a in alleles)
    found = variants.branched(BranchEngine(PrefixEngine(model)), alleles)
    np.testing.assert_allclose(found, variants.plain(model, alleles), atol=1e-10)


def test_the_table_has_seconds_ratio_and_difference(monkeypatch, tmp_path):
    model = random_model(SHAPE, 0).requires_grad_(False).eval()
    monkeypatch.setattr(variants, "load", lambda name, device: model)
    monkeypatch.setattr(variants, "prepare", lambda threads, device: None)
    path = variants.measure_all(VariantsOptions(out=str(tmp_path), count=7, window=30))
    (row,) = pd.read_csv(path).to_dict("records")
    assert (row["count"], row["window"]) == (7, 30)
    assert row["seconds"] > 0 and row["ratio"] > 0
    assert row["largest_difference"] == pytest.approx(0, abs=1e-3)
