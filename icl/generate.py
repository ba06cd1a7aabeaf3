"""Generate DNA of a class with a finished run: `python -m icl.generate run=RUN_DIR class=NAME`.

A run with `method.readout=channel` (learned vectors, state offsets or demonstrations of each class)
models P(sequence | class). This command samples from it, token by token, as `backbone.generate`
samples from the backbone alone.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from backbone.common.command import entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import help_text, option, read_options
from backbone.common.plugins import load_plugins
from backbone.devices import device_option
from backbone.generate import LINE, Sampling, generate
from backbone.sequence.dna import normalise
from backbone.tokens import decode_dna, encode_dna
from icl.environment import prepare_arithmetic
from icl.inference.label_word_method import LabelWordMethod
from icl.method import Method
from icl.predict import load_method

if TYPE_CHECKING:
    from backbone.protocol import ContextState, LanguageModel
    from icl.inference.channel import ChannelReader

ROWS = 64
"""Sequences that are drawn together."""


@dataclass
class Options:
    """Options of the command."""

    run: str = option(MISSING, "folder of a finished run with method.readout=channel")
    class_: str = option(MISSING, "class whose prompt or demonstrations precede the sequence")
    prompt: str = option("", "bases to continue; if empty, the first base is drawn uniformly")
    bases: int = option(500, "bases to generate", least=1)
    count: int = option(1, "sequences to generate", least=1)
    temperature: float = option(1.0, "0 takes the most probable base at every position")
    top_p: float = option(1.0, "draw from the most probable bases with this total probability")
    seed: int = option(0, "seed of the draws")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)


@dataclass(frozen=True)
class ClassPrompt:
    """What stands for a class in front of a sequence.

    Attributes:
        reader: Of the run.
        label: The class.
    """

    reader: "ChannelReader"
    label: int

    @classmethod
    def of(cls, method: Method, name: str) -> "ClassPrompt":
        """Return the prompt of a class of a run's method.

        Raises:
            InputError: If there is no such class, or the run has no prompt in front of its queries.
        """
        labels = method.context.labels
        if name not in labels:
            raise unknown("class", name, labels)
        reader = method.channel_reader() if isinstance(method, LabelWordMethod) else None
        if reader is None:
            raise InputError(
                f"the run of {method.name} has no prompt of a class in front of its queries: give "
                f"a run of soft_prompt, deep_prompt, state_prompt or few_shot with "
                f"method.readout=channel"
            )
        return cls(reader, labels.index(name))

    @property
    def model(self) -> "LanguageModel":
        """The backbone."""
        return self.reader.scorer.model

    def context(self, room: int) -> "ContextState | None":
        """Return the state after the class's prompt, with room for so many bases.

        Raises:
            InputError: If prompt and bases exceed the backbone's context.
        """
        import torch

        most = self.reader.longest_query
        if room > most:
            raise InputError(
                f"{room} bases exceed the {most} that fit after the prompt in the backbone's "
                f"max_seq_len"
            )
        with torch.no_grad():
            return self.reader.contexts(room)[self.label]


def draw_sequences(
    model: "LanguageModel",
    context: "ContextState | None",
    count: int,
    bases: int,
    sampling: Sampling,
    prompt: str = "",
) -> list[str]:
    """Return sequences drawn after a context; each has its own random stream.

    Args:
        model: The backbone.
        context: What stands in front, with room for prompt and bases; None for nothing.
        count: How many sequences.
        bases: Bases to draw.
        sampling: How to draw them.
        prompt: Bases that every sequence begins with.

    Raises:
        InputError: If a setting is out of range, or the bases do not fit.
    """
    import torch

    found: list[str] = []
    ids = torch.from_numpy(encode_dna(prompt)).to(model.device)
    while len(found) < count:
        rows = min(ROWS, count - len(found))
        drawn = generate(
            model, ids.expand(rows, -1), bases, sampling, context, first_row=len(found)
        )
        found += [prompt + decode_dna(row) for row in drawn.cpu()]
    return found


def run(options: Options) -> Iterator[str]:
    """Yield the lines of a FASTA file.

    Raises:
        InputError: If an option or the run cannot be used.
    """
    sampling = Sampling(options.temperature, options.top_p, options.seed)
    sampling.check()
    clean = normalise(options.prompt)[0] if options.prompt else ""
    prepare_arithmetic(options.threads, options.device)
    method, _ = load_method(Path(options.run).expanduser(), device=options.device)
    of_class = ClassPrompt.of(method, options.class_)
    context = of_class.context(len(clean) + options.bases)
    texts = draw_sequences(
        of_class.model, context, options.count, options.bases, sampling, prompt=clean
    )
    for row, text in enumerate(texts, start=1):
        yield (
            f">generated_{row} class={options.class_} method={method.name} prompt={len(clean)} "
            f"temperature={options.temperature:g} top_p={options.top_p:g} seed={options.seed}"
        )
        yield from (text[i : i + LINE] for i in range(0, len(text), LINE))


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not words or {"-h", "--help"} & set(words):
        return exit_code(lambda: [help_text(Options, "python -m icl.generate")])
    return exit_code(lambda: run(read_options(Options, load_plugins(words))))


if __name__ == "__main__":
    sys.exit(main())
