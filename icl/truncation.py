"""Truncation of rows that are too long, at the end that the run's options name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from icl.config.options import RunConfig, entry
from tasks.task import Example, Task

if TYPE_CHECKING:
    from backbone.protocol import LanguageModel


@dataclass(frozen=True)
class Cut:
    """How rows are cut.

    Attributes:
        side: right drops the end of a row, left its beginning, center keeps its middle.
        most: Bases that are kept of a longer row.
    """

    side: str
    most: int

    def span(self, length: int) -> tuple[int, int]:
        """Return where the part that is read of a sequence of this length begins and ends."""
        over = max(0, length - self.most)
        start = {"right": 0, "left": over, "center": over // 2}[self.side]
        return start, min(length, start + self.most)

    def text(self, sequence: str) -> str:
        """Return a sequence as it is read."""
        start, end = self.span(len(sequence))
        return sequence[start:end]

    def rows(self, examples: Sequence[Example]) -> list[Example]:
        """Return rows as they are read."""
        return [replace(example, sequence=self.text(example.sequence)) for example in examples]

    def count(self, examples: Sequence[Example]) -> int:
        """Return how many rows are cut."""
        return sum(len(example.sequence) > self.most for example in examples)


def cut_of(
    config: RunConfig, task: Task, load_backbone: "Callable[[], LanguageModel]"
) -> Cut | None:
    """Return how a run cuts its rows; None where it does not.

    Without `max_bases` rows keep what fits into the backbone's context besides learned vectors,
    [SEP] and label word; a run with demonstrations, which need more room, has to give `max_bases`.
    A method without a backbone then cuts nothing.
    """
    if config.truncate == "none":
        return None
    if config.max_bases is not None:
        return Cut(config.truncate, config.max_bases)
    made = entry(config)
    if not made.uses_backbone:
        return None
    most = load_backbone().config.max_seq_len
    if made.label_words:
        from prompts.verbalizer import verbalizer

        words = config.verbalizer.words
        chosen = verbalizer(len(task.labels), None if words is None else tuple(words))
        most -= (config.prompt_tokens or 0) + 1 + chosen.length
    return Cut(config.truncate, most)
