"""The contract of a method: learn from labelled DNA, then score rows.

A method is a class with the decorator `method`, which registers `method=NAME` and its options with
the command line. The built-in methods are the modules of `icl.methods`; other packages can register
their own (see `icl.methods.catalog`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from backbone.common.options import check_options
from backbone.sequence.edits import Edit
from tasks.registry import Registry
from tasks.task import Example, Kind, truth

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.protocol import LanguageModel
    from backbone.state_store import StateStore

KINDS: tuple[Kind, ...] = ("classes", "multi_label", "regression")
"""Every kind of task, for methods that support them all."""

ADAPTER = "adapter"
"""Folder of an adapter in the form of PEFT, in that of its run; see `Method.save_adapter`."""

Budget = Literal["prompt_tokens", "shots"]
ConfigT = TypeVar("ConfigT", bound="MethodConfig")
MethodT = TypeVar("MethodT", bound="type[Method]")


@dataclass
class MethodConfig:
    """The options of a method: each becomes `method.OPTION=VALUE` on the command line.

    Subclasses are plain dataclasses (not frozen: the command line fills them) in which every
    field has a default and a type that OmegaConf knows: bool, int, float, str, list, enumeration,
    or one of them `| None`. Declare them with `backbone.common.options.option`.
    """

    name: str = ""

    @property
    def unused(self) -> tuple[str, ...]:
        """The options that change nothing, given the others; they do not count for a run's name."""
        return ()

    @property
    def suited_backbone(self) -> str | None:
        """A bundled backbone that gave better results with these options than the default one."""
        return None


@dataclass(frozen=True)
class Progress:
    """The progress of tuning after an epoch, for display.

    Attributes:
        epoch: Epochs finished.
        epochs: Maximum number of epochs.
        loss: Mean training loss of this epoch; each row is measured before its own step.
        validation_loss: Loss on the validation rows after this epoch.
        validation: Accuracy on the validation rows after this epoch; mean AUROC for multi-label
            tasks, R2 for regression.
        best: The same metric at the best epoch so far, the one with the lowest validation loss.
        metric: Name of the metric: accuracy, auroc or r2.
        best_epoch: The best epoch so far; 0 is the state before tuning.
        best_loss: Validation loss of that epoch.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    validation: float
    best: float
    metric: str = "accuracy"
    best_epoch: int = 0
    best_loss: float = float("nan")


def silent_rows(work: str, done: int, total: int) -> None:
    """Show nothing."""


def silent(progress: Progress) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Context:
    """What a run passes to its method, besides the method's own options.

    Attributes:
        labels: Names in the task's order: of the classes, of the labels, or of the target.
        seed: Seed of everything random: initial values, batch order, demonstrations.
        load_backbone: Returns the frozen backbone, the same object on each call.
        device: Device of the backbone: cpu, cuda or mps.
        precision: Number format of the backbone's arithmetic.
        batch_size: Rows per forward pass; never changes a prediction.
        run_dir: Folder in which `fit` may save what it needs to resume after an interruption; it is
            removed with all its files when the run ends. None saves nothing.
        progress: Called after each epoch.
        rows_done: Called while rows are encoded or scored, with the kind of work, the rows done and
            their total; both strands count.
        prompt_tokens: Learned vectors, for methods with that budget.
        shots: Demonstrations per class, for methods with that budget or that extra budget.
        label_words: One nucleotide word per class; None leaves the choice to the method.
        control: The control of this run, one of `icl.controls.CONTROLS`, or None. A method passes
            every set of demonstrations that it uses, in tuning and in scoring, through
            `icl.controls.controlled_demonstrations`; it need do nothing else about controls.
        other_rows: Returns the training rows of another task, for the control that uses them.
        queries: Every sequence that will be scored, validation rows too, without its label:
            demonstrations for all of them leave room for the longest and overlap none.
        kind: Of the task: what a row's label is.
        kept_bytes: Memory limit in bytes for cached states; None for the default. Rows that do not
            fit are encoded again in every epoch, which costs time and may change the last digits.
        store: Where encoded rows are looked for on disk, and written; None for nowhere.
    """

    labels: tuple[str, ...]
    seed: int
    load_backbone: "Callable[[], LanguageModel]"
    device: str = "cpu"
    precision: Literal["float32", "bf16"] = "float32"
    batch_size: int = 64
    run_dir: Path | None = None
    progress: Callable[[Progress], None] = silent
    rows_done: Callable[[str, int, int], None] = silent_rows
    prompt_tokens: int | None = None
    shots: int | None = None
    label_words: tuple[str, ...] | None = None
    control: str | None = None
    other_rows: Callable[[], Sequence[Example]] | None = None
    queries: Sequence[str] = ()
    kind: Kind = "classes"
    kept_bytes: int | None = None
    store: "StateStore | None" = None

    @property
    def free_outputs(self) -> int:
        """Independent outputs of a model: C - 1 for classes, L for labels, 1 for regression."""
        return len(self.labels) - (self.kind == "classes")


class Method(ABC, Generic[ConfigT]):
    """Learns with `fit`, then scores any rows with `scores`.

    Attributes:
        config: The method's own options.
        context: What the run passes in.
        prompt_tokens: Number of learned prompt vectors, or None.
        shots: Demonstrations per class, or None.
        tuning_samples: Rows used to tune weights, where that is a separate budget.
        validation: Metrics of the final state on the validation rows; set by `fit`: at least
            `loss`, and `accuracy`, `auroc` or `r2` by the kind of the task.
        details: JSON-serialisable facts for the report that are specific to the method: bases
            used, demonstrations dropped, label words found.
    """

    name: ClassVar[str]

    def __init__(self, config: ConfigT, context: Context) -> None:
        """Store the options and the context, and check each option; nothing is loaded yet.

        Raises:
            InputError: If an option is not one of its choices, or out of range.
        """
        check_options(config, "method.")
        self.config = config
        self.context = context
        self.prompt_tokens = context.prompt_tokens
        self.shots = context.shots
        self.tuning_samples: int | None = None
        self.validation: dict[str, float] = {}
        self.details: dict[str, Any] = {}

    def check(self, examples: Sequence[Example]) -> None:
        """Reject what cannot run, before anything is learned or written.

        Args:
            examples: Every row of the run: train, validation and test.

        Raises:
            InputError: If options contradict each other, or a row is too long for the backbone.
        """
        return None

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw from the training rows what `fit` will need, before anything is written.

        What cannot be drawn, or does not fit, is rejected here. `fit` calls it too, for callers
        that did not; a second call with the same rows must cost nothing and change nothing.

        Raises:
            InputError: If there are too few rows to draw from, or the drawn ones do not fit.
        """
        return None

    @abstractmethod
    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Learn from `train`; use `val` for model selection, and set `validation`."""

    @abstractmethod
    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return a score for each row, float64; no row depends on another.

        These are log-probabilities over the classes, (N, C); log-odds of the labels, (N, L), for a
        multi-label task; predictions, (N, 1), for regression.
        """

    def scores_of_edits(
        self, sequences: Sequence[str], edits: Sequence[Edit]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores of sequences (N, C), and of each with one edit (E, C); see `scores`.

        This implementation scores every edited sequence as a whole. A method that encodes the
        unchanged parts only once gives the same scores, up to rounding, in less time.

        Args:
            sequences: N sequences over ACGTN.
            edits: E edits of them, each alone, that leave at least one base.
        """
        edited = [edit.of(sequences[edit.row]) for edit in edits]
        scores = self.scores([Example(sequence, 0) for sequence in (*sequences, *edited)])
        return scores[: len(sequences)], scores[len(sequences) :]

    def relaxed_scores(self, letters: "Tensor") -> "Tensor | None":
        """Return the scores (C,) of one relaxed sequence, with their derivatives; see `scores`.

        Args:
            letters: (L, 5), the shares of A, C, G, T and N at each position: 1 at the letter of a
                sequence. A share acts as that much of the letter's embedding.

        Returns:
            The scores, up to a number that all classes share; None for a method without
            derivatives.
        """
        return None

    def uncalibrated_scores(self, examples: Sequence[Example]) -> np.ndarray | None:
        """Return the scores before calibration, (N, C); None for a method without calibration."""
        return None

    @property
    def averages_strands(self) -> bool:
        """Whether `scores` already averages a sequence and its reverse complement."""
        return False

    def read_forward_alone(self) -> None:
        """Make `scores` read only the given strand, in a method that averages both."""
        return None

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the likeliest tokens for a method with one-token label words; None for others.

        Returns:
            The likeliest token of the whole vocabulary for each row, (N,), and the token of each
            class's label word, (C,).
        """
        return None

    def full_vocabulary_accuracy(self, examples: Sequence[Example]) -> float | None:
        """Return the accuracy when any token may be the answer; None without label words."""
        found = self.likeliest_tokens(examples)
        if found is None:
            return None
        tokens, words = found
        return float((tokens == words[truth(examples)]).mean())

    @property
    @abstractmethod
    def trainable_parameters(self) -> int:
        """The number of parameters that `fit` changes."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return the learned arrays by name; empty where nothing is learned."""

    @abstractmethod
    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore what `state` returned, instead of calling `fit`.

        Raises:
            InputError: If an array is missing, unknown or misshapen.
        """

    def save_adapter(self, folder: Path) -> None:
        """Write the learned weights to `folder`/adapter in PEFT's format, where PEFT has one.

        Args:
            folder: Folder of the run.
        """
        return None


@dataclass(frozen=True)
class MethodEntry:
    """A registered method.

    Attributes:
        cls: The class, constructed with (config, context).
        config: Class of the method's options.
        summary: One line for the help text.
        budget: The number that `k` stands for; None if the method ignores `k`.
        default_budget: The budget if none is given.
        uses_backbone: Whether the backbone, its weights and precision can change the result.
        extra_budgets: Further budgets, given by their own names; 0 by default.
        label_words: Whether the backbone answers with label words, so that they matter.
        kinds: Kinds of tasks that it supports.
        version: Version of its results; part of the run's hash.
    """

    cls: type[Method]
    config: type[MethodConfig]
    summary: str
    budget: Budget | None
    default_budget: int
    uses_backbone: bool
    extra_budgets: tuple[Budget, ...] = ()
    label_words: bool = True
    kinds: tuple[Kind, ...] = ("classes",)
    version: int = 1


METHODS: Registry[MethodEntry] = Registry("method")


def method(
    name: str,
    *,
    config: type[MethodConfig],
    budget: Budget | None = None,
    default_budget: int = 16,
    uses_backbone: bool = True,
    extra_budgets: tuple[Budget, ...] = (),
    label_words: bool = True,
    kinds: tuple[Kind, ...] = ("classes",),
    version: int = 1,
) -> Callable[[MethodT], MethodT]:
    """Register the decorated class as `method=NAME`; its docstring's first line is the summary.

    Args:
        name: Name on the command line.
        config: Class of its options.
        budget: The number that `k` stands for.
        default_budget: The budget if none is given.
        uses_backbone: False for methods that only read the sequence.
        extra_budgets: Budgets that it takes besides `budget`: ("shots",) adds demonstrations to a
            method whose budget is prompt tokens.
        label_words: False for methods that use the backbone's states without label words.
        kinds: Kinds of tasks that it supports.
        version: Raise it whenever the method's results change for the same options, seed and data;
            finished runs of another version are then repeated. A change that concerns all methods
            raises `icl.config.options.RESULT_VERSION` instead.

    Raises:
        ValueError: If the name is taken, or the class has no docstring.
    """

    def register(cls: MethodT) -> MethodT:
        if not cls.__doc__:
            raise ValueError(f"method {name}: its class needs a docstring for the help")
        summary = cls.__doc__.strip().splitlines()[0]
        entry = MethodEntry(
            cls,
            config,
            summary,
            budget,
            default_budget,
            uses_backbone,
            extra_budgets,
            uses_backbone and label_words,
            kinds,
            version,
        )
        METHODS.add(name, entry)
        cls.name = name
        return cls

    return register
