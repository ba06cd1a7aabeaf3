"""What a run shows in front of its queries: one set of demonstrations, or a set for each query."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, cast, get_args

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.controls import controlled_demonstrations
from icl.inference.embedding import embed_sequences
from icl.method import Context
from prompts.demonstrations import CHOOSERS, ORDERS, Demonstration, DemonstrationChooser
from prompts.leakage import overlaps
from prompts.template import DemonstrationStrands, Policy, Selection, Template, TokenBudget
from prompts.verbalizer import Verbalizer
from tasks.task import Example

PREFIX = "demonstrations."
"""What the names of the saved arrays begin with."""

_ARRAYS = {"letters": np.uint8, "lengths": np.int64, "labels": np.int64, "rows": np.int64}
_CONTROL_STREAM = 1
"""Tells draws of a control from those of the chooser, which have the same seed."""


@dataclass
class DemonstrationConfig:
    """Which demonstrations are shown, and how; shared by every method that shows some."""

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
        "if not all fit: refuse, drop rounds, or trim all to one length",
        choices=get_args(Policy),
    )

    def check_demonstrations(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: naming the option, as the command line knows it, and what it may be.
        """
        nothing = DemonstrationChooser(
            [], 0, 0, chooser=self.chooser, order=self.order, embed=lambda rows: np.zeros((0, 1))
        )
        if self.demonstrations == "fixed":
            nothing.fixed()


class DemonstrationSet:
    """The demonstrations of one run, as `draw` found them in the training rows.

    Attributes:
        per_query: Whether each query has a set of its own, chosen for it.
    """

    def __init__(
        self, options: DemonstrationConfig, context: Context, tokens: Callable[[], int]
    ) -> None:
        """Checks the options; without shots nothing is ever shown.

        Args:
            options: which, and how.
            context: gives the shots, the seed, the control and the backbone that embeds rows.
            tokens: gives the room for demonstrations, query, [SEP] and label word.

        Raises:
            InputError: for options that do not go together.
        """
        options.check_demonstrations()
        self._options, self._context, self._tokens = options, context, tokens
        self._shots = context.shots or 0
        self.per_query = options.demonstrations == "per_query" and self._shots > 0
        self._shared = Selection((), 0, 0, 0)
        self._chosen: tuple[Demonstration, ...] = ()
        self._own: dict[str, Selection] = {}
        self._demonstrator: DemonstrationChooser | None = None
        self._pool: Sequence[Example] | None = None
        self._longest = 0

    def template(self, verbalizer: Verbalizer) -> Template:
        """How demonstrations are written with these label words."""
        strands = cast(DemonstrationStrands, self._options.demonstration_strands)
        return Template(verbalizer, strands)

    def draw(self, pool: Sequence[Example], verbalizer: Verbalizer, longest: int) -> None:
        """Draw the one set of the run; sets per query are chosen when they are asked for.

        A second call with the same rows changes nothing.

        Args:
            pool: the training rows.
            verbalizer: label words; only their length matters here.
            longest: bases of the longest query for which there must be room.

        Raises:
            InputError: if there are too few rows to choose from, or the set does not fit.
        """
        if not self._shots or (self._pool is pool and self._longest == longest):
            return
        self._own.clear()
        self._demonstrator = self._over(pool)
        if not self.per_query:
            self._chosen = self._demonstrator.fixed(avoid=self._context.queries)
            self._shared = self._fit(self._chosen, "", self.template(verbalizer), longest)
        self._pool, self._longest = pool, longest

    def shared(self, template: Template) -> np.ndarray:
        """Token ids (S,) of the set that all queries are shown; none if each has its own."""
        return template.shown(self._shared.demonstrations)

    def own(self, query: str, template: Template) -> np.ndarray:
        """Token ids (S,) of the set chosen for one query; none if all share one."""
        return template.shown(self._for(query, template).demonstrations if self.per_query else ())

    def before(self, query: str, template: Template) -> tuple[Demonstration, ...]:
        """What one query is shown, in its order."""
        return (self._for(query, template) if self.per_query else self._shared).demonstrations

    def without_shown(self, rows: Sequence[Example]) -> list[Example]:
        """The rows that overlap none of the run's one set: those would be told their label."""
        shown = [one.sequence for one in self._chosen]
        return [row for row in rows if not any(overlaps(row.sequence, one) for one in shown)]

    def details(self, queries: Sequence[str], template: Template) -> dict[str, Any]:
        """How much a query is shown; means over the queries where each has its own set."""
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
        """The rows that are shown, or chosen from; nothing without shots."""
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

    def load_state(self, state: Mapping[str, np.ndarray], verbalizer: Verbalizer) -> None:
        """Takes over what `state` gave, in place of `draw`.

        Raises:
            InputError: if arrays are missing, unknown, or do not fit each other.
        """
        wanted = {PREFIX + name for name in _ARRAYS} if self._shots else set()
        given = {name for name in state if name.startswith(PREFIX)}
        if given != wanted:
            raise InputError(
                f"the saved demonstrations are {sorted(given)}, the run's options ask "
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
            model = context.load_backbone()
            kind = partial(embed_sequences, device=context.device, precision=context.precision)
            return kind(model, sequences)

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
        """The set of one query; it is the same for all label words, which have one length."""
        if query not in self._own:
            assert self._demonstrator is not None, "fit or load_state comes first"
            chosen = self._demonstrator.for_query(query)
            self._own[query] = self._fit(chosen, query, template, len(query))
        return self._own[query]

    def _fit(
        self, chosen: Sequence[Demonstration], query: str, template: Template, longest: int
    ) -> Selection:
        """The set as the run's control has it, as far as it fits."""
        context = self._context
        digest = int.from_bytes(sha256(query.encode()).digest()[:8])
        generator = np.random.default_rng([context.seed, _CONTROL_STREAM, digest])
        controlled = controlled_demonstrations(
            chosen, context.control, len(context.labels), generator, context.other_rows
        )
        room = TokenBudget(self._tokens(), cast(Policy, self._options.policy))
        return room.fit(controlled, template, longest)
