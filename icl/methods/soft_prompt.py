"""Learned prompt vectors for a frozen backbone (Lester et al. 2021, arXiv 2104.08691)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from backbone.sequence.edits import Edit
from icl.inference.demonstrations import DemonstrationConfig
from icl.inference.label_word_method import LabelWordMethod
from icl.inference.readout import NORMALISATION, NORMALISATIONS
from icl.inference.strands import StrandConfig, over_strands
from icl.method import ADAPTER, Context, method
from icl.tuning.config import TuningConfig
from icl.tuning.label_word_tuning import ADVICE
from prompts.calibration import fitted
from tasks.kinds import TASK_KINDS
from tasks.task import Example, subset

if TYPE_CHECKING:
    from torch import Tensor

    from icl.inference.channel import ChannelReader
    from icl.inference.query_set import QuerySet
    from icl.inference.reader import PromptReader
    from icl.tuning.loop import Step


@dataclass
class SoftPromptConfig(StrandConfig, DemonstrationConfig, TuningConfig):
    """Where the vectors stand, how the answer is read, and how the vectors are tuned."""

    lr: float = option(0.1, "peak learning rate", above=0)
    epochs: int = option(20, "maximum number of epochs", least=1)
    placement: str = option(
        "after",
        "vectors before the query (then also saved for PEFT, as adapter/), after it, or "
        "split; always before with readout=channel",
        choices=("before", "after", "split"),
    )
    readout: str = option(
        "direct",
        "direct, or last: label words at the last position; mean: label words from the mean "
        "state of the query; channel: likelihood of the query after a prompt of each class",
        choices=("direct", "last", "mean", "channel"),
    )
    normalisation: str = option("sqrt", NORMALISATION, choices=(*NORMALISATIONS, "auto"))
    init: str = option(
        "nucleotides",
        "start from embeddings of nucleotides, normal noise, or training rows (demonstrations)",
        choices=("nucleotides", "normal", "demonstrations"),
    )
    validation_samples: int = option(
        256,
        "with readout=channel, maximum number of validation rows that choose the epoch",
        least=1,
    )


class PromptTuning(LabelWordMethod[SoftPromptConfig]):
    """The base of soft prompts in one layer and in all layers.

    Learns vectors before or after the query and an offset per class; no weight of the backbone
    changes. The offset is fitted in closed form before tuning, on training rows, then tuned with
    the vectors, and fitted again after tuning, on validation rows.

    With `readout=channel` every class has `prompt_tokens` vectors of its own before the query, and
    a scale of the scores is fitted and tuned with the offset.
    """

    deep = False
    state_offsets = False

    def __init__(self, config: SoftPromptConfig, context: Context) -> None:
        """Check the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        if config.readout == "mean" and config.placement != "before" and context.prompt_tokens:
            raise InputError(
                "method.readout=mean reads the query's positions, which vectors after it cannot "
                "reach: give method.placement=before"
            )
        if config.readout == "mean" and self.verbalizer.length > 1:
            raise InputError("method.readout=mean needs label words of one nucleotide")
        if config.readout == "mean" and self.demonstrations.per_query:
            raise InputError(
                "method.readout=mean needs the query apart from its demonstrations: "
                "give method.demonstrations=fixed"
            )
        if self.reads_channel and config.placement == "split":
            raise InputError(
                "method.readout=channel reads the query, which vectors after it cannot reach: "
                "leave out method.placement"
            )
        self._reader: PromptReader | ChannelReader | None = None

    @property
    def reads_channel(self) -> bool:
        """Whether the query is read after a prompt of each class."""
        return self.config.readout == "channel"

    def check(self, examples: Sequence[Example]) -> None:
        """Reject rows that do not fit with the prompt, with the numbers."""
        super().check(examples)
        if self.state_offsets and not self.context.load_backbone().inner_offsets:
            raise InputError(
                f"method={self.name} adds offsets to long convolutions, of which this backbone has "
                f"none: give method=soft_prompt or deep_prompt"
            )
        longest = max(len(e.sequence) for e in examples)
        most, tokens, word = self.max_seq_len, self.prompt_tokens or 0, self.verbalizer.length
        # `prepare` fits demonstrations to the room there is; those of a saved run are fixed.
        shared = 0 if self._reader is None else self._reader.shared_length
        all_tokens = tokens + shared + longest + 1 + word
        if all_tokens > most:
            room = most - (all_tokens - tokens)
            raise InputError(
                f"{tokens} prompt tokens + "
                + (f"{shared} of demonstrations + " if shared else "")
                + f"{longest} nucleotides + [SEP] + {word} for the label word = {all_tokens} "
                f"tokens exceed the backbone's max_seq_len of {most}; "
                + (f"give k={room} or less, or " if room >= 0 and not shared else "use ")
                + "a backbone with a longer context"
            )

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations, if there are any; training rows are queries too."""
        self.draw_demonstrations(train, [*train, *val])

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tune the vectors on `train`; keep the epoch with the lowest loss on `val`.

        With `readout=channel`, where every score of a row encodes it anew, at most
        `validation_samples` rows start the scale and offsets, and as many choose the epoch, by
        their loss after scale and offsets are fitted to them.
        """
        from icl.tuning.loop import Step, tune

        self.prepare(train, val)
        self._reader = None
        reader = self.reader()
        rows = self.demonstrations.without_relatives(train)
        if self.config.init == "demonstrations":
            order = stream(self.context.seed, "rows of the first prompt").permutation(len(rows))
            reader.start_from([rows[i] for i in order])
        if channel := self.channel_reader():
            channel.choose_normalisation(val, self.config.strands)
        learning, held_out = self.query_set(rows), self.query_set(self._some(val))
        reader.begin(self.query_set(self._some(rows)) if self.reads_channel else learning)

        def batches(epoch: int) -> "Iterator[Step]":
            generator = stream(self.context.seed, "tuning steps", epoch)
            for rows in learning.epoch(self.config.rows, generator):
                yield Step(len(rows), partial(learning.loss, rows))

        def judge() -> tuple[float, float]:
            scores, labels = held_out.scores(), held_out.labels
            if self.reads_channel:
                scores = fitted(scores, labels)
            return TASK_KINDS["classes"].validate(scores, labels)

        best = tune(
            reader.prompt,
            batches,
            validate=judge,
            config=self.config,
            on_epoch=self.context.progress,
            folder=self.context.run_dir,
        )
        everything = self.query_set(val) if self.reads_channel else held_out
        scores = reader.calibrate(everything.scores(), everything.labels)
        loss, accuracy = TASK_KINDS["classes"].validate(scores, everything.labels)
        self.validation = {"accuracy": accuracy, "loss": loss, "epoch": best.epoch}

    def _some(self, rows: Sequence[Example]) -> Sequence[Example]:
        """Return the rows that are scored again and again: in the channel, a few of them."""
        if not self.reads_channel:
            return rows
        return subset(rows, min(len(rows), self.config.validation_samples), self.context.seed)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, (N, C)."""
        scores = self.query_set(examples).scores()
        self.details = self.describe_answers(scores, ADVICE)
        if channel := self.channel_reader():
            self.details |= channel.details()
        if self.shots:
            sequences, template = [e.sequence for e in examples], self.reader().template
            self.details |= self.demonstrations.details(sequences, template)
        return scores

    def scores_of_edits(
        self, sequences: Sequence[str], edits: Sequence[Edit]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Method.scores_of_edits`."""
        if not self.shares_edits:
            return super().scores_of_edits(sequences, edits)
        from icl.inference.edited_queries import edited_queries

        return edited_queries(self.reader(), sequences, edits, self.config.strands).scores()

    def relaxed_scores(self, letters: "Tensor") -> "Tensor | None":
        """See `Method.relaxed_scores`; None where each query has demonstrations of its own."""
        if self.demonstrations.per_query:
            return None
        return over_strands(self.reader().relaxed_scores, letters, self.config.strands)

    @property
    def trainable_parameters(self) -> int:
        """Count the vectors of all layers, and one offset per class."""
        return self.reader().prompt.count

    def state(self) -> dict[str, np.ndarray]:
        """Return the prompt, and the demonstrations if there are any."""
        tensors = self.reader().prompt.state_dict()
        learned = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        if channel := self.channel_reader():
            learned |= channel.state()
        return learned | self.demonstrations.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over a prompt and its demonstrations."""
        import torch

        own, learned = self.demonstrations.split_state(state)
        self.demonstrations.load_state(own, self.verbalizer)
        self._reader = None
        prompt = self.reader().prompt
        if channel := self.channel_reader():
            learned = channel.load_state(learned)
        expected = {name: tuple(t.shape) for name, t in prompt.state_dict().items()}
        given = {name: array.shape for name, array in learned.items()}
        if expected != given:
            raise InputError(
                f"the learned prompt has shapes {given}, the run's options require {expected}"
            )
        prompt.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in learned.items()})

    def save_adapter(self, folder: Path) -> None:
        """Write vectors before everything else, the one form that PEFT has."""
        from icl.inference.reader import PromptReader
        from icl.tuning.peft_export import save_prompt

        reader = self.reader()
        if self.config.readout in ("direct", "last") and isinstance(reader, PromptReader):
            words = self.verbalizer.words
            save_prompt(reader.scorer.model, reader.prompt, words, folder / ADAPTER)

    def reader(self) -> "PromptReader | ChannelReader":
        """Return the reader of the prompt, made when it is first needed."""
        if self._reader is None:
            make = self._reader_of_channel if self.reads_channel else self._reader_of_words
            self._reader = make()
        return self._reader

    def _reader_of_channel(self) -> "ChannelReader":
        from icl.inference.channel import ChannelReader
        from icl.inference.channel_scorer import ChannelScorer
        from prompts.channel_prompt import ChannelPrompt

        model, config = self.context.load_backbone(), self.config
        prompt = ChannelPrompt(
            model,
            len(self.context.labels),
            self.prompt_tokens or 0,
            init=config.init,
            deep_layers=model.config.n_layer - 1 if self.deep else 0,
            state_layers=model.config.n_layer if self.state_offsets else 0,
            seed=self.context.seed,
        )
        return ChannelReader(
            ChannelScorer(model),
            prompt.to(self.context.device),
            self.demonstrations,
            self.context,
            config.normalisation,
        )

    def _reader_of_words(self) -> "PromptReader":
        from icl.inference.reader import LabelWordScorer, PromptReader
        from prompts.soft_prompt import Init, Placement, PromptShape, SoftPrompt

        model, config = self.context.load_backbone(), self.config
        layers = model.config.n_layer - 1 if self.deep else 0
        placement, init = cast(Placement, config.placement), cast(Init, config.init)
        state_layers = model.config.n_layer if self.state_offsets else 0
        shape = PromptShape.of(self.prompt_tokens or 0, placement, layers, state_layers)
        prompt = SoftPrompt(model, shape, len(self.context.labels), init, self.context.seed)
        return PromptReader(
            LabelWordScorer(model, self.verbalizer),
            prompt.to(self.context.device),
            self.demonstrations,
            self.context,
            config.readout,
        )

    def query_set(self, examples: Sequence[Example], strands: str | None = None) -> "QuerySet":
        """Return rows as queries, encoded once where no learned vector precedes them."""
        return super().query_set(examples, strands).keep_states()


@method(
    "soft_prompt",
    config=SoftPromptConfig,
    budget="prompt_tokens",
    extra_budgets=("shots",),
    version=5,
)
class SoftPromptMethod(PromptTuning):
    """Learned vectors next to the query; the frozen backbone answers with a label word."""
