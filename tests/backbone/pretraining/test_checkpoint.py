"""Checkpoints: whole or not there, the best is kept, sharded models have them too."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.hyena.tokenizer import DNATokenizer
from backbone.hyena.zoo import load
from backbone.pretrain import main, pretrain
from backbone.pretraining import checkpoint
from backbone.pretraining.metrics_log import Journal
from tests.backbone.pretraining.pretraining import lines, tiny


@pytest.fixture(autouse=True)
def undisturbed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def small_model(seed):
    return random_model(
        HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=32, filter_order=8), seed
    )


def trained(model):
    """One step of AdamW, so that there is something to save."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.tensor([[7, 8, 9, 10, 7]])).logits.square().sum().backward()
    optimizer.step()
    return optimizer


def saved(folder, step, perplexity, model=None):
    model = model or small_model(0)
    weights, moments = checkpoint.gather(model, trained(model))
    state = {"step": step, "valid_perplexity": perplexity}
    return checkpoint.save(folder, weights, moments, small_model(0), DNATokenizer(), state)


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, perplexity in ((1, 3.9), (2, 3.1), (3, None), (4, 3.4), (5, 3.3)):
        saved(tmp_path, step, perplexity)
    checkpoint.prune(tmp_path, keep=1)
    assert [path.name for path in checkpoint.all_of(tmp_path)] == ["step-00000002", "step-00000005"]
    assert checkpoint.best_of(tmp_path) == tmp_path / "step-00000002"
    assert load(str(tmp_path / "step-00000002")).config.d_model == 8


def test_the_trainer_scores_its_checkpoints(tmp_path):
    config = tiny(tmp_path, keep=9)
    pretrain(config)
    scored = dict(zip(lines(config.out, "step"), [None] * 99, strict=False))
    for line in map(json.loads, Path(config.out, "metrics.jsonl").read_text().splitlines()):
        if "valid_perplexity" in line:
            scored[line["step"]] = line["valid_perplexity"]
    found = [checkpoint.read_state(p) for p in checkpoint.all_of(Path(config.out, "checkpoints"))]
    assert [state["step"] for state in found] == [4, 8, 12]
    assert all(state["valid_perplexity"] == scored[state["step"]] for state in found)
    assert [step for step, perplexity in scored.items() if perplexity] == [4, 5, 8, 10, 12]
    assert found[1]["sampler"] == {"seed": 0, "step": 8}


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_survives(
    tmp_path, monkeypatch, capsys
):
    config = replace(tiny(tmp_path), threads=1)
    write = checkpoint.save_file

    def full(tensors, path):
        if "step-00000008" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(InputError, match="step-00000008: No space left on device") as e:
        pretrain(config)
    assert "\n" not in str(e.value)
    assert str(e.value).endswith(
        f"go on from the last good checkpoint, {config.out}/checkpoints/step-00000004"
    )
    folder = Path(config.out, "checkpoints")
    assert [path.name for path in folder.iterdir()] == ["step-00000004"]
    given = [f"{k}={getattr(config, k)}" for k in ("d_model", "max_seq_len", "first_length")]
    given += [f"{k}={getattr(config, k)}" for k in ("batch_tokens", "tokens", "checkpoint_every")]
    given += ["valid_every=1280", "log_every=1", "threads=1", f"out={config.out}"]
    given += [f"fasta={config.fasta[0]}", f"valid_fasta={config.valid_fasta[0]}"]
    capsys.readouterr()
    assert main(given) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ") and "No space left on device" in error
    monkeypatch.setattr(checkpoint, "save_file", write)
    assert main(given) == 0
    whole = replace(config, out=f"{config.out}-whole")
    pretrain(whole)
    assert lines(config.out, "loss") == lines(whole.out, "loss")


def test_a_full_disk_under_the_metrics_is_one_line(tmp_path, monkeypatch):
    journal = Journal(tmp_path, 0)
    journal.write(1, loss=1.0)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        InputError, match=r"metrics.jsonl: No space left on device; make room .* start again"
    ):
        journal.write(2, loss=1.0)
    monkeypatch.undo()
    journal.path.write_text(journal.path.read_text() + '{"step": 2, "lo')
    Journal(tmp_path, 2)
    assert [json.loads(line)["step"] for line in journal.path.read_text().splitlines()] == [1]


def test_an_exported_model_is_read_by_from_pretrained(tmp_path):
    config = tiny(tmp_path)
    pretrain(config)
    folder = f"{config.out}/model"
    expected, found = load(folder), HyenaDNA.from_pretrained(folder).eval()
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    torch.testing.assert_close(found(ids).logits, expected(ids).logits)
    assert DNATokenizer.from_pretrained(folder).model_max_length == 64
    assert json.loads(Path(folder, "config.json").read_text())["model_type"] == "hyenadna"


def test_a_sharded_model_is_saved_whole_and_restored(tmp_path):
    whole = small_model(3)
    plain = trained(whole)
    weights, moments = checkpoint.gather(whole, plain)
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        model = small_model(3)
        for block in model.backbone.layers:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert isinstance(model.backbone.layers[0].mlp.fc1.weight, DTensor)
        optimizer = trained(model)
        sharded_weights, sharded_moments = checkpoint.gather(model, optimizer)
        assert not any(isinstance(t, DTensor) for t in sharded_weights.values())
        for expected, found in ((weights, sharded_weights), (moments, sharded_moments)):
            assert expected.keys() == found.keys()
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name], tensor)
        state = {"step": 1, "valid_perplexity": None}
        path = checkpoint.save(
            tmp_path, sharded_weights, sharded_moments, small_model(0), DNATokenizer(), state
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        checkpoint.restore(path, model, optimizer)
        again, moments_again = checkpoint.gather(model, optimizer)
        assert all(torch.equal(again[name], tensor) for name, tensor in sharded_weights.items())
        assert all(torch.equal(moments_again[name], t) for name, t in sharded_moments.items())
    finally:
        destroy_process_group()
    for name, tensor in load(str(path)).state_dict().items():
        assert torch.equal(tensor, sharded_weights[name])
