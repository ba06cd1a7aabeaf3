"""Several processes do what one does, and a killed run goes on as if nothing had been."""

import random
import shutil
import socket
import time
from pathlib import Path

import pytest
import torch

from backbone.hyena.zoo import load
from backbone.pretrain import pretrain
from tests.backbone.pretraining.pretraining import PROCESSES, lines, pretrain_as, tiny

pytestmark = pytest.mark.cpu  # several processes, which one GPU would not hold

STEPS = 50


@pytest.fixture(autouse=True)
def undisturbed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pretrain_with(count, config, sharded=False):
    """Trains with several processes over gloo and returns their exit codes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = [
        PROCESSES.Process(target=pretrain_as, args=(rank, count, port, config, sharded))
        for rank in range(count)
    ]
    for process in group:
        process.start()
    for process in group:
        process.join()
    return [process.exitcode for process in group]


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_with_half_the_batch_each_do_what_one_does(tmp_path, sharded):
    options = {"tokens": 256 * STEPS, "embed_dropout": 0.1, "resid_dropout": 0.1}
    one = tiny(tmp_path, **options, out=str(tmp_path / "one"))
    # Which may hold their halves in parts, too.
    two = tiny(tmp_path, **options, out=str(tmp_path / "two"), micro_tokens=64)
    pretrain(one)
    assert pretrain_with(2, two, sharded) == [0, 0]
    shutil.rmtree(Path(two.out, "checkpoints", f"step-{STEPS:08d}"))
    assert pretrain_with(2, two, sharded) == [0, 0]  # goes on from the checkpoint before
    assert len(lines(two.out, "loss")) == STEPS
    for key in ("loss", "valid_perplexity", "final_valid_perplexity"):
        assert lines(two.out, key) == pytest.approx(lines(one.out, key), abs=1e-5)
    expected, found = load(f"{one.out}/model"), load(f"{two.out}/model")
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, atol=1e-4, rtol=0)


def test_processes_that_cannot_share_a_batch_say_so(tmp_path):
    config = tiny(tmp_path, batch_tokens=64 * 3)
    assert pretrain_with(2, config) == [2, 2]
    said = "batch_tokens=192 is 3 windows of 64 tokens, which 2 processes cannot share equally"
    assert {path.read_text() for path in tmp_path.glob("*.error")} == {said}
    assert not Path(config.out).exists()


def test_a_run_killed_at_three_moments_ends_as_the_undisturbed_one(tmp_path):
    options = {"tokens": 256 * STEPS, "embed_dropout": 0.2, "log_every": 3}
    whole = tiny(tmp_path, **options, out=str(tmp_path / "whole"))
    killed = tiny(tmp_path, **options, out=str(tmp_path / "killed"))
    pretrain(whole)
    metrics = Path(killed.out, "metrics.jsonl")
    for moment in sorted(random.sample(range(1, STEPS // 3), 3)):
        process = PROCESSES.Process(target=pretrain, args=(killed,))
        process.start()
        while process.is_alive() and not (
            metrics.exists() and metrics.read_text().count('"loss"') >= moment
        ):
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.join()
    pretrain(killed)
    for key in ("step", "loss", "perplexity", "valid_perplexity", "final_valid_perplexity"):
        assert lines(killed.out, key) == lines(whole.out, key)
    expected, found = load(f"{whole.out}/model"), load(f"{killed.out}/model")
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
