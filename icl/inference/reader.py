"""Class scores in context: [vectors ; demonstrations ; query ; SEP ; vectors], batch by batch.

What all queries share and nobody learns is encoded once; where nothing that is learned stands
before a query, so is the query itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.engine.prefix import LayerState, PrefixEngine, PrefixState
from backbone.hyena.model import HyenaDNA
from backbone.hyena.tokenizer import SEP
from icl.inference.batches import Batch, EncodedSequences, both_strands
from icl.inference.demonstrations import DemonstrationSet
from icl.inference.state_cache import cached_states, fits
from icl.method import Context
from prompts.soft_prompt import SoftPrompt
from prompts.verbalizer import Verbalizer
from tasks.task import Example

TOKENS = 1 << 17
"""Most tokens of a batch that is scored, so that long prompts fit the memory."""

ROOM = 1 << 14
"""Positions for which shared demonstrations are encoded, if there are as many and more are not
needed: a size that no query decides, because the last digits of a state depend on it."""


class LabelWordScorer:
    """Scores classes by their label words, after a query or over its positions."""

    def __init__(self, model: HyenaDNA, verbalizer: Verbalizer) -> None:
        """Holds the frozen model and the label words."""
        self.model, self.verbalizer = model, verbalizer
        self.engine = PrefixEngine(model)
        self.words = verbalizer.ids.to(model.device)

    def room_after(self, prompt: SoftPrompt) -> int:
        """Positions that follow the sequence: [SEP], the suffix, and all but the answer's last."""
        return 1 + len(prompt.after) + self.verbalizer.length - 1

    def prefix(self, prompt: SoftPrompt, shown: Tensor, room: int) -> PrefixState | None:
        """Encodes what all rows share: the vectors in front, then demonstrations.

        Args:
            prompt: whose vectors stand in front.
            shown: (S,) token ids of the demonstrations.
            room: how many positions may follow.

        Returns:
            One state for all rows; None if they share nothing.
        """
        state = None
        if len(prompt.before):
            state = self.engine.extend(
                None,
                prompt.before[None],
                len(shown) + room,
                additions=prompt.additions_before(),
            )
        if len(shown):
            state = self.engine.extend(state, shown[None], room)
        return state

    def contexts(self, prompt: SoftPrompt, batch: Batch, prefix: PrefixState | None) -> PrefixState:
        """Encodes the sequences of a batch; they do not depend on what comes after them."""
        room = self.room_after(prompt)
        return self.engine.extend(prefix, batch.ids, room, lengths=batch.lengths)

    def answer(self, prompt: SoftPrompt, contexts: PrefixState) -> tuple[Tensor, Tensor]:
        """Scores the label words behind [SEP] and the suffix.

        Returns:
            Class scores (B, C), the offset included, and next-token logits (B, V) at the answer.
        """
        rows = len(contexts.layers[0].tail)
        sep = self.model.embed(torch.full((1,), SEP, device=prompt.after.device))
        segment = torch.cat([sep, prompt.after]).expand(rows, -1, -1)
        additions = prompt.additions_after()
        hidden = self.engine.encode_last(contexts, segment, additions=additions)
        logits = _at_least_single(self.model.logits(hidden))
        if self.verbalizer.length == 1:
            return logits[:, self.words[:, 0]] + prompt.offset, logits
        ended = self.engine.extend(
            contexts, segment, self.verbalizer.length - 1, additions=additions
        )
        likely = self._words_after(ended, logits.log_softmax(-1))
        return likely + prompt.offset, logits

    def _words_after(self, ended: PrefixState, first: Tensor) -> Tensor:
        """Log-probabilities of whole words (B, C): the product of their letters' conditionals."""
        scores = []
        for word in self.words:
            vectors = self.model.embed(word[:-1]).expand(len(first), -1, -1)
            logits = self.model.logits(self.engine.encode(ended, vectors))
            later = _at_least_single(logits).log_softmax(-1)
            letters = later.gather(2, word[1:].expand(len(first), -1)[..., None])
            scores.append(first[:, word[0]] + letters.sum(dim=(1, 2)))
        return torch.stack(scores, dim=1)

    def over_query(
        self, prompt: SoftPrompt, batch: Batch, prefix: PrefixState | None
    ) -> tuple[Tensor, Tensor]:
        """Scores the label words on the mean over the query's positions.

        Returns:
            Class scores (B, C), the offset included, and the mean next-token logits (B, V).
        """
        hidden = self.engine.encode(prefix, batch.ids)
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        logits = _at_least_single(self.model.logits(mean))
        return logits[:, self.words[:, 0]] + prompt.offset, logits


def _at_least_single(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; others as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@dataclass
class PromptReader:
    """Scores queries by the label words that follow them.

    Attributes:
        prompted: The frozen backbone with its label words.
        prompt: Vectors before and after; of length 0 where none are learned.
        shown: Demonstrations, drawn or loaded.
        context: Of the run: device, precision, rows of a batch.
        readout: `last` reads the label words where they are to follow; `mean` over the query.
    """

    prompted: LabelWordScorer
    prompt: SoftPrompt
    shown: DemonstrationSet
    context: Context
    readout: str = "last"
    _frozen: PrefixState | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Writes the demonstrations that all queries share."""
        self.template = self.shown.template(self.prompted.verbalizer)
        self.shared = torch.from_numpy(self.shown.shared(self.template)).to(self.context.device)

    @property
    def most(self) -> int:
        """The longest row that fits between what is shared in front and what comes after."""
        vectors = len(self.prompt.before) + len(self.prompt.after)
        ending = 1 + self.prompted.verbalizer.length
        return self.prompted.model.config.max_seq_len - vectors - len(self.shared) - ending

    @property
    def learns_before(self) -> bool:
        """Whether learned vectors stand before the query, so that its states change with them."""
        return len(self.prompt.before) > 0

    def prefix(self, room: int) -> PrefixState | None:
        """What all rows share in front, with room for so many positions; kept if it is frozen."""
        if self.learns_before:
            return self.prompted.prefix(self.prompt, self.shared, room)
        if len(self.shared) and (self._frozen is None or self._frozen.room < room):
            left = self.prompted.model.config.max_seq_len - len(self.shared)
            room = min(left, max(ROOM, 1 << (room - 1).bit_length()))
            with torch.no_grad(), self.autocast():
                self._frozen = self.prompted.prefix(self.prompt, self.shared, room)
        return self._frozen

    def answers(
        self, batch: Batch, prefix: PrefixState | None, states: PrefixState | None
    ) -> tuple[Tensor, Tensor]:
        """Class scores (B, C) and next-token logits (B, V) of a batch, from its states if known."""
        if self.readout == "mean":
            return self.prompted.over_query(self.prompt, batch, prefix)
        if states is None:
            states = self.prompted.contexts(self.prompt, batch, prefix)
        return self.prompted.answer(self.prompt, states)

    def autocast(self) -> AbstractContextManager[object]:
        """The number format of the run's arithmetic."""
        if self.context.precision == "bf16":
            return torch.autocast(torch.device(self.context.device).type, torch.bfloat16)
        return nullcontext()


class QuerySet:
    """Rows in context, on one strand or on both."""

    def __init__(self, reader: PromptReader, examples: Sequence[Example], strands: str) -> None:
        """Writes the rows; the opposite strand is shown what was chosen for the row.

        Args:
            reader: what they stand in.
            examples: N rows.
            strands: "both", or "forward".

        Raises:
            InputError: if a row does not fit, with the numbers.
        """
        self.reader = reader
        self.labels = np.array([e.label for e in examples])
        sequences = [e.sequence for e in examples]
        own = [reader.shown.own(sequence, reader.template) for sequence in sequences]
        self.strands = 2 if strands == "both" else 1
        both = both_strands(sequences) if self.strands == 2 else sequences
        self.queries = EncodedSequences(both, reader.most, before=own * self.strands)
        self._states: PrefixState | None = None

    @cached_property
    def _room(self) -> int:
        """Positions after what is shared: the longest row, and what comes after it."""
        return int(self.queries.padded.max()) + self.reader.prompted.room_after(self.reader.prompt)

    def keep_states(self) -> "QuerySet":
        """Encodes every row once, where its states depend on nothing learned and fit the memory."""
        unaffected = self.reader.readout == "last" and not self.reader.learns_before
        most = self.reader.context.kept_bytes
        if unaffected and fits(len(self.queries), self._bytes_per_row(), most):
            self._states = self._encode_all()
        return self

    def steps(self, rows: int, generator: np.random.Generator) -> Iterator[Callable[[], Tensor]]:
        """Gives the losses of one epoch's steps; each row comes once, on a strand drawn for it."""
        count = len(self.labels)
        strand = generator.integers(self.strands, size=count)
        order = generator.permutation(count)
        chosen = order + strand[order] * count
        cuts = [batch.rows for batch in self.queries.batches(rows, chosen)]
        for i in generator.permutation(len(cuts)):
            yield lambda rows=cuts[i]: self.loss(rows)  # type: ignore[misc]

    def scores(self) -> np.ndarray:
        """Log-probabilities (N, C), the strands' scores averaged."""
        return self.answers()[0]

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (N, C), and the likeliest token (N,) of the vocabulary.

        The scores of both strands are averaged; the token follows the forward strand, and no
        offset is added to it.
        """
        reader, count = self.reader, len(self.labels)
        scores = np.zeros((len(self.queries), len(reader.context.labels)))
        likeliest = np.zeros(len(self.queries), dtype=np.int64)
        with torch.no_grad(), reader.autocast():
            prefix = self._prefix()
            for batch in self.queries.batches(reader.context.batch_size, tokens=TOKENS):
                found, logits = self._answer(batch, prefix)
                scores[batch.rows] = found.double().cpu().numpy()
                likeliest[batch.rows] = logits.argmax(-1).cpu().numpy()
        averaged = scores.reshape(self.strands, count, -1).mean(axis=0)
        return torch.from_numpy(averaged).log_softmax(-1).numpy(), likeliest[:count]

    def _prefix(self) -> PrefixState | None:
        return None if self._states is not None else self.reader.prefix(self._room)

    def loss(self, rows: np.ndarray) -> Tensor:
        """Mean cross-entropy of rows of one padded length; N + i is the other strand of row i."""
        with self.reader.autocast():
            scores = self._answer(self.queries.batch(rows), self._prefix())[0]
        labels = torch.from_numpy(self.labels[rows % len(self.labels)]).to(scores.device)
        return F.cross_entropy(scores, labels)

    def _answer(self, batch: Batch, prefix: PrefixState | None) -> tuple[Tensor, Tensor]:
        batch, states = batch.to(self.reader.context.device), None
        if self._states is not None:
            states = self._states.rows(torch.from_numpy(batch.rows).to(batch.ids.device))
        return self.reader.answers(batch, prefix, states)

    def _bytes_per_row(self) -> int:
        prompted = self.reader.prompted
        config = prompted.model.config
        return config.n_layer * config.d_model * (6 + prompted.room_after(self.reader.prompt)) * 4

    def _encode_all(self) -> PrefixState:
        reader = self.reader
        room, prefix = reader.prompted.room_after(reader.prompt), self._prefix()
        texts = [ids.tobytes().decode("latin-1") for ids in self.queries.encoded]
        row_of = {text: row for row, text in enumerate(texts)}

        def encode(text: str) -> tuple[Tensor, ...]:
            batch = self.queries.batch(np.array([row_of[text]])).to(reader.context.device)
            with torch.no_grad(), reader.autocast():
                state = reader.prompted.contexts(reader.prompt, batch, prefix)
            return tuple(t[0] for layer in state.layers for t in (layer.tail, layer.spill))

        kind = f"context, room={room}, {reader.context.precision}"
        if prefix is not None:
            digest = sha256(reader.shared.cpu().numpy().tobytes()).hexdigest()
            kind += f", after {digest} with room={prefix.room}"
        most, size = reader.context.kept_bytes, self._bytes_per_row()
        parts = cached_states(reader.prompted.model, kind, texts, encode, size, most)
        layers = tuple(LayerState(*parts[i : i + 2]) for i in range(0, len(parts), 2))
        length = int(self.queries.padded.max()) + (0 if prefix is None else prefix.length)
        return PrefixState(layers, length, room)
