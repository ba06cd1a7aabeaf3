"""`experiments.speed peers`: the same weights under other names, logits compared first, turns."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from backbone.common.errors import InputError
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments.speed import peers
from experiments.speed.options import PeersOptions

CONFIG = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=64)


class Stand:
    """Answers as the process of MultiMolecule would, from our own model."""

    def __init__(self, model, wrong=0.0):
        self.model, self.wrong, self.asked = model, wrong, []

    def ask(self, what, rows, into=None):
        self.asked.append(what)
        if what != "logits":
            return {"seconds": 2.0, "cpu_seconds": 1.0}
        with torch.no_grad():
            logits = reference.logits(self.model, load_file(rows)["ids"])
        save_file({"logits": logits + self.wrong}, into)
        return {}


def test_every_path_has_a_row_for_each_phase_and_logits_are_compared_first(tmp_path):
    model = random_model(CONFIG, seed=0).eval()
    peer = Stand(model)
    options = PeersOptions(lengths=[20], bases=40, rounds=2)
    frame = pd.DataFrame(peers._rows(model, peer, options, tmp_path))
    assert list(frame["path"]) == [peers.OURS, peers.PUBLISHED, peers.PEER] * 2
    assert list(frame["phase"]) == ["forward"] * 3 + ["train"] * 3
    assert peer.asked == ["logits", *["forward"] * 3, *["train"] * 3]
    theirs = frame[frame["path"] == peers.PEER]
    assert (theirs["ms_a_row"] == 1000).all() and (theirs["cpu_ms_a_row"] == 500).all()
    assert (frame["difference"] < peers.CLOSE).all()


def test_another_model_is_refused(tmp_path):
    model = random_model(CONFIG, seed=0).eval()
    options = PeersOptions(lengths=[20], bases=20, rounds=1)
    with pytest.raises(InputError, match="multimolecule: logits differ"):
        list(peers._rows(model, Stand(model, wrong=1.0), options, tmp_path))


def test_weights_have_the_peers_names_and_each_sine_its_frequencies():
    model = random_model(CONFIG, seed=0)
    found = peers.peer_weights(model)
    sine = "model.layers.1.mixer.filter_fn.implicit_filter.{}.freq"
    own = model.backbone.layers[1].mixer.filter_fn.implicit_filter["1"].freq
    assert all(torch.equal(found[sine.format(i)], own) for i in (1, 3, 5))
    assert "model.final_layer_norm.weight" in found and "lm_head.weight" in found
    assert not any("hyena" in name or "ln_f" in name for name in found)


def test_without_the_peer_one_line_says_how_to_get_it(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho 'a warning'; echo '{\"error\": \"none\"}'\n")
    (tmp_path / "python").chmod(0o755)
    model = random_model(CONFIG, seed=0)
    with pytest.raises(InputError, match="has no MultiMolecule .none.: pip install multimolecule"):
        peers.Peer(model, str(tmp_path / "python"), 1, tmp_path)
    with pytest.raises(InputError, match="cannot be started"):
        peers.Peer(model, str(tmp_path / "nothing"), 1, tmp_path)
