"""The options of the trainer, and how a command line becomes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from backbone.config import HyenaDNAConfig
from backbone.errors import InputError


def _option(default: Any, text: str) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class PretrainConfig:
    """Every option of a pretraining run; the texts are what `--help` prints."""

    fasta: list[str] = _option([], "files, folders or globs to train on (required)")
    valid_fasta: list[str] = _option([], "files, folders or globs held out for validation")
    holdout: list[str] = _option([], "names of records in fasta held out for validation")
    bed: str | None = _option(None, "intervals with train, valid or test in the fourth column")
    max_unknown: float = _option(0.1, "windows with a larger share of N are passed over")
    out: str = _option(MISSING, "folder for checkpoints, metrics and the model (required)")

    d_model: int = _option(128, "width")
    n_layer: int = _option(2, "blocks")
    d_inner: int | None = _option(None, "width of the MLP; 4 d_model unless given")
    max_seq_len: int = _option(1024, "longest input, and length of the last stage's windows")
    emb_dim: int = _option(5, "positional features of the implicit filter, odd")
    filter_order: int = _option(64, "width of the implicit filter's MLP")
    num_inner_mlps: int = _option(2, "inner layers of the implicit filter's MLP")
    activation_freq: float = _option(10.0, "initial frequency of the filter's sines")
    tie_word_embeddings: bool = _option(True, "whether head and embedding share weights")
    embed_dropout: float = _option(0.1, "dropout after the embedding")
    resid_dropout: float = _option(0.0, "dropout before additions to the residual stream")

    tokens: int | None = _option(None, "budget in tokens")
    minutes: float | None = _option(None, "budget in minutes; with tokens, what ends first")
    batch_tokens: int = _option(16384, "tokens a step, the same in every stage")
    first_length: int = _option(256, "windows of the first stage are at least this long")
    length_warmup: float = _option(0.3, "share of the budget before the last stage")
    lr: float = _option(6e-4, "peak learning rate")
    warmup: float = _option(0.02, "share of the budget in which the learning rate rises")
    lr_floor: float = _option(0.05, "final learning rate as a share of the peak")
    weight_decay: float = _option(0.1, "of matrices; filters, norms, biases, embeddings have none")
    clip: float = _option(1.0, "largest gradient norm")
    seed: int = _option(0, "of weights, windows and dropout")

    valid_every: int = _option(5_000_000, "tokens between evaluations")
    valid_tokens: int = _option(262_144, "held-out tokens an evaluation; the last one takes all")
    valid_length: int | None = _option(None, "window of evaluations; max_seq_len unless given")
    checkpoint_every: int = _option(5_000_000, "tokens between checkpoints")
    keep: int = _option(2, "checkpoints to keep")
    log_every: int = _option(20, "steps between lines of metrics.jsonl")

    device: str = _option("cpu", "cpu, cuda, cuda:1, mps")
    precision: str = _option("float32", "float32 or bf16 (autocast)")
    threads: int = _option(2, "CPU threads")

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


MAY_CHANGE = {
    *("out", "tokens", "minutes", "valid_every", "valid_tokens", "valid_length"),
    *("checkpoint_every", "keep", "log_every", "device", "threads"),
}
"""Options that a resumed run may set anew; a new budget moves the schedules with it."""


def parse(arguments: Sequence[str]) -> PretrainConfig:
    """Makes options of `key=value` arguments.

    Raises:
        InputError: for unknown options, values of the wrong kind or out of range.
    """
    known = {option.name: option for option in fields(PretrainConfig)}
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if not equals:
            raise InputError(f"{argument!r} is no option; write key=value (--help lists them)")
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"unknown option {key!r}{hint} (--help lists all)")
    try:
        given = OmegaConf.from_cli(list(arguments))
        for key, option in known.items():
            if option.type == list[str] and isinstance(given.get(key), str):
                given[key] = [given[key]]
        merged = OmegaConf.merge(OmegaConf.structured(PretrainConfig), given)
        config = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        raise InputError("out= is missing: give a folder for the run") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    except YAMLError as error:
        raise InputError(f"cannot read the options: {str(error).splitlines()[0]}") from error
    assert isinstance(config, PretrainConfig)
    check(config)
    return config


def check(config: PretrainConfig) -> None:
    """Refuses options that make no sense, alone or together.

    Raises:
        InputError: naming the option and what it may be.
    """
    if not config.fasta:
        raise InputError("fasta= is missing: give FASTA files, a folder or a glob")
    if config.tokens is None and config.minutes is None:
        raise InputError("give a budget: tokens= or minutes=")
    whole = "d_model n_layer max_seq_len batch_tokens first_length valid_every valid_tokens"
    for name in (*whole.split(), "checkpoint_every", "keep", "log_every", "threads", "lr", "clip"):
        if not getattr(config, name) > 0:
            raise InputError(f"{name}={getattr(config, name)}: must be more than 0")
    for name in ("tokens", "minutes", "d_inner", "valid_length"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise InputError(f"{name}={value}: must be more than 0")
    shares = "max_unknown length_warmup warmup lr_floor embed_dropout resid_dropout"
    for name in shares.split():
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{name}={getattr(config, name)}: must be at least 0 and below 1")
    if config.weight_decay < 0 or config.seed < 0:
        raise InputError("weight_decay and seed must be at least 0")
    if config.precision not in ("float32", "bf16"):
        raise InputError(f"precision={config.precision}: must be float32 or bf16")
    if config.batch_tokens < config.max_seq_len:
        raise InputError(
            f"batch_tokens={config.batch_tokens} does not hold one window of "
            f"max_seq_len={config.max_seq_len}; raise batch_tokens"
        )
    if (config.valid_length or 0) > config.max_seq_len:
        raise InputError(f"valid_length={config.valid_length} exceeds max_seq_len")


def help_text() -> str:
    """Returns one line an option."""
    lines = ["python -m backbone.pretrain key=value ...", ""]
    for option in fields(PretrainConfig):
        default = option.default_factory() if callable(option.default_factory) else option.default
        shown = "" if default in (MISSING, None, []) else str(default)
        lines.append(f"  {option.name + '=' + shown:<32} {option.metadata['help']}")
    return "\n".join(lines)
