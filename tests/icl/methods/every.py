"""How tests of every method build and fit them; a name such as `few_shot, memory` is a further way
to use the method before its comma."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backbone.models import weights_sha256
from icl.method import Context, Method
from icl.methods.catalog import METHODS
from tasks.task import Example
from tests.devices import device


def method_of(name: str) -> str:
    """The method of a name."""
    return name.partition(",")[0]


@dataclass
class Outcome:
    method: Method
    scores: np.ndarray
    weights_before: str


@dataclass
class Trial:
    """Rows, budgets and options with which every method is tried; each is fitted once a model."""

    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    budgets: Mapping[str, int]
    options: Mapping[str, Mapping[str, object]]

    def build(self, name: str, model, batch_size: int = 16, **changes: object) -> Method:
        entry = METHODS.get(method_of(name))
        budget = {entry.budget: self.budgets[entry.budget]} if entry.budget else {}
        queries = [e.sequence for e in (*self.val, *self.test)]
        context = Context(
            ("poor", "rich"),
            0,
            lambda: model,
            batch_size=batch_size,
            queries=queries,
            **budget,
            device=device(),
        )
        chosen = dict(self.options.get(name, {})) | changes
        return entry.cls(entry.config(name=method_of(name), **chosen), context)

    def fitted(self, model) -> Callable[[str], Outcome]:
        """A function that fits a method, and remembers what came out."""
        done: dict[str, Outcome] = {}

        def of(name: str) -> Outcome:
            if name not in done:
                before, method = weights_sha256(model), self.build(name, model)
                method.check([*self.train, *self.val, *self.test])
                method.fit(self.train, self.val)
                done[name] = Outcome(method, method.scores(self.test), before)
            return done[name]

        return of
