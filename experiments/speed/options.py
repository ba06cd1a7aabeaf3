"""The options of the subcommands."""

from dataclasses import dataclass
from typing import Literal, get_args

from backbone.common.options import option
from backbone.devices import device_option

Form = Literal["ours", "published", "transformer"]
FORMS: tuple[Form, ...] = get_args(Form)
DTYPES = ("float32", "bf16")


@dataclass
class MachineOptions:
    """Where a table goes, and what is measured with."""

    out: str = option("runs-speed", "folder of the table")
    threads: int = option(2, "CPU threads", least=1)
    device: str = device_option("device of the model")


@dataclass
class PromptOptions(MachineOptions):
    """Options of `prompt`."""

    out: str = option("runs-speed", "folder of the table and the figure")
    prompt_tokens: list[int] = option([16, 128, 512, 4096, 32768], "prompt lengths", least=1)
    widths: list[int] = option([128, 256], "128 (2 layers) and 256 (8 layers)")
    batch: int = option(32, "rows per step; halved until the plain path fits in memory", least=1)
    query_length: int = option(500, "bases of a query", least=1)
    repeats: int = option(3, "repetitions; the median is reported", least=1)


@dataclass
class CommitsOptions:
    """Options of `commits`."""

    old: str = option("", "folder of the earlier checkout, such as one made by git worktree add")
    new: str = option(".", "folder of the later checkout")
    data: str = option("", "folder of tables, for the runs that are timed")
    out: str = option("runs-speed", "folder of the two tables")
    threads: int = option(2, "CPU threads", least=1)
    rounds: int = option(3, "how often to alternate between the two checkouts", least=1)


@dataclass
class KShotOptions(MachineOptions):
    """Options of `k_shot`."""

    shots: int = option(16, "demonstrations per class", least=1)
    classes: int = option(2, "classes", least=1)
    length: int = option(500, "bases of a demonstration and of a query", least=1)
    batch: int = option(8, "queries per batch; 256 share one encoding of the prompt", least=1)
    repeats: int = option(3, "repetitions; the median is reported", least=1)


@dataclass
class PretrainOptions(MachineOptions):
    """Options of `pretrain`."""

    out: str = option("runs-speed", "folder of tables and figure; finished rows are kept")
    lengths: list[int] = option(
        [1 << i for i in range(10, 21, 2)], "row lengths in tokens", least=2
    )
    paths: list[str] = option(list(FORMS), "what to measure", choices=FORMS)
    width: int = option(128, "width of the model", least=1)
    layers: int = option(2, "layers of the model", least=1)
    longest_transformer: int = option(1 << 16, "longest row for the Transformer")
    dtype: str = option("float32", "arithmetic, with transforms in float32", choices=DTYPES)
    repeats: int = option(3, "repetitions after a warm-up; the median is reported", least=1)


@dataclass
class ChannelOptions(MachineOptions):
    """Options of `channel`."""

    context: int = option(4096, "tokens before the queries of an evaluation, per class", least=1)
    prompt_tokens: int = option(64, "learned vectors of a training step, per class", least=1)
    classes: int = option(2, "classes", least=1)
    length: int = option(500, "bases of a query", least=2)
    batch: int = option(32, "queries per batch and per training step", least=1)
    repeats: int = option(5, "repetitions; the median is reported", least=1)


@dataclass
class MutagenesisOptions(MachineOptions):
    """Options of `mutagenesis`."""

    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    rows: int = option(20, "rows to mutate", least=1)
    length: int = option(500, "bases of a row", least=1)
    prompt_tokens: int = option(16, "vectors after the query", least=0)
    passes: int | None = option(
        600, "mutants that are scored as whole rows, drawn at random; null for all", least=1
    )
    batch: int = option(32, "whole mutants per forward pass", least=1)
    rounds: int = option(4, "repetitions of each way; the median is reported", least=1)


@dataclass
class VariantsOptions(MachineOptions):
    """Options of `variants`."""

    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    count: int = option(1000, "variants", least=1)
    window: int = option(1000, "bases of a window", least=2)
    seed: int = option(0, "seed of windows and alleles", least=0)


@dataclass
class ScaleOptions:
    """Options of `scale`."""

    out: str = option("runs-speed", "folder of the table")
    cells: list[int] = option([100, 1000], "numbers of cells in the measured studies", least=1)
    reports: list[int] = option([200, 2000], "numbers of reports in the measured folders", least=1)
    workers: int = option(2, "number of workers, which only sleep", least=1)
    takes: int = option(20, "cells that each worker claims", least=1)
    epochs: int = option(
        5, "epochs reported per cell; only searches with a pruner report epochs", least=0
    )
    sleep: float = option(0.0, "seconds that a worker sleeps per cell", least=0)
    storage: str | None = option(None, "database URL; by default a SQLite file")
    study: int = option(10_000, "number of cells in the extrapolated study", least=1)
    minutes: float = option(5.0, "minutes per cell in the extrapolated study", above=0)


@dataclass
class PeersOptions:
    """Options of `peers`."""

    out: str = option("runs-speed", "folder of the table")
    python: str | None = option(
        None, "Python interpreter with MultiMolecule; by default the running one"
    )
    backbone: str = option("bundled", "a HyenaDNA: a checkpoint's name, or a folder")
    lengths: list[int] = option([500, 8192], "bases of a row", least=2)
    bases: int = option(16_000, "bases per step, at least one row", least=1)
    threads: int = option(1, "CPU threads", least=1)
    rounds: int = option(
        5, "repetitions of each path after a warm-up; the median is reported", least=1
    )
