"""The base of methods that answer with a label word: words, demonstrations, offsets, report."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backbone.common.errors import InputError
from backbone.tokens import SEP
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.strands import StrandConfigT, StrandMethod
from icl.method import Context
from prompts.template import ClassTemplate, Template
from prompts.verbalizer import verbalizer
from tasks.task import Example

if TYPE_CHECKING:
    from icl.inference.channel import ChannelReader
    from icl.inference.likelihood import LikelihoodReader
    from icl.inference.query_set import QuerySet
    from icl.inference.reader import PromptReader


class LabelWordMethod(StrandMethod[StrandConfigT]):
    """A method whose answer is the likeliest of the label words, after an offset per class.

    The offset removes the prior of each label word, which does not depend on the query: priors
    differ by up to 12 nats, and would otherwise decide every prediction.

    Attributes:
        verbalizer: The label words.
        demonstrations: What precedes the queries; empty for a method without shots.
    """

    def __init__(self, config: StrandConfigT, context: Context) -> None:
        """Check the options; the backbone is loaded when it is needed."""
        super().__init__(config, context)
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        options = self.demonstration_options()
        self.demonstrations = DemonstrationSet(
            options or DemonstrationConfig(),
            context if options else replace(context, shots=0),
            lambda: self.demonstration_tokens,
            ClassTemplate if self.reads_channel else Template,
        )
        if self.reads_channel and self.demonstrations.per_query:
            raise InputError(
                "a readout of likelihoods needs one set of demonstrations for all queries: give "
                "method.demonstrations=fixed"
            )
        if self.reads_channel and context.label_words is not None:
            raise InputError(
                "a readout of likelihoods reads no label word: leave out verbalizer.words"
            )

    def demonstration_options(self) -> DemonstrationConfig | None:
        """Return which demonstrations the prompt contains; None for a method without any."""
        return self.config if isinstance(self.config, DemonstrationConfig) else None

    @property
    def reads_channel(self) -> bool:
        """Whether the likelihood of the query is read, in place of a label word."""
        return False

    @property
    def needs_separator(self) -> bool:
        """Whether [SEP] stands before a label word, or after demonstrations."""
        return not self.reads_channel or bool(self.shots)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse a backbone without the separator that the prompt needs."""
        if self.needs_separator and SEP in self.context.load_backbone().absent:
            raise InputError(
                "this backbone's tokenizer has no separator and no end of text, which stands "
                "between a query and its label word, and behind demonstrations: give a method with "
                "method.readout=channel and learned vectors, or linear_probe or fine_tune"
            )

    @property
    def shares_edits(self) -> bool:
        """Whether parts that an edit does not change are encoded once; see `scores_of_edits`."""
        from icl.inference.edited_queries import can_share

        alike = not self.demonstrations.per_query
        return alike and can_share(self.context.load_backbone(), self.context)

    @property
    def max_seq_len(self) -> int:
        """Longest row of the backbone, in tokens."""
        return self.context.load_backbone().config.max_seq_len

    @property
    def demonstration_tokens(self) -> int:
        """Tokens that demonstrations, a query and its answer may have together."""
        return self.max_seq_len - (self.prompt_tokens or 0)

    @abstractmethod
    def reader(self) -> "PromptReader | LikelihoodReader":
        """Return the reader of the state that is learned now."""

    def likelihood_reader(self) -> "LikelihoodReader | None":
        """Return the reader of likelihoods; None where label words are read."""
        from icl.inference.likelihood import LikelihoodReader

        reader = self.reader()
        return reader if isinstance(reader, LikelihoodReader) else None

    def channel_reader(self) -> "ChannelReader | None":
        """Return the reader of the channel; None where something else is read."""
        from icl.inference.channel import ChannelReader

        reader = self.reader()
        return reader if isinstance(reader, ChannelReader) else None

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations, if there are any; `fit` uses the same ones."""
        self.draw_demonstrations(train, val)

    def draw_demonstrations(self, pool: Sequence[Example], queries: Sequence[Example]) -> None:
        """Draw demonstrations that leave room for these queries and for those of the run."""
        longest = max(len(s) for s in (*(e.sequence for e in queries), *self.context.queries))
        self.demonstrations.draw(pool, self.verbalizer, longest)

    def query_set(self, examples: Sequence[Example], strands: str | None = None) -> "QuerySet":
        """Return rows as queries of the present reader, on the method's strands by default."""
        return self.reader().queries(examples, strands or self.config.strands)

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand, no offset.

        None for a task without classes, for words of several letters, and without label words.
        """
        if self.reads_channel:
            return None
        if self.context.kind != "classes" or self.verbalizer.length > 1:
            return None
        tokens = self.query_set(examples, "forward").answers()[1]
        return tokens, self.verbalizer.ids[:, 0]

    def describe_answers(self, scores: np.ndarray, advice: str) -> dict[str, Any]:
        """Return the report's advice if all rows were given one class; nothing otherwise.

        Args:
            scores: Log-probabilities (N, C).
            advice: What to do about it, as options of the command line.
        """
        predicted = np.unique(scores.argmax(axis=1))
        if len(scores) < 2 or scores.shape[1] < 2 or len(predicted) > 1:
            return {}
        label = self.context.labels[predicted[0]]
        text = f"{self.name}: all {len(scores)} rows were given the class {label}; {advice}"
        return {"advice": text}
