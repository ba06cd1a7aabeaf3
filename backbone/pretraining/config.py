"""The options of the trainer."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from backbone.common.errors import InputError
from backbone.common.options import Sources, check_options, option
from backbone.sequence.dna import ALPHABETS

if TYPE_CHECKING:
    from backbone.hyena.config import HyenaDNAConfig
    from backbone.hyena.tokenizer import SequenceTokenizer

MIXTURE = (
    *("neighbourhood:3", "enriched:3", "genome:1", "relatives:0.5", "plain:1"),
    *("markov:3", "motifs:0.5", "segments:0.5", "periodic:0.5", "profile:0.5"),
)
"""Weights of the streams of related windows: two thirds of the rows are real DNA."""

CONTRAST_MIXTURE = (
    *("enriched:4", "planted:2", "neighbourhood:2", "genome:1", "relatives:0.5"),
    *("markov:2", "motifs:1", "segments:0.5", "periodic:0.5", "profile:0.5"),
)
"""Weights of the streams of which pairs of classes are drawn."""


@dataclass
class TrainerConfig:
    """The options of the trainer, for any source of rows.

    Tokens, windows and lengths refer to the rows of the source.
    """

    out: str = option(MISSING, "folder for checkpoints, metrics and the model (required)")

    architecture: str = option(
        "hyena",
        "hyena, or an architecture of transformers, which backbone=hf:OUT/model then loads",
        choices=("hyena", "llama", "mamba"),
    )
    d_model: int = option(128, "model width", above=0)
    n_layer: int = option(2, "number of blocks", above=0)
    d_inner: int | None = option(None, "width of the MLP; by default 4 d_model", above=0)
    max_seq_len: int = option(
        1024, "longest input; the filters are functions of lag / max_seq_len", above=0
    )
    emb_dim: int = option(5, "positional features of the implicit filter, odd")
    filter_order: int = option(64, "width of the implicit filter's MLP")
    num_inner_mlps: int = option(2, "inner layers of the implicit filter's MLP")
    activation_freq: float = option(10.0, "initial frequency of the filter's sines")
    tie_word_embeddings: bool = option(True, "whether head and embedding share weights")
    embed_dropout: float = option(
        0.1, "dropout after the embedding; architecture=hyena only", least=0, below=1
    )
    resid_dropout: float = option(
        0.0,
        "dropout before additions to the residual stream; architecture=hyena only",
        least=0,
        below=1,
    )

    init: str | None = option(
        None, "checkpoint with the starting weights; its shape must match the options"
    )
    tokens: int | None = option(None, "budget in tokens", above=0)
    minutes: float | None = option(
        None, "budget in minutes; with tokens= too, whichever is reached first", above=0
    )
    batch_tokens: int = option(16384, "tokens per step, the same in every stage", above=0)
    micro_tokens: int | None = option(
        None, "tokens held in memory per process; larger batches accumulate gradients", above=0
    )
    first_length: int = option(256, "minimum window length of the first stage", above=0)
    last_length: int | None = option(
        None, "window length of the last stage; by default max_seq_len", above=0
    )
    length_warmup: float = option(
        0.3, "share of the budget before the last stage", least=0, below=1
    )
    lr: float = option(6e-4, "peak learning rate", above=0)
    warmup: float = option(
        0.02, "share of the budget in which the learning rate rises", least=0, below=1
    )
    lr_floor: float = option(0.05, "final learning rate as a share of the peak", least=0, below=1)
    weight_decay: float = option(
        0.1, "AdamW weight decay of matrices; filters, norms, biases, embeddings have none", least=0
    )
    clip: float = option(1.0, "maximum gradient norm", above=0)
    seed: int = option(0, "random seed of weights, windows and dropout", least=0)

    valid_every: int = option(
        5_000_000, "tokens between evaluations; each checkpoint is evaluated too", above=0
    )
    valid_tokens: int = option(
        262_144, "held-out tokens per evaluation; the last evaluation uses all", above=0
    )
    valid_length: int | None = option(
        None, "window length of evaluations; max_seq_len by default", above=0
    )
    checkpoint_every: int = option(5_000_000, "tokens between checkpoints", above=0)
    keep: int = option(2, "newest checkpoints to keep, besides the best by validation", above=0)
    log_every: int = option(20, "steps between lines of metrics.jsonl", above=0)
    tensorboard: bool = option(False, "also write the metrics to OUT/tensorboard")

    device: str = option(
        "cpu", "cpu, cuda, cuda:1 or mps; accelerate launch gives each process a GPU"
    )
    precision: str = option(
        "float32", "arithmetic; bf16 by autocast, with FFTs in float32", choices=("float32", "bf16")
    )
    gradient_checkpointing: str = option(
        "none", "what the backward pass recomputes", choices=("none", "block", "mixer")
    )
    threads: int = option(2, "CPU threads", above=0)
    workers: int = option(
        0, "processes that prepare batches in advance; useful with a GPU", least=0
    )

    def model_config(self) -> "HyenaDNAConfig":
        """Return the shape of the model."""
        from backbone.hyena.config import HyenaDNAConfig

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
            vocab_size=self.tokenizer().vocab_size,
        )

    def tokenizer(self) -> "SequenceTokenizer":
        """Return the tokenizer to export with the model."""
        from backbone.hyena.tokenizer import DNATokenizer

        return DNATokenizer(model_max_length=self.max_seq_len)


@dataclass
class GenomeOptions(Sources):
    """One of several genomes."""

    weight: float = option(
        1.0, "sampling weight of its windows, relative to the other genomes", above=0
    )


@dataclass
class PretrainConfig(TrainerConfig, Sources):
    """The options of pretraining on genomes."""

    source: str = option(
        "windows",
        "what a row contains: one window of a genome, or several related windows separated by "
        "[SEP]",
        choices=("windows", "related"),
    )
    streams: list[str] = option(
        list(MIXTURE), "with source=related, NAME:WEIGHT of each stream of related windows"
    )
    exclude: list[str] = option(
        [], "with source=related, BED files of intervals to leave out, such as labelled rows"
    )
    separator_targets: bool = option(
        False, "with source=related, whether the [SEP] between two windows is also predicted"
    )
    contrast: float = option(
        0.0,
        "with source=related, weight of the loss that asks after which of two classes of "
        "windows a query is more likely; 0 turns it off",
        least=0,
    )
    contrast_streams: list[str] = option(
        list(CONTRAST_MIXTURE),
        "with contrast= or words=, NAME:WEIGHT of each stream from which two classes are drawn",
    )
    contrast_tokens: int | None = option(
        None,
        "with contrast=, tokens per step for its loss, in addition to batch_tokens and not "
        "counted in tokens=; by default as many as batch_tokens",
        above=0,
    )
    words: float = option(
        0.0,
        "with source=related, weight of the loss that asks for the label word of a window "
        "after windows of two classes with random words; 0 turns it off",
        least=0,
    )
    words_tokens: int | None = option(
        None,
        "with words=, tokens per step for its loss, in addition to batch_tokens and not "
        "counted in tokens=; by default as many as batch_tokens",
        above=0,
    )
    genomes: dict[str, GenomeOptions] = option({}, "several genomes instead of fasta=, each with")
    alphabet: str = option("dna", "alphabet of the sequences", choices=tuple(ALPHABETS))
    max_unknown: float = option(
        0.1, "skip windows with a larger share of N; 1 keeps all", least=0, most=1
    )
    max_soft_masked: float = option(
        1.0,
        "skip windows with a larger share of soft-masked (lower-case) letters",
        least=0,
        most=1,
    )
    soft_masked_targets: bool = option(
        True, "whether lower-case letters are targets, or only context"
    )
    reverse_complement: bool | None = option(
        None, "reverse-complement half of the windows; by default true for dna"
    )

    def tokenizer(self) -> "SequenceTokenizer":
        """Return the tokenizer of the alphabet."""
        from backbone.hyena.tokenizer import TOKENIZERS

        return TOKENIZERS[self.alphabet](model_max_length=self.max_seq_len)

    @property
    def both_strands(self) -> bool:
        """Whether half of the windows are reverse complemented."""
        if self.reverse_complement is None:
            return self.alphabet == "dna"
        return self.reverse_complement


MAY_CHANGE = {
    *("out", "tokens", "minutes", "valid_every", "valid_tokens", "valid_length"),
    *("checkpoint_every", "keep", "log_every", "tensorboard", "device", "threads"),
    *("workers", "micro_tokens", "gradient_checkpointing"),
}
"""Options that may change on resuming; the schedules follow a new budget."""


def differences(saved: dict[str, Any], config: TrainerConfig) -> list[str]:
    """Describe the options that differ from those of a saved run and must not.

    Args:
        saved: `asdict` of its configuration; an option that is missing there is a newer one, which
            had its default.
        config: The present options.
    """
    found = []
    for declared in fields(config):
        key, now = declared.name, getattr(config, declared.name)
        if key in MAY_CHANGE or key not in saved:
            continue
        before = _flat(key, saved[key])
        after = _flat(key, now)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                found.append(f"{name}={before.get(name)}, not {after.get(name)}")
    return found


def _flat(key: str, value: Any) -> dict[str, Any]:
    """Return the value of an option by its name, or those of its parts by theirs."""
    if isinstance(value, GenomeOptions):
        value = asdict(value)
    if not isinstance(value, dict):
        return {key: value}
    parts: dict[str, Any] = {}
    for name, part in value.items():
        parts.update(_flat(f"{key}.{name}", part))
    return parts


def check(config: TrainerConfig) -> None:
    """Refuse options of the trainer that are out of range or contradict each other.

    Raises:
        InputError: If there is such an option; says what it may be.
    """
    check_options(config)
    if config.architecture != "hyena":
        _check_architecture(config)
    if config.tokens is None and config.minutes is None:
        raise InputError("give a budget: tokens= or minutes=")
    longest = config.last_length or config.max_seq_len
    if longest > config.max_seq_len:
        raise InputError(f"last_length={longest} exceeds max_seq_len={config.max_seq_len}")
    if config.batch_tokens < longest:
        raise InputError(
            f"batch_tokens={config.batch_tokens} is smaller than one window of {longest} tokens, "
            f"the last stage's; raise batch_tokens or lower last_length"
        )
    if (config.valid_length or 0) > config.max_seq_len:
        raise InputError(
            f"valid_length={config.valid_length} exceeds max_seq_len={config.max_seq_len}"
        )


def _check_architecture(config: TrainerConfig) -> None:
    """Refuse what only HyenaDNA has."""
    own = f"architecture={config.architecture}"
    if config.init is not None:
        raise InputError(f"{own}: init={config.init} starts from HyenaDNA's weights; drop it")
    if config.gradient_checkpointing != "none":
        raise InputError(
            f"{own}: gradient_checkpointing={config.gradient_checkpointing} is HyenaDNA's; drop it"
        )
    heads = max(1, config.d_model // 32)
    if config.architecture == "llama" and config.d_model % (2 * heads):
        raise InputError(
            f"{own}: d_model={config.d_model} has {heads} heads, which must be of one even width"
        )


def check_pretraining(config: PretrainConfig) -> None:
    """Refuse options of pretraining that are out of range or contradict each other.

    Raises:
        InputError: If there is such an option; says what it may be.
    """
    check_options(config)
    if config.both_strands and not ALPHABETS[config.alphabet].complement:
        raise InputError(
            f"reverse_complement=true: alphabet={config.alphabet} has no complementary strand; "
            "drop it"
        )
    if config.architecture != "hyena" and (config.alphabet != "dna" or config.source == "related"):
        raise InputError(
            f"architecture={config.architecture} is trained on source=windows of alphabet=dna"
        )
    for name, weight in (("contrast", config.contrast), ("words", config.words)):
        if weight and config.source != "related":
            raise InputError(f"{name}= needs source=related")
    if config.source == "related" and config.alphabet != "dna":
        raise InputError(f"source=related needs alphabet=dna, not {config.alphabet}")
    if config.genomes:
        _check_genomes(config)
    elif not config.fasta:
        raise InputError("fasta= is missing: give FASTA files, a folder or a glob")
    check(config)


def _check_genomes(config: PretrainConfig) -> None:
    given = [f.name for f in fields(Sources) if getattr(config, f.name)]
    if given:
        raise InputError(
            f"{given[0]}= cannot be combined with genomes; write genomes.NAME.{given[0]}="
        )
    for name, genome in config.genomes.items():
        if not genome.fasta:
            raise InputError(f"genomes.{name}.fasta= is missing: give FASTA files, folder or glob")
