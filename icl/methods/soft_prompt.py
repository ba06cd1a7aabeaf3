"""Learned prompt vectors for a frozen backbone (Lester et al. 2021, arXiv 2104.08691)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.demonstrations import PREFIX, DemonstrationConfig, DemonstrationSet
from icl.inference.reader import LabelWordScorer, PromptReader, QuerySet
from icl.method import Context, Method, MethodConfig, method
from icl.tuning.loop import TuningConfig, tune
from icl.tuning.peft_export import ADAPTER, save_prompt
from prompts.soft_prompt import Init, Placement, PromptShape, SoftPrompt
from prompts.verbalizer import verbalizer
from tasks.kinds import TASK_KINDS
from tasks.task import Example


@dataclass
class SoftPromptConfig(MethodConfig, DemonstrationConfig, TuningConfig):
    """Where the vectors stand, what is shown, how classes are read, how the vectors are tuned."""

    lr: float = option(0.1, "peak learning rate", above=0)
    epochs: int = option(20, "epochs at most", least=1)
    placement: str = option(
        "after",
        "where the vectors stand: before or after the query, or half and half",
        choices=("before", "after", "split"),
    )
    readout: str = option(
        "last", "label words at the last position, or mean over the query", choices=("last", "mean")
    )
    init: str = option(
        "nucleotides",
        "initial vectors: embeddings of nucleotides, or normal noise",
        choices=("nucleotides", "normal"),
    )
    strands: str = option("both", "strands whose scores are averaged", choices=("both", "forward"))


class PromptTuning(Method[SoftPromptConfig]):
    """What soft prompts of one layer and of all layers share."""

    deep = False

    def __init__(self, config: SoftPromptConfig, context: Context) -> None:
        """Checks the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        tokens = context.prompt_tokens or 0
        if config.readout == "mean" and (config.placement != "before" and tokens):
            raise InputError(
                "method.readout=mean reads the query's positions, which vectors after it cannot "
                "reach: give method.placement=before"
            )
        if config.readout == "mean" and self.verbalizer.length > 1:
            raise InputError("method.readout=mean needs label words of one nucleotide")
        if config.readout == "mean" and context.shots and config.demonstrations == "per_query":
            raise InputError(
                "method.readout=mean needs the query apart from its demonstrations: "
                "give method.demonstrations=fixed"
            )
        self._shown = DemonstrationSet(config, context, lambda: self._max_seq_len() - tokens)
        self._built: PromptReader | None = None

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that do not fit beside the prompt, with the numbers."""
        longest = max(len(e.sequence) for e in examples)
        most, tokens, word = self._max_seq_len(), self.prompt_tokens or 0, self.verbalizer.length
        # `prepare` draws demonstrations to the room there is; those of a saved run stand already.
        shown = 0 if self._built is None else len(self._built.shared)
        all_tokens = tokens + shown + longest + 1 + word
        if all_tokens > most:
            room = most - (all_tokens - tokens)
            raise InputError(
                f"{tokens} prompt tokens + "
                + (f"{shown} of demonstrations + " if shown else "")
                + f"{longest} nucleotides + [SEP] + {word} for the label word = {all_tokens} "
                f"tokens exceed the backbone's max_seq_len of {most}; "
                + (f"give k={room} or less, or " if room >= 0 and not shown else "use ")
                + "a backbone with a longer context"
            )

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draws the demonstrations, if there are any."""
        queries = [*(e.sequence for e in (*train, *val)), *self.context.queries]
        self._shown.draw(train, self.verbalizer, longest=max(map(len, queries)))

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tunes the vectors on `train`; the epoch with the least loss on `val` is kept."""
        self.prepare(train, val)
        self._built = None
        learning, held_out = self._rows(self._shown.without_shown(train)), self._rows(val)

        def batches(epoch: int) -> Iterator[Callable[[], Tensor]]:
            generator = np.random.default_rng([self.context.seed, epoch])
            return learning.steps(self.config.rows, generator)

        def judge() -> tuple[float, float]:
            return TASK_KINDS["classes"].validate(held_out.scores(), held_out.labels)

        best = tune(
            self._in_context().prompt,
            batches,
            steps=sum(1 for _ in batches(1)),
            validate=judge,
            config=self.config,
            show=self.context.progress,
            folder=self.context.run_dir,
        )
        self.validation = {"accuracy": best.accuracy, "loss": best.loss, "epoch": best.epoch}

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C)."""
        if self.shots:
            shown, template = self._shown, self._in_context().template
            self.details = shown.details([e.sequence for e in examples], template)
        return self._rows(examples).scores()

    @property
    def averages_strands(self) -> bool:
        """Whether the strands' scores are averaged."""
        return self.config.strands == "both"

    def read_forward_alone(self) -> None:
        """Sets `strands` to forward."""
        self.config = replace(self.config, strands="forward")

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand, without offsets."""
        if self.verbalizer.length > 1:
            return None
        _, tokens = self._rows(examples, strands="forward").answers()
        return tokens, self.verbalizer.ids[:, 0].numpy()

    @property
    def trainable_parameters(self) -> int:
        """Vectors in all their layers, and one offset per class."""
        return self._in_context().prompt.count

    def state(self) -> dict[str, np.ndarray]:
        """The prompt, and the demonstrations if there are any."""
        tensors = self._in_context().prompt.state_dict()
        learned = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return learned | self._shown.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Takes over a prompt and its demonstrations."""
        self._shown.load_state(state, self.verbalizer)
        self._built = None
        prompt = self._in_context().prompt
        learned = {name: a for name, a in state.items() if not name.startswith(PREFIX)}
        wanted = {name: tuple(t.shape) for name, t in prompt.state_dict().items()}
        given = {name: a.shape for name, a in learned.items()}
        if wanted != given:
            raise InputError(
                f"the learned prompt has shapes {given}, the run's options ask {wanted}"
            )
        prompt.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in learned.items()})

    def save_adapter(self, folder: Path) -> None:
        """Writes vectors that stand before everything, whose form PEFT has."""
        reader = self._in_context()
        if self.config.readout == "last":
            words = self.verbalizer.words
            save_prompt(reader.prompted.model, reader.prompt, words, folder / ADAPTER)

    def _in_context(self) -> PromptReader:
        """The prompt beside the demonstrations that were drawn or loaded."""
        if self._built is None:
            model, config = self.context.load_backbone(), self.config
            layers = model.config.n_layer - 1 if self.deep else 0
            placement, init = cast(Placement, config.placement), cast(Init, config.init)
            shape = PromptShape.of(self.prompt_tokens or 0, placement, layers)
            prompt = SoftPrompt(model, shape, len(self.context.labels), init, self.context.seed)
            self._built = PromptReader(
                LabelWordScorer(model, self.verbalizer),
                prompt.to(self.context.device),
                self._shown,
                self.context,
                config.readout,
            )
        return self._built

    def _rows(self, examples: Sequence[Example], strands: str | None = None) -> QuerySet:
        return QuerySet(self._in_context(), examples, strands or self.config.strands).keep_states()

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len


@method("soft_prompt", config=SoftPromptConfig, budget="prompt_tokens", also=("shots",))
class SoftPromptMethod(PromptTuning):
    """Learned vectors beside the query; the frozen backbone answers with a label word."""
