"""The training loop: next-token prediction, on windows of genomes or any other source of rows.

Source: Nguyen et al. 2023 (arXiv 2306.15794), section 3. A step is a pure function of the weights,
the optimizer's state, the seed and its number, so a resumed run repeats the undisturbed one.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone import checkpoint
from backbone.errors import InputError
from backbone.model import HyenaDNA, filter_parameters, random_model
from backbone.pretrain_config import MAY_CHANGE, TrainerConfig
from backbone.schedule import learning_rate, stage_at, stage_lengths
from backbone.source import IGNORED, Rows, Source

BETAS = (0.9, 0.999)


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient is not a number any more; the weights are those before the step."""


class Status(NamedTuple):
    """Where a run stands, after a step."""

    step: int
    tokens: int
    progress: float
    stage: int
    length: int
    lr: float
    loss: float
    tokens_per_second: float
    seconds_left: float


def parameter_groups(model: HyenaDNA, weight_decay: float) -> list[dict[str, Any]]:
    """Divides the parameters: matrices and convolutions decay, the rest does not.

    Exempt are the implicit filters, norms, biases and embeddings (with the head tied to them).
    """
    exempt = filter_parameters(model)
    embedding = model.get_input_embeddings().weight
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in model.named_parameters():
        decays = name not in exempt and parameter.ndim > 1 and parameter is not embedding
        groups[0 if decays else 1].append(parameter)
    return [
        {"params": groups[0], "weight_decay": weight_decay},
        {"params": groups[1], "weight_decay": 0.0},
    ]


def loss_sum(model: HyenaDNA, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the summed cross-entropy in nats over the whole vocabulary, and the targets counted.

    Args:
        model: the language model.
        inputs: (B, L) token ids.
        targets: (B, L) token ids, -100 where not counted.
    """
    logits = model(inputs).logits.flatten(0, 1).float()
    counted = (targets != IGNORED).sum()
    return F.cross_entropy(logits, targets.flatten(), reduction="sum"), counted


class Trainer:
    """One pretraining run: its model, its data, and where it stands."""

    def __init__(
        self,
        config: TrainerConfig,
        source: Source,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Builds everything and goes on from the newest checkpoint under `config.out`, if any.

        Args:
            config: all options.
            source: where rows of token ids come from.
            clock: seconds, for the budget in minutes and for rates.

        Raises:
            InputError: for a source that cannot give rows of these lengths, an output folder that
                cannot be written, or a checkpoint of a run with other options.
        """
        self.config, self.source, self.clock = config, source, clock
        self.out = Path(config.out)
        self.folder = self.out / "checkpoints"
        self.device = _device(config.device)
        self.lengths = stage_lengths(config.last_length or config.max_seq_len, config.first_length)
        source.batch(1, self.lengths[-1], config.seed, step=0)  # or refuse now
        valid_length = config.valid_length or config.max_seq_len
        self.valid = source.held_out(valid_length, max(1, config.valid_tokens // valid_length))
        self.valid_all = source.held_out(valid_length, sys.maxsize)
        self.model = random_model(config.model_config(), config.seed)
        nn.Module.to(self.model, self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay),
            lr=config.lr,
            betas=BETAS,
            fused=self.device.type != "mps",
        )
        self.step = self.tokens = 0
        self.seconds_before = 0.0
        self.began = clock()
        _make_writable(self.folder)
        self._resume()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, of all sessions of the run."""
        return self.seconds_before + self.clock() - self.began

    @property
    def progress(self) -> float:
        """Share of the budget that is used, by tokens or by time, whichever is more."""
        by_tokens = self.tokens / self.config.tokens if self.config.tokens else 0.0
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_tokens, by_time))

    def run(self) -> Iterator[Status]:
        """Trains to the end of the budget, with evaluations and checkpoints; yields each step.

        Raises:
            NonFiniteLossError: if the loss or its gradient is not finite.
        """
        start, first = self.progress, self.seconds
        losses: list[float] = []
        while (progress := self.progress) < 1.0:
            before, since = self.tokens, self.seconds
            stage = stage_at(progress, len(self.lengths), self.config.length_warmup)
            lr = learning_rate(progress, self.config.lr, self.config.warmup, self.config.lr_floor)
            loss = self.train_step(self.lengths[stage], lr)
            losses.append(loss)
            progress, now = self.progress, self.seconds
            gained, spent = progress - start, now - first
            status = Status(
                step=self.step,
                tokens=self.tokens,
                progress=progress,
                stage=stage,
                length=self.lengths[stage],
                lr=lr,
                loss=loss,
                tokens_per_second=(self.tokens - before) / max(now - since, 1e-9),
                seconds_left=spent * (1.0 - progress) / gained if gained > 0 else math.inf,
            )
            if self.step % self.config.log_every == 0:
                mean = sum(losses) / len(losses)
                self.log(**{**status._asdict(), "loss": mean, "perplexity": math.exp(mean)})
                losses = []
            yield status
            self._at_milestones(before)
        self._finish()

    def train_step(self, length: int, lr: float) -> float:
        """Does one optimisation step on rows of `length` and returns its mean loss in nats."""
        rows = self.config.batch_tokens // length
        drawn = self.source.batch(rows, length, self.config.seed, self.step)
        inputs, targets = self._on_device(drawn)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(_seed_of(self.config.seed, self.step))
        self.model.train()
        self.optimizer.zero_grad()
        with self._autocast():
            total, counted = loss_sum(self.model, inputs, targets)
        loss = total / counted
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip, foreach=True)
        value = loss.item()
        if not (math.isfinite(value) and torch.isfinite(norm)):
            raise NonFiniteLossError(self._diverged(value, length))
        self.optimizer.step()
        self.step += 1
        self.tokens += inputs.numel()
        return value

    @torch.inference_mode()
    def evaluate(self, held_out: Rows) -> float:
        """Returns the perplexity of the counted targets of some rows."""
        self.model.eval()
        rows = max(1, self.config.batch_tokens // (held_out.length + 1))
        total, counted = 0.0, 0
        for start in range(0, len(held_out), rows):
            inputs, targets = self._on_device(held_out[start : start + rows])
            with self._autocast():
                some, count = loss_sum(self.model, inputs, targets)
            total, counted = total + some.item(), counted + int(count)
        return math.exp(total / counted)

    def save(self) -> None:
        """Writes a checkpoint and deletes the oldest ones."""
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "progress": self.progress,
            "config": asdict(self.config),
        }
        checkpoint.save(self.folder, self.model, self.optimizer, state)
        checkpoint.prune(self.folder, self.config.keep)

    def log(self, **values: Any) -> None:
        """Appends one line to metrics.jsonl."""
        line = json.dumps({"seconds": round(self.seconds, 2), **values})
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _at_milestones(self, before: int) -> None:
        """Evaluates and saves where the last step crossed a multiple of the given tokens."""

        def crossed(every: int) -> bool:
            return before // every != self.tokens // every

        if self.valid is not None and crossed(self.config.valid_every):
            self.log(step=self.step, valid_perplexity=self.evaluate(self.valid))
        if crossed(self.config.checkpoint_every):
            self.save()

    def _finish(self) -> None:
        """Saves and exports the model, and evaluates it on everything that is held out."""
        newest = checkpoint.all_of(self.folder)
        if not newest or checkpoint.read_state(newest[-1])["step"] != self.step:
            self.save()
        checkpoint.export(self.model, self.out / "model")
        if self.valid_all is not None:
            perplexity = self.evaluate(self.valid_all)
            self.log(step=self.step, tokens=self.tokens, final_valid_perplexity=perplexity)

    def _resume(self) -> None:
        found = checkpoint.all_of(self.folder)
        if found:
            saved = checkpoint.read_state(found[-1])["config"]
            now = asdict(self.config)
            for key in sorted(now.keys() - MAY_CHANGE):
                if saved.get(key) != now[key]:
                    raise InputError(
                        f"{self.out} holds a run with {key}={saved.get(key)}, not {now[key]}; "
                        f"give the same value to go on, or another out="
                    )
            state = checkpoint.restore(found[-1], self.model, self.optimizer)
            self.step, self.tokens = state["step"], state["tokens"]
            self.seconds_before = state["seconds"]
        _drop_later_lines(self.out / "metrics.jsonl", self.step)

    def _on_device(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Returns inputs and targets (B, L) as int64 tensors."""
        inputs, targets = torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)
        return (
            inputs.to(self.device, torch.int64, non_blocking=True),
            targets.to(self.device, torch.int64, non_blocking=True),
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _diverged(self, loss: float, length: int) -> str:
        found = checkpoint.all_of(self.folder)
        last = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        return (
            f"loss {loss} with a gradient that is not finite, at step {self.step} "
            f"(windows of {length}); {last}; lower lr"
        )


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error


def _seed_of(seed: int, step: int) -> int:
    """Returns the seed of one step's dropout."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


def _make_writable(folder: Path) -> None:
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; choose another out="
        ) from error


def _drop_later_lines(metrics: Path, step: int) -> None:
    """Drops what a run wrote after the checkpoint it goes on from."""
    if metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        fresh = metrics.with_name(f".{metrics.name}.part")
        fresh.write_text("".join(kept), encoding="utf-8")
        os.replace(fresh, metrics)
