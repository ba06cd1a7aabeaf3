"""The options of the trainer."""

from dataclasses import dataclass

from omegaconf import MISSING

from backbone.config import HyenaDNAConfig
from backbone.errors import InputError
from backbone.options import Sources, option


@dataclass
class TrainerConfig:
    """Every option of the trainer, whatever it is trained on; the texts are what `--help` prints.

    Tokens, windows and lengths are those of the rows that the source gives.
    """

    out: str = option(MISSING, "folder for checkpoints, metrics and the model (required)")

    d_model: int = option(128, "width")
    n_layer: int = option(2, "blocks")
    d_inner: int | None = option(None, "width of the MLP; 4 d_model unless given")
    max_seq_len: int = option(1024, "longest input; the filters are functions of lag / max_seq_len")
    emb_dim: int = option(5, "positional features of the implicit filter, odd")
    filter_order: int = option(64, "width of the implicit filter's MLP")
    num_inner_mlps: int = option(2, "inner layers of the implicit filter's MLP")
    activation_freq: float = option(10.0, "initial frequency of the filter's sines")
    tie_word_embeddings: bool = option(True, "whether head and embedding share weights")
    embed_dropout: float = option(0.1, "dropout after the embedding")
    resid_dropout: float = option(0.0, "dropout before additions to the residual stream")

    tokens: int | None = option(None, "budget in tokens")
    minutes: float | None = option(None, "budget in minutes; with tokens, what ends first")
    batch_tokens: int = option(16384, "tokens a step, the same in every stage")
    first_length: int = option(256, "windows of the first stage are at least this long")
    last_length: int | None = option(None, "windows of the last stage; max_seq_len unless given")
    length_warmup: float = option(0.3, "share of the budget before the last stage")
    lr: float = option(6e-4, "peak learning rate")
    warmup: float = option(0.02, "share of the budget in which the learning rate rises")
    lr_floor: float = option(0.05, "final learning rate as a share of the peak")
    weight_decay: float = option(0.1, "of matrices; filters, norms, biases, embeddings have none")
    clip: float = option(1.0, "largest gradient norm")
    seed: int = option(0, "of weights, windows and dropout")

    valid_every: int = option(5_000_000, "tokens between evaluations")
    valid_tokens: int = option(262_144, "held-out tokens an evaluation; the last one takes all")
    valid_length: int | None = option(None, "window of evaluations; max_seq_len unless given")
    checkpoint_every: int = option(5_000_000, "tokens between checkpoints")
    keep: int = option(2, "checkpoints to keep")
    log_every: int = option(20, "steps between lines of metrics.jsonl")

    device: str = option("cpu", "cpu, cuda, cuda:1, mps")
    precision: str = option("float32", "float32 or bf16 (autocast)")
    threads: int = option(2, "CPU threads")

    def model_config(self) -> HyenaDNAConfig:
        """Returns the shape of the model."""
        return HyenaDNAConfig(
            d_model=self.d_model,
            n_layer=self.n_layer,
            d_inner=self.d_inner or 4 * self.d_model,
            max_seq_len=self.max_seq_len,
            emb_dim=self.emb_dim,
            filter_order=self.filter_order,
            num_inner_mlps=self.num_inner_mlps,
            activation_freq=self.activation_freq,
            tie_word_embeddings=self.tie_word_embeddings,
            embed_dropout=self.embed_dropout,
            resid_dropout=self.resid_dropout,
        )


@dataclass
class PretrainConfig(TrainerConfig, Sources):
    """Every option of pretraining on genomes."""

    max_unknown: float = option(0.1, "windows with a larger share of N are passed over")


MAY_CHANGE = {
    *("out", "tokens", "minutes", "valid_every", "valid_tokens", "valid_length"),
    *("checkpoint_every", "keep", "log_every", "device", "threads"),
}
"""Options that a resumed run may set anew; a new budget moves the schedules with it."""


def check(config: TrainerConfig) -> None:
    """Refuses options of the trainer that make no sense, alone or together.

    Raises:
        InputError: naming the option and what it may be.
    """
    if config.tokens is None and config.minutes is None:
        raise InputError("give a budget: tokens= or minutes=")
    whole = "d_model n_layer max_seq_len batch_tokens first_length valid_every valid_tokens"
    for name in (*whole.split(), "checkpoint_every", "keep", "log_every", "threads", "lr", "clip"):
        if not getattr(config, name) > 0:
            raise InputError(f"{name}={getattr(config, name)}: must be more than 0")
    for name in ("tokens", "minutes", "d_inner", "last_length", "valid_length"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise InputError(f"{name}={value}: must be more than 0")
    shares = "length_warmup warmup lr_floor embed_dropout resid_dropout"
    for name in shares.split():
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{name}={getattr(config, name)}: must be at least 0 and below 1")
    if config.weight_decay < 0 or config.seed < 0:
        raise InputError("weight_decay and seed must be at least 0")
    if config.precision not in ("float32", "bf16"):
        raise InputError(f"precision={config.precision}: must be float32 or bf16")
    longest = config.last_length or config.max_seq_len
    if longest > config.max_seq_len:
        raise InputError(f"last_length={longest} exceeds max_seq_len={config.max_seq_len}")
    if config.batch_tokens < longest:
        raise InputError(
            f"batch_tokens={config.batch_tokens} does not hold one window of {longest} tokens, "
            f"the last stage's; raise batch_tokens or lower last_length"
        )
    if (config.valid_length or 0) > config.max_seq_len:
        raise InputError(
            f"valid_length={config.valid_length} exceeds max_seq_len={config.max_seq_len}"
        )


def check_pretraining(config: PretrainConfig) -> None:
    """Refuses options of pretraining that make no sense.

    Raises:
        InputError: naming the option and what it may be.
    """
    if not config.fasta:
        raise InputError("fasta= is missing: give FASTA files, a folder or a glob")
    if not 0 <= config.max_unknown < 1:
        raise InputError(f"max_unknown={config.max_unknown}: must be at least 0 and below 1")
    check(config)
