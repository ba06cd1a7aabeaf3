"""The demonstrations of a run: one set for all queries, or a set chosen for each query."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast, get_args

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.controls import controlled_demonstrations
from icl.method import Context
from prompts.demonstrations import CHOOSERS, ORDERS, Demonstration, DemonstrationChooser
from prompts.leakage import are_related
from prompts.template import DemonstrationStrands, Policy, Selection, Template, TokenBudget
from prompts.verbalizer import Verbalizer
from tasks.task import Example

PREFIX = "demonstrations."
"""Beginning of the names of the saved arrays."""

_ARRAYS = {"letters": np.uint8, "lengths": np.int64, "labels": np.int64, "rows": np.int64}


@dataclass
class DemonstrationConfig:
    """Which demonstrations a prompt contains, and how they are written."""

    demonstrations: str = option(
        "fixed", "one fixed set for the run, or one per query", choices=("fixed", "per_query")
    )
    chooser: str = option(
        "random", "how demonstrations are chosen; all but random need per_query", choices=CHOOSERS
    )
    order: str = option(
        "random", "order of the demonstrations; nearest_last needs per_query", choices=ORDERS
    )
    demonstration_strands: str = option(
        "forward",
        "demonstrations as they are, or followed by their reverse complement",
        choices=get_args(DemonstrationStrands),
    )
    policy: str = option(
        "refuse",
        "if not all demonstrations fit: refuse, drop rounds, or trim all to one length",
        choices=get_args(Policy),
    )

    def check_demonstrations(self) -> None:
        """Refuse a chooser or an order that needs a query, for a set that all queries share.

        Raises:
            InputError: If options do not go together.
        """
        if self.demonstrations == "fixed":
            DemonstrationChooser(
                [], 0, 0, chooser=self.chooser, order=self.order, embed=_no_states
            ).fixed()


def _no_states(sequences: Sequence[str]) -> np.ndarray:
    return np.zeros((len(sequences), 1))


class DemonstrationSet:
    """The demonstrations of one run, drawn from the training rows or loaded.

    Attributes:
        per_query: Whether each query has a set of its own, chosen for it.
    """

    def __init__(
        self,
        options: DemonstrationConfig,
        context: Context,
        tokens: Callable[[], int],
        template: type[Template] = Template,
    ) -> None:
        """Check the options; without shots the set is empty.

        Args:
            options: Which demonstrations, and how they are written.
            context: Gives the shots, the seed, the control and the backbone that embeds rows.
            tokens: Returns the tokens available to demonstrations, query, [SEP] and label word.
            template: How demonstrations are written.

        Raises:
            InputError: If options do not go together.
        """
        options.check_demonstrations()
        self._options, self._context, self._tokens = options, context, tokens
        self._template = template
        self._shots = context.shots or 0
        self.per_query = options.demonstrations == "per_query" and self._shots > 0
        self._shared = Selection((), 0, 0, 0)
        self._chosen: tuple[Demonstration, ...] = ()
        self._own: dict[str, Selection] = {}
        self._demonstrator: DemonstrationChooser | None = None
        self._pool: Sequence[Example] | None = None
        self._longest = 0

    def template(self, verbalizer: Verbalizer) -> Template:
        """Return how demonstrations are written with these label words."""
        strands = cast(DemonstrationStrands, self._options.demonstration_strands)
        return self._template(verbalizer, strands)

    def draw(self, pool: Sequence[Example], verbalizer: Verbalizer, longest: int) -> None:
        """Draw the run's one set; sets per query are chosen when they are asked for.

        A second call with the same rows keeps what the first one drew.

        Args:
            pool: Training rows.
            verbalizer: Label words; only their length matters here.
            longest: Bases of the longest query that must fit.

        Raises:
            InputError: If there are too few rows to choose from, or the set does not fit.
        """
        if not self._shots or (self._pool is pool and self._longest == longest):
            return
        self._own.clear()
        self._demonstrator = self._over(pool)
        if not self.per_query:
            self._chosen = self._demonstrator.fixed(avoid=self._context.queries)
            self._shared = self._fit(self._chosen, "", self.template(verbalizer), longest)
        self._pool, self._longest = pool, longest

    def shared(self) -> tuple[Demonstration, ...]:
        """Return the set that all queries share; empty if each has its own."""
        return self._shared.demonstrations

    def shared_ids(self, template: Template) -> np.ndarray:
        """Return token ids (S,) of the set that all queries share; none if each has its own."""
        return template.encode_demonstrations(self._shared.demonstrations)

    def own_ids(self, query: str, template: Template) -> np.ndarray:
        """Return token ids (S,) of the set chosen for one query; none if all share one."""
        own = self._for(query, template).demonstrations if self.per_query else ()
        return template.encode_demonstrations(own)

    def before(self, query: str, template: Template) -> tuple[Demonstration, ...]:
        """Return the demonstrations in front of one query, in order."""
        return (self._for(query, template) if self.per_query else self._shared).demonstrations

    def without_relatives(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows that are no relative of the run's one set.

        The others would have their label in their own prompt.
        """
        if not self._chosen:
            return list(rows)
        related = are_related([e.sequence for e in rows], [d.sequence for d in self._chosen])
        return [row for row, is_related in zip(rows, related, strict=True) if not is_related]

    def details(self, queries: Sequence[str], template: Template) -> dict[str, Any]:
        """Return the length of what precedes a query; means over queries with their own sets."""
        sets = [self._for(query, template) for query in queries] if self.per_query else []
        counts = [
            (len(one.demonstrations), one.bases, one.dropped, one.trimmed)
            for one in sets or [self._shared]
        ]
        names = ("shown", "dropped", "trimmed")
        shown, bases, dropped, trimmed = np.mean(counts, axis=0).tolist()
        values = zip(names, (shown, dropped, trimmed), strict=True)
        return {"bases_shown": bases} | {f"demonstrations_{name}": value for name, value in values}

    def state(self) -> dict[str, np.ndarray]:
        """Return the demonstrations, or the pool they are chosen from; nothing without shots."""
        if not self._shots:
            return {}
        rows: Sequence[Demonstration] = self._shared.demonstrations
        if self.per_query:
            assert self._demonstrator is not None
            pool = self._demonstrator.pool
            rows = [Demonstration(one.sequence, one.label, i) for i, one in enumerate(pool)]
        letters = "".join(one.sequence for one in rows).encode()
        values: dict[str, Any] = {
            "letters": np.frombuffer(letters, dtype=np.uint8),
            "lengths": [len(one.sequence) for one in rows],
            "labels": [one.label for one in rows],
            "rows": [one.row for one in rows],
        }
        return {PREFIX + name: np.array(values[name], dtype=t) for name, t in _ARRAYS.items()}

    @staticmethod
    def split_state(
        state: Mapping[str, np.ndarray],
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the demonstrations' arrays of a method's state, and all others."""
        own = {name: array for name, array in state.items() if name.startswith(PREFIX)}
        return own, {name: array for name, array in state.items() if name not in own}

    def load_state(self, state: Mapping[str, np.ndarray], verbalizer: Verbalizer) -> None:
        """Take over what `state` returned, in place of `draw`.

        Raises:
            InputError: If arrays are missing, unknown, or do not match each other.
        """
        wanted = {PREFIX + name for name in _ARRAYS} if self._shots else set()
        if set(state) != wanted:
            raise InputError(
                f"the saved demonstrations are {sorted(state)}, the run's options require "
                f"{sorted(wanted)}"
            )
        self._own.clear()
        if not wanted:
            return
        letters, lengths, labels, places = (state[PREFIX + name] for name in _ARRAYS)
        if not (lengths.shape == labels.shape == places.shape and lengths.sum() == letters.size):
            raise InputError("the saved demonstrations do not fit each other; run again")
        text, ends = letters.tobytes().decode("latin-1"), np.cumsum(lengths)
        sequences = [text[end - n : end] for n, end in zip(lengths, ends, strict=True)]
        rows = tuple(
            Demonstration(sequence, int(label), int(row))
            for sequence, label, row in zip(sequences, labels, places, strict=True)
        )
        if self.per_query:
            self._demonstrator = self._over([Example(one.sequence, one.label) for one in rows])
        else:
            self._chosen = rows
            self._shared = Selection(rows, self.template(verbalizer).bases(rows), 0, 0)

    def _over(self, pool: Sequence[Example]) -> DemonstrationChooser:
        context = self._context

        def embed(sequences: Sequence[str]) -> np.ndarray:
            from icl.inference.embedding import embed_sequences

            return embed_sequences(
                context.load_backbone(),
                sequences,
                device=context.device,
                precision=context.precision,
                store=context.store,
            )

        return DemonstrationChooser(
            pool,
            len(context.labels),
            self._shots,
            chooser=self._options.chooser,
            order=self._options.order,
            seed=context.seed,
            embed=embed,
        )

    def _for(self, query: str, template: Template) -> Selection:
        """Return the set of one query; it is the same for all words, which have one length."""
        if query not in self._own:
            assert self._demonstrator is not None, "fit or load_state comes first"
            chosen = self._demonstrator.for_query(query)
            self._own[query] = self._fit(chosen, query, template, len(query))
        return self._own[query]

    def _fit(
        self, chosen: Sequence[Demonstration], query: str, template: Template, longest: int
    ) -> Selection:
        """Return the set under the run's control, as far as it fits."""
        context = self._context
        digest = int.from_bytes(sha256(query.encode()).digest()[:8])
        generator = stream(context.seed, "control of demonstrations", digest)
        controlled = controlled_demonstrations(
            chosen, context.control, len(context.labels), generator, context.other_rows
        )
        room = TokenBudget(self._tokens(), cast(Policy, self._options.policy))
        return room.fit(controlled, template, longest)
