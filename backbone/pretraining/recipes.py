"""The recipe of HyenaDNA by size, as options of the trainer: `size=tiny-1k`.

Source: Nguyen et al. 2023 (arXiv 2306.15794), section 3 and table A.1. The paper gives learning
rate, global batch and number of steps as ranges over all sizes; the values within them are our
choice: the larger a model and its context, the lower its rate and the fewer its windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backbone.common.names import unknown
from backbone.hyena.checkpoints import CHECKPOINTS


@dataclass(frozen=True)
class Recipe:
    """The options that depend on the size; the shape is that of the published checkpoint.

    Attributes:
        lr: Peak learning rate, 1.5e-4 to 6e-4.
        global_batch: Windows of full length per step, 64 to 256.
        steps: Number of steps, 10,000 to 20,000.
        gradient_checkpointing: What the backward pass computes again.
    """

    lr: float
    global_batch: int
    steps: int
    gradient_checkpointing: str = "none"

    def arguments(self, size: str) -> list[str]:
        """Return the recipe as arguments of the command line."""
        shape = CHECKPOINTS[size]
        batch = self.global_batch * shape.max_seq_len
        options = {
            "out": f"runs/pretrain/{size}",
            "d_model": shape.d_model,
            "n_layer": shape.n_layer,
            "max_seq_len": shape.max_seq_len,
            "lr": self.lr,
            "batch_tokens": batch,
            "micro_tokens": max(shape.max_seq_len, MICRO_TOKENS),
            "tokens": self.steps * batch,
            "valid_every": EVERY * batch,
            "checkpoint_every": EVERY * batch,
            "gradient_checkpointing": self.gradient_checkpointing,
            **COMMON,
        }
        return [f"{key}={value}" for key, value in options.items()]


MICRO_TOKENS = 65_536
"""Or one window, if that is longer; more would only cost memory."""

EVERY = 200
"""Steps between evaluations and checkpoints."""

COMMON = {
    "first_length": 64,
    "weight_decay": 0.1,
    "embed_dropout": 0.1,
    "resid_dropout": 0.0,
    "warmup": 0.01,
    "lr_floor": 0.1,
    "clip": 1.0,
}
"""Options shared by all sizes; AdamW's betas are 0.9 and 0.999; filters have no weight decay."""

RECIPES: dict[str, Recipe] = {
    "tiny-1k": Recipe(6e-4, 256, 10_000),
    "tiny-1k-d256": Recipe(6e-4, 256, 10_000),
    "tiny-16k-d128": Recipe(6e-4, 128, 10_000),
    "small-32k": Recipe(6e-4, 128, 20_000),
    "medium-160k": Recipe(3e-4, 64, 20_000, "mixer"),
    "medium-450k": Recipe(3e-4, 64, 20_000, "block"),
    "large-1m": Recipe(1.5e-4, 64, 20_000, "block"),
}


def expand(arguments: Sequence[str]) -> list[str]:
    """Replace `size=` by the arguments of its recipe; other arguments override them.

    Raises:
        InputError: If the size is unknown.
    """
    sizes = [argument.partition("=")[2] for argument in arguments if argument.startswith("size=")]
    others = [argument for argument in arguments if not argument.startswith("size=")]
    if not sizes:
        return others
    size = sizes[-1]
    if size not in RECIPES:
        raise unknown("size", size, RECIPES)
    return [*RECIPES[size].arguments(size), *others]


def help_lines() -> str:
    """Return the recipes as a table, for the help."""
    lines = [
        "  size=NAME puts the options of a recipe first (Nguyen et al. 2023, table A.1);",
        "  each can be given as well, and wins:",
        "",
        f"  {'size':<14} {'layers':>6} {'width':>5} {'max_seq_len':>11} {'lr':>8} {'batch':>6} "
        f"{'steps':>6}  gradient_checkpointing",
    ]
    for size, recipe in RECIPES.items():
        shape = CHECKPOINTS[size]
        lines.append(
            f"  {size:<14} {shape.n_layer:>6} {shape.d_model:>5} {shape.max_seq_len:>11,} "
            f"{recipe.lr:>8} {recipe.global_batch:>6} {recipe.steps:>6}  "
            f"{recipe.gradient_checkpointing}"
        )
    shared = " ".join(f"{key}={value}" for key, value in COMMON.items())
    return "\n".join([*lines, "", f"  all: {shared}"])
