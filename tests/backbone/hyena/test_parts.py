"""What must not change a step: how a batch is held, what is computed again, where a row is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backbone.pretrain import source_of
from backbone.pretraining.optimization import RowDropout, recompute
from backbone.pretraining.trainer import Trainer
from tests.backbone.pretraining.pretraining import tiny
from tests.devices import put


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def gradients(config, name, **options):
    """The gradients of the first step, in which nothing is clipped."""
    config = replace(config, out=f"{config.out}-{name}", clip=1e9, **options)
    trainer = Trainer(config, source_of(config))
    loss = trainer.train_step(stage=0, lr=0.0)
    return loss, {n: p.grad for n, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("options", [{"micro_tokens": 64}, {"micro_tokens": 80}])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path, options):
    config = tiny(tmp_path, embed_dropout=0.3, resid_dropout=0.3)
    loss, whole = gradients(config, "whole")
    in_parts, parts = gradients(config, "parts", **options)
    assert in_parts == pytest.approx(loss, abs=1e-6)
    for name, gradient in whole.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("what", ["block", "mixer"])
def test_what_is_computed_again_gives_the_same_gradient(tmp_path, what):
    config = tiny(tmp_path, embed_dropout=0.3, resid_dropout=0.3)
    loss, kept = gradients(config, "kept")
    again, found = gradients(config, what, gradient_checkpointing=what)
    assert again == loss
    assert all(torch.equal(found[name], gradient) for name, gradient in kept.items())


def test_what_is_computed_again_is_not_kept(tmp_path):
    config = tiny(tmp_path)
    trainer = Trainer(config, source_of(config))
    ids = put(torch.full((2, 64), 7))

    def kept():
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.model(ids)
        return sum(sizes.values())

    trainer.model.train()
    trainer.dropouts[0].set_rows(0, 0, 0, 2)
    everything = kept()
    recompute(trainer.model, "mixer")
    without_mixers = kept()
    recompute(trainer.model, "block")
    without_blocks = kept()
    assert without_blocks < 0.4 * everything
    assert without_blocks < without_mixers < 0.8 * everything


def test_dropout_follows_the_row_wherever_it_is_computed():
    dropout = RowDropout(0.25, place=3)
    x = put(torch.ones(6, 50, 8))
    dropout.set_rows(seed=1, step=2, first=0, rows=6)
    whole = dropout(x)
    parts = []
    for first, rows in ((0, 1), (1, 3), (4, 2)):
        dropout.set_rows(1, 2, first, rows)
        parts.append(dropout(x[first : first + rows]))
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole[0], whole[1])
    assert np.unique(whole.cpu().numpy()).tolist() == pytest.approx([0.0, 4 / 3])
    assert float((whole == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    dropout.set_rows(1, 3, 0, 6)
    assert not torch.equal(dropout(x), whole)
    dropout.eval()
    assert torch.equal(dropout(x), x)


def test_the_two_additions_of_a_block_drop_different_values():
    dropout = RowDropout(0.5, place=1, calls=2)
    x = put(torch.ones(2, 30, 4))
    dropout.set_rows(0, 0, 0, 2)
    mixer, mlp, mixer_again, mlp_again = (dropout(x) for _ in range(4))
    assert not torch.equal(mixer, mlp)
    assert torch.equal(mixer, mixer_again) and torch.equal(mlp, mlp_again)


def test_bf16_trains_with_transforms_in_float32(tmp_path, monkeypatch):
    seen = set()
    transform = torch.fft.rfft

    def watched(signal, *args, **kwargs):
        seen.add(signal.dtype)
        return transform(signal, *args, **kwargs)

    monkeypatch.setattr(torch.fft, "rfft", watched)
    config = tiny(tmp_path)
    exact, _ = gradients(config, "float32")
    seen.clear()
    rough, found = gradients(config, "bf16", precision="bf16")
    assert seen == {torch.float32}
    assert rough != exact and rough == pytest.approx(exact, rel=0.02)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
