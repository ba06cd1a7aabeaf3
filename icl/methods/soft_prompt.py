"""Learned prompt vectors for a frozen backbone (Lester et al. 2021, arXiv 2104.08691)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.errors import InputError
from backbone.prefix import LayerState, PrefixState
from icl.fit import TuningConfig, tune
from icl.memo import fits, remembered
from icl.methods.base import Context, Method, MethodConfig, method
from icl.prompted import Prompted
from icl.queries import Batch, Queries, both_strands
from prompts.soft import Init, Placement, PromptShape, SoftPrompt
from prompts.verbalizer import verbalizer
from tasks.task import Example

_CHOICES = {
    "placement": ("before", "after", "split"),
    "readout": ("last", "mean"),
    "init": ("nucleotides", "normal"),
    "strands": ("both", "forward"),
}


@dataclass
class SoftPromptConfig(MethodConfig, TuningConfig):
    """Where the vectors stand, how classes are read, and how the vectors are tuned."""

    lr: float = field(default=0.1, metadata={"help": "peak learning rate"})
    epochs: int = field(default=20, metadata={"help": "epochs at most"})
    placement: str = field(
        default="after", metadata={"help": "vectors before the query, after it, or split"}
    )
    readout: str = field(
        default="last",
        metadata={"help": "label words at the last position, or mean over the query"},
    )
    init: str = field(
        default="nucleotides", metadata={"help": "start from nucleotides' embeddings, or normal"}
    )
    strands: str = field(
        default="both", metadata={"help": "scores of both strands averaged, or forward alone"}
    )


class PromptTuning(Method[SoftPromptConfig]):
    """What soft prompts of one layer and of all layers share."""

    deep = False

    def __init__(self, config: SoftPromptConfig, context: Context) -> None:
        """Checks the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        config.check()
        for name, choices in _CHOICES.items():
            if getattr(config, name) not in choices:
                raise InputError(
                    f"method.{name}={getattr(config, name)}: must be one of {', '.join(choices)}"
                )
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        tokens = context.prompt_tokens or 0
        if config.readout == "mean" and (config.placement != "before" and tokens):
            raise InputError(
                "method.readout=mean reads the query's positions, which vectors after it cannot "
                "reach: give method.placement=before"
            )
        if config.readout == "mean" and self.verbalizer.length > 1:
            raise InputError("method.readout=mean needs label words of one nucleotide")
        self._built: tuple[Prompted, SoftPrompt] | None = None

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that do not fit beside the prompt, with the numbers."""
        longest = max(examples, key=lambda e: len(e.sequence))
        most, tokens = self._max_seq_len(), self.prompt_tokens or 0
        if len(longest.sequence) > self._most():
            extra = self.verbalizer.length
            room = self._most() + tokens - len(longest.sequence)
            raise InputError(
                f"{tokens} prompt tokens + {len(longest.sequence)} nucleotides + [SEP] + "
                f"{extra} for the label word = {tokens + len(longest.sequence) + 1 + extra} tokens "
                f"exceed the backbone's max_seq_len of {most}; "
                + (f"give k={room} or less, or " if room >= 0 else "use ")
                + "a backbone with a longer context"
            )

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tunes the vectors on `train`; the epoch with the least loss on `val` is kept."""
        learning = _Labelled(self, train)
        held_out = _Labelled(self, val)

        def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
            return learning.steps(np.random.default_rng([self.context.seed, epoch]))

        def validate() -> tuple[float, float]:
            scores = torch.from_numpy(held_out.scores())
            labels = torch.tensor(held_out.labels)
            right = (scores.argmax(1) == labels).double().mean()
            return F.nll_loss(scores, labels).item(), right.item()

        best = tune(
            self._parts()[1],
            batches,
            steps=sum(1 for _ in batches(1)),
            validate=validate,
            config=self.config,
            show=self.context.progress,
            folder=self.context.run_dir,
        )
        self.validation = {"accuracy": best.accuracy, "loss": best.loss, "epoch": best.epoch}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C)."""
        return _Labelled(self, examples).scores()

    @property
    def averages_strands(self) -> bool:
        """Whether the strands' scores are averaged."""
        return self.config.strands == "both"

    def read_forward_alone(self) -> None:
        """Sets `strands` to forward."""
        self.config = replace(self.config, strands="forward")

    def full_vocabulary_accuracy(self, examples: Sequence[Example]) -> float | None:
        """Accuracy when any token may be the answer, forward strand, without offsets."""
        if self.verbalizer.length > 1:
            return None
        queries = Queries([e.sequence for e in examples], self._most())
        right = 0
        with torch.no_grad(), self._autocast():
            prefix = self._prefix(queries)
            for batch in queries.batches(self.context.batch_size):
                _, logits = self._answers(batch.to(self.context.device), prefix, None)
                wanted = self.verbalizer.ids[[examples[row].label for row in batch.rows]]
                right += int((logits.argmax(-1).cpu() == wanted[:, 0]).sum())
        return right / len(examples)

    @property
    def trainable_parameters(self) -> int:
        """Vectors in all their layers, and one offset per class."""
        return self._parts()[1].count

    def state(self) -> dict[str, np.ndarray]:
        """The prompt."""
        tensors = self._parts()[1].state_dict()
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Takes over a prompt."""
        prompt = self._parts()[1]
        wanted = {name: tuple(t.shape) for name, t in prompt.state_dict().items()}
        given = {name: a.shape for name, a in state.items()}
        if wanted != given:
            raise InputError(
                f"the learned prompt has shapes {given}, the run's options ask {wanted}"
            )
        prompt.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in state.items()})

    def _parts(self) -> tuple[Prompted, SoftPrompt]:
        if self._built is None:
            model = self.context.load_backbone()
            layers = model.config.n_layer - 1 if self.deep else 0
            placement = cast(Placement, self.config.placement)
            shape = PromptShape.of(self.prompt_tokens or 0, placement, layers)
            init = cast(Init, self.config.init)
            prompt = SoftPrompt(model, shape, len(self.context.labels), init, self.context.seed)
            self._built = Prompted(model, self.verbalizer), prompt.to(self.context.device)
        return self._built

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len

    def _most(self) -> int:
        """The longest sequence that fits: prompt + sequence + [SEP] + label word."""
        return self._max_seq_len() - (self.prompt_tokens or 0) - 1 - self.verbalizer.length

    def _prefix(self, queries: Queries) -> PrefixState | None:
        """Encodes the vectors before the query, with room for the longest of the queries."""
        prompted, prompt = self._parts()
        return prompted.prefix(prompt, int(queries.padded.max()) + prompted.room_after(prompt))

    def _autocast(self) -> AbstractContextManager[object]:
        if self.context.precision == "bf16":
            return torch.autocast(torch.device(self.context.device).type, torch.bfloat16)
        return nullcontext()

    def _answers(
        self, batch: Batch, prefix: PrefixState | None, context: PrefixState | None
    ) -> tuple[Tensor, Tensor]:
        """Class scores (B, C) and next-token logits (B, V) of a batch, from kept states if any."""
        prompted, prompt = self._parts()
        if self.config.readout == "mean":
            return prompted.over_query(prompt, batch, prefix)
        if context is None:
            context = prompted.contexts(prompt, batch, prefix)
        return prompted.answer(prompt, context)


class _Labelled:
    """Rows with labels, both strands of them, and their encoded states where those can be kept.

    Nothing that is learned stands before the queries if all vectors come after them; then a query
    is encoded once for the whole of training, and a step costs the suffix alone.
    """

    def __init__(self, method: PromptTuning, examples: Sequence[Example]):
        self.method = method
        self.labels = np.array([e.label for e in examples])
        sequences = [e.sequence for e in examples]
        self.strands = 2 if method.config.strands == "both" else 1
        both = both_strands(sequences) if self.strands == 2 else sequences
        self.queries = Queries(both, method._most())
        self.kept: PrefixState | None = None
        if self._can_be_kept():
            self.kept = self._encode_all(both)

    def steps(self, generator: np.random.Generator) -> Iterator[Callable[[], Tensor]]:
        """Gives the losses of one epoch's steps; each row comes once, on a strand drawn for it."""
        count = len(self.labels)
        strand = generator.integers(self.strands, size=count)
        order = generator.permutation(count)
        chosen = order + strand[order] * count
        rows = self.method.config.rows
        cuts = [batch.rows for batch in self.queries.batches(rows, chosen)]
        for i in generator.permutation(len(cuts)):
            yield lambda rows=cuts[i]: self._loss(rows)  # type: ignore[misc]

    def scores(self) -> np.ndarray:
        """Log-probabilities (N, C), the strands' scores averaged."""
        method, count = self.method, len(self.labels)
        scores = np.zeros((len(self.queries), len(method.context.labels)))
        with torch.no_grad(), method._autocast():
            prefix = method._prefix(self.queries)
            for batch in self.queries.batches(method.context.batch_size):
                scores[batch.rows] = self._answer(batch, prefix).double().cpu().numpy()
        averaged = scores.reshape(self.strands, count, -1).mean(axis=0)
        return torch.from_numpy(averaged).log_softmax(-1).numpy()

    def _loss(self, rows: np.ndarray) -> Tensor:
        with self.method._autocast():
            scores = self._answer(self.queries.batch(rows), self.method._prefix(self.queries))
        labels = torch.from_numpy(self.labels[rows % len(self.labels)]).to(scores.device)
        return F.cross_entropy(scores, labels)

    def _answer(self, batch: Batch, prefix: PrefixState | None) -> Tensor:
        batch = batch.to(self.method.context.device)
        if self.kept is not None:
            rows = torch.from_numpy(batch.rows).to(self.method.context.device)
            return self.method._answers(batch, None, self.kept.rows(rows))[0]
        return self.method._answers(batch, prefix, None)[0]

    def _bytes_per_row(self) -> int:
        prompted, prompt = self.method._parts()
        config = prompted.model.config
        return config.n_layer * config.d_model * (6 + prompted.room_after(prompt)) * 4

    def _can_be_kept(self) -> bool:
        config, prompt = self.method.config, self.method._parts()[1]
        unaffected = config.readout == "last" and not len(prompt.before)
        return unaffected and fits(len(self.queries), self._bytes_per_row())

    def _encode_all(self, sequences: Sequence[str]) -> PrefixState:
        prompted, prompt = self.method._parts()
        room, context = prompted.room_after(prompt), self.method.context

        def encode(sequence: str) -> tuple[Tensor, ...]:
            batch = Queries([sequence], self.method._most()).batch(np.zeros(1, dtype=np.int64))
            with torch.no_grad(), self.method._autocast():
                state = prompted.contexts(prompt, batch.to(context.device), None)
            return tuple(t[0] for layer in state.layers for t in (layer.tail, layer.spill))

        kind = f"context, room={room}, {context.precision}"
        parts = remembered(prompted.model, kind, sequences, encode, self._bytes_per_row())
        layers = tuple(LayerState(*parts[i : i + 2]) for i in range(0, len(parts), 2))
        return PrefixState(layers, int(self.queries.padded.max()), room)


@method("soft_prompt", config=SoftPromptConfig, budget="prompt_tokens")
class SoftPromptMethod(PromptTuning):
    """Learned vectors beside the query; the frozen backbone answers with a label word."""
