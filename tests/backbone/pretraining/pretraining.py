"""What tests of the trainer share: a tiny genome, a tiny model, what a run wrote."""

import json
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from backbone.common.errors import InputError
from backbone.hyena.model import HyenaDNA
from backbone.pretrain import pretrain
from backbone.pretraining.config import PretrainConfig
from backbone.pretraining.distributed import Processes
from tests.devices import device

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["backbone.pretrain"])  # imported once, for all processes


def motif_genome(path: Path, repeats: int, seed: int) -> str:
    """Writes one motif of 12 bases, over and over, with a few changes, as a FASTA file."""
    random = np.random.default_rng(seed)
    bases = np.array(list("ACCGTTTAGGCA" * repeats))
    changed = random.random(len(bases)) < 0.03
    bases[changed] = random.choice(list("ACGT"), changed.sum())
    path.write_text(f">{path.stem}\n{''.join(bases)}\n")
    return str(path)


def tiny(folder: Path, **options: object) -> PretrainConfig:
    """A run of 12 steps: stages of 16, 32 and 64 tokens, a checkpoint every 4 steps."""
    given: dict[str, object] = {
        "fasta": [motif_genome(folder / "train.fa", 400, 0)],
        "valid_fasta": [motif_genome(folder / "valid.fa", 60, 1)],
        "out": str(folder / "run"),
        "d_model": 16,
        "n_layer": 2,
        "max_seq_len": 64,
        "first_length": 16,
        "batch_tokens": 256,
        "tokens": 256 * 12,
        "checkpoint_every": 256 * 4,
        "valid_every": 256 * 5,
        "log_every": 1,
        "threads": 1,
        "device": device(),
    }
    return PretrainConfig(**{**given, **options})  # type: ignore[arg-type]


def pretrain_killed_once(config: PretrainConfig, step: int = 6) -> Path:
    """Trains until a step, as if the process had been killed there, then goes on to the end."""

    class Killed(Exception):
        pass

    steps = iter(range(step + 1))

    def kill(status: object) -> None:
        if next(steps) == step:
            raise Killed

    with pytest.raises(Killed):
        pretrain(config, kill)
    return pretrain(config)


def lines(out: str, key: str) -> list[float]:
    """One value of every line of metrics.jsonl that has it."""
    text = Path(out, "metrics.jsonl").read_text()
    return [line[key] for line in map(json.loads, text.splitlines()) if key in line]


def shard(
    self: Processes, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Shards weights and optimizer as Accelerate does on GPUs (FSDP2), which it refuses on CPUs."""
    assert isinstance(model, HyenaDNA)
    old = dict(model.named_parameters())
    mesh = init_device_mesh("cpu", (self.count,))
    for block in model.backbone.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    new = {id(old[name]): parameter for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        group["params"] = [new[id(parameter)] for parameter in group["params"]]
    return model, optimizer


def pretrain_as(
    rank: int, count: int, port: int, config: PretrainConfig, sharded: bool = False
) -> None:
    """Trains as one of several processes on this machine, as torchrun and Accelerate start them."""
    if sharded:
        Processes.prepare = shard  # type: ignore[method-assign]
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{count}"}
    os.environ |= {"LOCAL_WORLD_SIZE": f"{count}", "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}"}
    try:
        pretrain(config)
    except InputError as error:
        Path(f"{config.out}.{rank}.error").write_text(str(error))
        raise SystemExit(2) from error
