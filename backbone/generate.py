"""Generate DNA with a backbone: `python -m backbone.generate key=value ...`.

Each token costs much less than a pass over the whole sequence (`backbone.models.online`), yet is
drawn from exactly the distribution of the full pass: the softmax of the logits over the allowed
tokens, at a temperature, restricted to its nucleus (Holtzman et al. 2020, arXiv 1904.09751, section
3.1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.common.command import entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.options import help_text, option, read_options
from backbone.common.streams import stream
from backbone.devices import check_device, device_option
from backbone.running_sum import running_sum
from backbone.sequence.dna import normalise
from backbone.tokens import NUCLEOTIDES, TOKEN_ID, TOKENS, decode_dna, encode_dna

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.protocol import ContextState, LanguageModel

LINE = 80
"""Bases in a line of FASTA."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the most probable token.
        top_p: The nucleus is the smallest set of the most probable tokens with this probability.
        seed: Under it, each row has its own random stream, whatever other rows there are.
        tokens: The allowed ids; all others have probability 0.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    tokens: tuple[int, ...] = NUCLEOTIDES

    def check(self) -> None:
        """Check the range of all settings.

        Raises:
            InputError: If one is out of range, naming the first.
        """
        if self.temperature < 0:
            raise InputError(f"temperature={self.temperature}: must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p}: must be more than 0 and at most 1")
        if self.seed < 0:
            raise InputError(f"seed={self.seed}: must be 0 or more")
        if not self.tokens:
            raise InputError("tokens is empty: name at least one token to draw from")


def generate(
    model: LanguageModel,
    prompt: Tensor,
    count: int,
    sampling: Sampling,
    context: ContextState | None = None,
    first_row: int = 0,
) -> Tensor:
    """Draw tokens that continue prompts.

    Args:
        model: The backbone.
        prompt: (B, P) token ids. A model predicts what follows a token: with P = 0 the first token
            is drawn uniformly from the allowed ones.
        count: How many tokens to draw.
        sampling: How to draw them.
        context: What precedes the prompts, such as learned vectors, with room for them and the
            drawn tokens; None for nothing.
        first_row: Number of the first row, by which rows have their random streams: rows drawn in
            groups are then those drawn at once.

    Returns:
        (B, count) token ids, without the prompt.

    Raises:
        InputError: If a setting is out of range, or prompt and tokens exceed max_seq_len.
    """
    import torch

    sampling.check()
    most = model.config.max_seq_len
    if count < 1 or prompt.shape[1] + count > most:
        raise InputError(
            f"{prompt.shape[1]} prompt tokens and {count} to generate: must be at least one to "
            f"generate, and together at most this checkpoint's max_seq_len of {most}"
        )
    steps = list(tokens_of(model, prompt, count, sampling, context, first_row))
    return torch.stack(steps, dim=1)


def tokens_of(
    model: LanguageModel,
    prompt: Tensor,
    count: int,
    sampling: Sampling,
    context: ContextState | None = None,
    first_row: int = 0,
) -> Iterator[Tensor]:
    """Yield the tokens (B,) of `generate` as they are drawn."""
    import torch

    from backbone.models import online

    rows, device = len(prompt), prompt.device
    streams = [stream(sampling.seed, "generated tokens", first_row + row) for row in range(rows)]
    allowed = torch.tensor(sampling.tokens, device=device)
    reading = online(model, prompt[:, :-1], room=count, context=context)
    if prompt.shape[1]:
        logits = reading.step(prompt[:, -1])
    else:
        logits = torch.zeros(rows, model.config.vocab_size, device=device, dtype=torch.float32)
    for left in range(count - 1, -1, -1):
        uniform = torch.tensor([row.random() for row in streams], device=device)
        chosen = draw(logits[:, allowed], uniform, sampling.temperature, sampling.top_p)
        yield allowed[chosen]
        if left:
            logits = reading.step(allowed[chosen])


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """Draw an index for each row of logits (B, V) by its number (B,), uniform on [0, 1)."""
    import torch

    if temperature == 0:
        return logits.argmax(1)
    probabilities, order = nucleus(logits, temperature, top_p)
    reached = running_sum(probabilities, 1) <= uniform[:, None]
    # Rounding may leave the sum below the number, which then means the last of the nucleus.
    at = torch.minimum(reached.sum(1), (probabilities > 0).sum(1) - 1)
    return order.gather(1, at[:, None])[:, 0]


def nucleus(logits: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the probabilities (B, V) in descending order, zero outside the nucleus, and the order.

    The nucleus is the smallest set of the most probable tokens with a probability of at least
    `top_p`.
    """
    scaled = (logits.double() / temperature).softmax(1)
    probabilities, order = scaled.sort(dim=1, descending=True, stable=True)
    earlier = running_sum(probabilities, 1) - probabilities
    kept = probabilities * (earlier < top_p)
    return kept / kept.sum(1, keepdim=True), order


@dataclass
class Options:
    """The options of the command line."""

    backbone: str = option("bundled", "a bundled or published name, a folder, or hf:FOLDER_OR_ID")
    prompt: str = option("", "bases to continue; if empty, the first base is drawn uniformly")
    bases: int = option(1000, "bases to generate")
    count: int = option(1, "sequences to generate")
    temperature: float = option(1.0, "0 takes the most probable base at every position")
    top_p: float = option(1.0, "draw from the most probable bases with this total probability")
    seed: int = option(0, "seed of the draws")
    tokens: list[str] = option(list("ACGT"), "tokens to draw from; others are N and [SEP]")
    device: str = device_option()


def run(options: Options) -> Iterator[str]:
    """Yield the lines of a FASTA file with each prompt and what was generated after it.

    Raises:
        InputError: If an option cannot be used.
    """
    import torch

    from backbone.models import load

    for name in options.tokens:
        if name not in TOKEN_ID:
            raise InputError(f"tokens: {name!r} is not one of {', '.join(TOKENS)}")
    if options.count < 1:
        raise InputError(f"count={options.count}: must be at least 1")
    clean, _ = normalise(options.prompt) if options.prompt else ("", 0)
    allowed = tuple(TOKEN_ID[name] for name in options.tokens)
    sampling = Sampling(options.temperature, options.top_p, options.seed, allowed)
    sampling.check()
    check_device(options.device)
    model = load(options.backbone, options.device)
    prompt = torch.from_numpy(encode_dna(clean)).to(options.device)
    found = generate(model, prompt.expand(options.count, -1), options.bases, sampling)
    for row, ids in enumerate(found.cpu()):
        yield (
            f">generated_{row + 1} backbone={options.backbone} prompt={len(clean)} "
            f"temperature={options.temperature:g} top_p={options.top_p:g} seed={options.seed}"
        )
        text = clean + decode_dna(ids)
        yield from (text[i : i + LINE] for i in range(0, len(text), LINE))


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        return exit_code(lambda: [help_text(Options, "python -m backbone.generate")])
    return exit_code(lambda: run(read_options(Options, arguments)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
