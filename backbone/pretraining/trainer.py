"""The training loop: next-token prediction on windows of genomes or any other source of rows.

Source: Nguyen et al. 2023 (arXiv 2306.15794), section 3. A step is a pure function of the weights,
the optimizer's state, the seed and the step number. So a resumed run repeats the uninterrupted one,
and several processes that share the rows do what one would do.
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backbone.common.errors import InputError, NonFiniteLossError
from backbone.common.schedule import learning_rate
from backbone.hyena.model import HyenaDNA
from backbone.pretraining import checkpoint
from backbone.pretraining.architectures import new_model, tokenizer_of
from backbone.pretraining.config import TrainerConfig, differences
from backbone.pretraining.data import IGNORED, Batch, Source
from backbone.pretraining.distributed import Processes
from backbone.pretraining.metrics_log import Journal, check_tensorboard
from backbone.pretraining.optimization import (
    BETAS,
    divide_by_rows,
    loss_sum,
    parameter_groups,
    recompute,
    rows_of_stages,
    stage_at,
    stage_lengths,
)
from backbone.pretraining.progress import Status, perplexity_of
from backbone.pretraining.related.contrast import Contrast, Questions
from backbone.pretraining.related.contrast_loss import contrast_loss
from backbone.pretraining.related.label_word_loss import label_word_loss
from backbone.pretraining.related.label_words import LabelledRows, LabelWords
from backbone.pretraining.workers import Draw, Workers

RECENT = 50
"""Steps from which the time left is estimated."""


class Answers:
    """What a model answered since the last line of metrics."""

    def __init__(self, device: torch.device) -> None:
        """Start with nothing asked."""
        self.sums, self.asked = torch.zeros(2, device=device, dtype=torch.float32), 0

    def add(self, loss: Tensor, right: Tensor, asked: int) -> None:
        """Add a summed loss and right answers."""
        self.sums += torch.stack([loss.detach(), right.float()])
        self.asked += asked

    def take(self, name: str) -> dict[str, float]:
        """Return NAME_loss and NAME_accuracy if anything was asked, and start again."""
        if not self.asked:
            return {}
        loss, right = (self.sums / self.asked).tolist()
        self.sums.zero_()
        self.asked = 0
        return {f"{name}_loss": loss, f"{name}_accuracy": right}


class Trainer:
    """A pretraining run: its model, its data and its progress."""

    def __init__(
        self,
        config: TrainerConfig,
        source: Source,
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[HyenaDNA], Mapping[str, float]] | None = None,
        contrast: Contrast | None = None,
        words: LabelWords | None = None,
    ) -> None:
        """Build everything, and resume from the newest checkpoint under `config.out`, if any.

        Args:
            config: All options.
            source: Where rows of token ids come from.
            clock: Seconds, for the budget in minutes and for rates.
            measure: Further figures of the model, by name, to log with the held-out perplexity.
            contrast: Questions about classes, asked in every step in addition to the rows.
            words: Label words, asked for in every step in addition to the rows.

        Raises:
            InputError: If the source has no rows of these lengths, the output folder cannot be
                written, or a checkpoint belongs to a run with other options.
        """
        self.config, self.source, self.clock = config, source, clock
        self.measure, self.contrast, self.words = measure, contrast, words
        self.out = Path(config.out)
        self.folder = self.out / "checkpoints"
        if config.tensorboard:
            check_tensorboard()
        self.processes = Processes(config.device)
        self.device = self.processes.device
        longest = config.last_length or config.max_seq_len
        self.lengths = stage_lengths(longest, config.first_length)
        self.rows = rows_of_stages(len(self.lengths), config.batch_tokens // longest)
        if self.rows[-1] % self.processes.count:
            raise InputError(
                f"batch_tokens={config.batch_tokens} is {self.rows[-1]} windows of {longest} "
                f"tokens, which {self.processes.count} processes cannot share equally"
            )
        source.batch(1, longest, config.seed, step=0)  # or refuse now
        valid_length = config.valid_length or config.max_seq_len
        self.valid = source.held_out(valid_length, max(1, config.valid_tokens // valid_length))
        self.valid_all = source.held_out(valid_length, sys.maxsize)
        self._build()
        self.step = self.tokens = 0
        self.losses: list[float] = []
        self.answers = {"class": Answers(self.device), "word": Answers(self.device)}
        self._scored = (-1, math.nan)  # the step last scored on held-out rows, and its perplexity
        self.final_perplexity = math.nan  # of the exported model, on all held-out rows if any
        self.seconds_before = self.cpu_before = 0.0
        self.began, self.cpu_began = clock(), time.process_time()
        if self.processes.is_first:
            _make_writable(self.folder)
        self.processes.wait()
        self._resume()
        draws: dict[str, Draw] = {"rows": source.batch}
        if contrast is not None:
            if self.processes.count > 1:
                raise InputError("contrast= trains in one process; start one")
            draws["questions"] = contrast.source.questions
        if words is not None:
            if self.processes.count > 1:
                raise InputError("words= trains in one process; start one")
            draws["label words"] = words.source.rows
        self.workers = Workers(draws, config.workers)
        self.journal = (
            Journal(self.out, self.step, config.tensorboard) if self.processes.is_first else None
        )

    def _build(self) -> None:
        """Build the model and its optimizer, as part of the group of processes."""
        config = self.config
        self.model = new_model(config)
        nn.Module.to(self.model, self.device)
        self.dropouts = []
        if isinstance(self.model, HyenaDNA):
            self.dropouts = divide_by_rows(self.model)
            recompute(self.model, config.gradient_checkpointing)
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay),
            lr=config.lr,
            betas=BETAS,
            fused=self.device.type != "mps",
        )
        self.wrapped, self.optimizer = self.processes.prepare(self.model, optimizer)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all sessions of the run."""
        return self.seconds_before + self.clock() - self.began

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process, which do not depend on the machine's other load."""
        return self.cpu_before + time.process_time() - self.cpu_began

    @property
    def progress(self) -> float:
        """Share of the budget used so far, by tokens or by time, whichever is larger."""
        by_tokens = self.tokens / self.config.tokens if self.config.tokens else 0.0
        if not self.config.minutes:
            return min(1.0, by_tokens)
        by_time = self.processes.same(self.seconds) / (60 * self.config.minutes)
        return min(1.0, max(by_tokens, by_time))

    def run(self) -> Iterator[Status]:
        """Train to the end of the budget, with evaluations and checkpoints; yield each step.

        Raises:
            NonFiniteLossError: If the loss or its gradient is not finite.
            InputError: If a checkpoint cannot be written.
        """
        try:
            yield from self._steps()
        finally:
            self.workers.close()
        self._finish()

    def _steps(self) -> Iterator[Status]:
        """Train to the end of the budget; yield each step."""
        # From the last steps alone: stages differ, and so does the machine's other load.
        recent = deque([(self.progress, self.seconds)], maxlen=RECENT)
        while (progress := self.progress) < 1.0:
            before, since = self.tokens, self.seconds
            stage = stage_at(progress, len(self.lengths), self.config.length_warmup)
            lr = learning_rate(progress, self.config.lr, self.config.warmup, self.config.lr_floor)
            loss = self.train_step(stage, lr)
            self.losses.append(loss)
            progress, now = self.progress, self.seconds
            gained, spent = progress - recent[0][0], now - recent[0][1]
            recent.append((progress, now))
            status = Status(
                step=self.step,
                tokens=self.tokens,
                progress=progress,
                stage=stage,
                stages=len(self.lengths),
                length=self.lengths[stage],
                lr=lr,
                loss=loss,
                tokens_per_second=(self.tokens - before) / max(now - since, 1e-9),
                seconds_left=spent * (1.0 - progress) / gained if gained > 0 else math.inf,
            )
            if self.step % self.config.log_every == 0 or progress >= 1.0:
                mean = sum(self.losses) / len(self.losses)
                self.final_perplexity = perplexity_of(mean)
                scores = {"loss": mean, "perplexity": perplexity_of(mean), **self._answers()}
                self.log(**{**status._asdict(), **scores})
                self.losses = []
            yield status
            self._at_milestones(before)

    def train_step(self, stage: int, lr: float) -> float:
        """Do one optimisation step on rows of a stage and return their mean loss in nats.

        The step's rows are divided among the processes, and each process's into parts that fit its
        memory. The loss is summed over all of them, so both change the gradient by rounding alone.
        """
        length, count = self.lengths[stage], self.processes.count
        rows = self.rows[stage] // count
        first = self.processes.rank * rows
        drawn: Batch = self.workers.draw(
            "rows", self.step, rows=rows, length=length, seed=self.config.seed, first=first
        )
        counted = self.processes.total(int((drawn.targets != IGNORED).sum()))
        counted = max(1.0, counted)  # a batch of N alone has a loss of 0
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.wrapped.train()
        self.optimizer.zero_grad()
        summed = torch.zeros((), device=self.device, dtype=torch.float32)
        part = min(rows, self._rows_at_once(length))
        for start in range(0, rows, part):
            inputs, targets = self._on_device(drawn[start : start + part])
            for dropout in self.dropouts:
                dropout.set_rows(self.config.seed, self.step, first + start, len(inputs))
            with self._exchange(last=start + part >= rows):
                with self._autocast():
                    total, _ = loss_sum(self.wrapped, inputs, targets)
                # Gradients are averaged over processes, and this is a share of a sum.
                (total * (count / counted)).backward()
            summed += total.detach()
        if self.contrast is not None:
            self._ask(self.contrast)
        if self.words is not None:
            self._ask_for_words(self.words)
        norm = self.processes.clip(self.wrapped, self.config.clip)
        loss = self.processes.total(summed.item()) / counted
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLossError(self._diverged(loss, norm, stage))
        self.optimizer.step()
        self.step += 1
        self.tokens += self.rows[stage] * length
        return loss

    def _ask(self, contrast: Contrast) -> None:
        """Add the gradients of the step's questions."""
        assert isinstance(self.model, HyenaDNA)
        drawn: Questions = self._drawn("questions", contrast.tokens)
        most = self.config.micro_tokens or drawn.tokens
        at_once = max(1, most * len(drawn) // drawn.tokens)
        for start in range(0, len(drawn), at_once):
            some = drawn[start : start + at_once]
            contexts, queries, classes = self._ids(some.contexts, some.queries, some.classes)
            with self._autocast():
                found = contrast_loss(self.model, contexts, queries, classes)
            share = found.classes * (contrast.weight / drawn.classes.size)
            (share + found.bases / drawn.bases).backward()
            self.answers["class"].add(found.classes, found.right, some.classes.size)

    def _ask_for_words(self, words: LabelWords) -> None:
        """Add the gradients of the step's rows with label words."""
        assert isinstance(self.model, HyenaDNA)
        drawn: LabelledRows = self._drawn("label words", words.tokens)
        at_once = max(1, (self.config.micro_tokens or words.tokens) // drawn.ids.shape[1])
        for start in range(0, len(drawn), at_once):
            some = drawn[start : start + at_once]
            ids, label_words, classes = self._ids(some.ids, some.words, some.classes)
            for dropout in self.dropouts:
                dropout.set_rows(self.config.seed, self.step, start, len(some))
            with self._autocast():
                found = label_word_loss(self.model, ids, label_words, classes)
            share = found.words * (words.weight / drawn.asked)
            (share + found.bases / drawn.bases).backward()
            self.answers["word"].add(found.words, found.right, some.asked)

    def _drawn(self, what: str, tokens: int) -> Any:
        """Return what is asked in this step in addition to the rows."""
        most, seed = self.config.max_seq_len, self.config.seed
        return self.workers.draw(what, self.step, tokens=tokens, most=most, seed=seed)

    def _ids(self, *arrays: np.ndarray) -> Iterator[Tensor]:
        """Yield arrays as int64 tensors on the device."""
        for array in arrays:
            yield torch.from_numpy(array).to(self.device, torch.int64, non_blocking=True)

    def _answers(self) -> dict[str, float]:
        """Return the mean loss and the accuracy of what was asked since the last call."""
        found: dict[str, float] = {}
        for name, answers in self.answers.items():
            found |= answers.take(name)
        return found

    @torch.no_grad()
    def evaluate(self, held_out: Batch) -> float:
        """Return the perplexity of some rows' targets, each process scoring its share of them."""
        self.wrapped.eval()
        mine = held_out.share(self.processes.rank, self.processes.count)
        at_once = self._rows_at_once(held_out.length + 1)
        summed, counted = 0.0, 0
        for start in range(0, len(mine), at_once):
            inputs, targets = self._on_device(mine[start : start + at_once])
            with self._autocast():
                some, count = loss_sum(self.wrapped, inputs, targets)
            summed, counted = summed + some.item(), counted + int(count)
        total = self.processes.total
        return perplexity_of(total(summed) / max(1.0, total(counted)))

    def save(self) -> None:
        """Write a checkpoint, scored on held-out rows if there are any, and delete old ones."""
        perplexity = None if self.valid is None else self._validate()
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "progress": self.progress,
            "losses": self.losses,
            "sampler": {"seed": self.config.seed, "step": self.step},
            "valid_perplexity": perplexity,
            "config": asdict(self.config),
        }
        weights, moments = checkpoint.gather(self.wrapped, self.optimizer)
        if self.processes.is_first:
            tokenizer = tokenizer_of(self.config)
            checkpoint.save(self.folder, weights, moments, self.model, tokenizer, state)
            checkpoint.prune(self.folder, self.config.keep)

    def log(self, **values: Any) -> None:
        """Append a line to metrics.jsonl."""
        times = {"seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2)}
        if self.journal is not None:
            self.journal.write(**{**times, **values})

    def _validate(self) -> float:
        """Return the perplexity on some held-out rows; score and log it once per step."""
        assert self.valid is not None
        scored_at, perplexity = self._scored
        if scored_at != self.step:
            perplexity = self.evaluate(self.valid)
            watched = self.measure is not None and self.processes.is_first
            more = self._measured() if watched else {}
            self.log(step=self.step, tokens=self.tokens, valid_perplexity=perplexity, **more)
            self._scored = self.step, perplexity
        return perplexity

    def _measured(self) -> Mapping[str, float]:
        assert self.measure is not None and isinstance(self.model, HyenaDNA)
        return self.measure(self.model)

    def _at_milestones(self, before: int) -> None:
        """Evaluate and save where the last step crossed a multiple of the options' tokens."""

        def crossed(every: int) -> bool:
            return before // every != self.tokens // every

        if self.valid is not None and crossed(self.config.valid_every):
            self._validate()
        if crossed(self.config.checkpoint_every):
            self.save()

    def _finish(self) -> None:
        """Save and export the model, and evaluate it on everything that is held out."""
        newest = checkpoint.all_of(self.folder)
        if not newest or checkpoint.read_state(newest[-1])["step"] != self.step:
            self.save()
        weights, _ = checkpoint.gather(self.wrapped, self.optimizer)
        if self.processes.is_first:
            tokenizer = tokenizer_of(self.config)
            checkpoint.export(weights, self.model, tokenizer, self.out / "model")
        if self.valid_all is not None:
            self.final_perplexity = self.evaluate(self.valid_all)
            self.log(
                step=self.step, tokens=self.tokens, final_valid_perplexity=self.final_perplexity
            )

    def _resume(self) -> None:
        found = checkpoint.all_of(self.folder)
        if found:
            saved = checkpoint.read_state(found[-1])["config"]
            if unlike := differences(saved, self.config):
                raise InputError(
                    f"{self.out} holds a run with {'; '.join(unlike)}; "
                    f"give the same to go on, or another out="
                )
            state = checkpoint.restore(found[-1], self.wrapped, self.optimizer)
            self.step, self.tokens = state["step"], state["tokens"]
            self.seconds_before = state["seconds"]
            self.cpu_before = state.get("cpu_seconds", 0.0)
            self.losses = state.get("losses", [])
        if self.processes.same(self.step) != self.step:
            raise InputError(f"out={self.out} must be one folder that all machines share")

    def _rows_at_once(self, length: int) -> int:
        """Return the rows of this length that a process computes at once."""
        most = self.config.batch_tokens // self.processes.count
        return max(1, min(most, self.config.micro_tokens or most) // length)

    def _exchange(self, last: bool) -> AbstractContextManager[object]:
        """Exchange gradients between processes in the last part of a step alone."""
        return nullcontext() if last else self.processes.without_exchange(self.wrapped)

    def _on_device(self, rows: Batch) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (B, L) as int64 tensors."""
        inputs, targets = torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)
        return (
            inputs.to(self.device, torch.int64, non_blocking=True),
            targets.to(self.device, torch.int64, non_blocking=True),
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _diverged(self, loss: float, norm: float, stage: int) -> str:
        found = checkpoint.all_of(self.folder)
        last = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        return (
            f"loss {loss}, gradient norm {norm} at step {self.step}, stage {stage + 1} of "
            f"{len(self.lengths)} (windows of {self.lengths[stage]}); {last}; lower lr"
        )


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
