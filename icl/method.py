"""What a method is: it learns from labelled DNA and gives every class a log-probability.

A method is one file of this package. Its class carries the decorator `method`, which is all that
is needed to make `method=NAME` and its options known to the command line.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from backbone.common.options import check_options
from tasks.registry import Registry
from tasks.task import Example, Kind, truth

if TYPE_CHECKING:
    from backbone.hyena.model import HyenaDNA

KINDS: tuple[Kind, ...] = ("classes", "multi_label", "regression")
"""Every kind of task, for the methods that can do all."""

Budget = Literal["prompt_tokens", "shots"]
ConfigT = TypeVar("ConfigT", bound="MethodConfig")
MethodT = TypeVar("MethodT", bound="type[Method]")


@dataclass
class MethodConfig:
    """The options of a method: each becomes `method.OPTION=VALUE` on the command line.

    Subclasses are plain dataclasses (not frozen: the command line fills them) in which every
    field has a default and a type that OmegaConf knows: bool, int, float, str, list, enumeration,
    or one of them `| None`. Make them with `backbone.common.options.option`.
    """

    name: str = ""


@dataclass(frozen=True)
class Progress:
    """One step of learning, as it is shown to the person who waits for it.

    Attributes:
        epoch: Epochs finished.
        epochs: Epochs that there will be at most.
        loss: Mean loss over the training rows of this epoch, each before its step.
        validation_loss: Loss on the validation rows after this epoch.
        validation: Accuracy on the validation rows after this epoch; mean AUROC for several labels,
            R2 for numbers.
        best: The same figure at the best epoch so far, the one of lowest validation loss.
        figure: What it is: accuracy, auroc or r2.
        best_epoch: The best epoch so far; 0 is the state before tuning.
        best_loss: Its validation loss.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    validation: float
    best: float
    figure: str = "accuracy"
    best_epoch: int = 0
    best_loss: float = float("nan")


def silent_rows(work: str, done: int, total: int) -> None:
    """Show nothing."""


def silent(progress: Progress) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Context:
    """What a run gives to its method, beside the method's own options.

    Attributes:
        labels: Names in the task's order: of the classes, of the labels, or of the number.
        seed: Moves everything that is drawn: initial values, order of batches, demonstrations.
        load_backbone: Gives the frozen backbone, the same one each time.
        device: Where the backbone lives: cpu, cuda or mps.
        precision: Number format of the backbone's arithmetic.
        batch_size: Rows a forward pass reads at once; never changes a prediction.
        run_dir: Folder where `fit` may keep whatever it needs to go on after an interruption;
            it is removed with all its files when the run has ended. None keeps nothing.
        progress: Called after each epoch.
        rows_done: Called while rows are encoded or scored, with the kind of work, the rows done and
            their total; both strands count.
        prompt_tokens: Learned vectors, for methods with that budget.
        shots: Demonstrations per class, for methods with that budget or with shots beside it.
        label_words: One word of nucleotides per class; None leaves the choice to the method.
        control: The control of this run, one of `icl.controls.CONTROLS`, or None. A method passes
            every set of demonstrations that it shows, in tuning and in scoring, through
            `icl.controls.controlled_demonstrations`; it does nothing else about controls.
        other_rows: Gives the training rows of another task, for the control that shows them.
        queries: Every sequence that will be scored, validation rows too, without its label:
            demonstrations for all of them leave room for the longest and overlap none.
        kind: Of the task: what a row's label is.
        kept_bytes: Memory for rows that are encoded once, None for the usual. Rows that do not
            fit are encoded again in every epoch, which costs time and may move the last digits.
    """

    labels: tuple[str, ...]
    seed: int
    load_backbone: "Callable[[], HyenaDNA]"
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

    @property
    def free_outputs(self) -> int:
        """Outputs of a model that no other output implies: C - 1 for classes, L labels, 1."""
        return len(self.labels) - (self.kind == "classes")


class Method(ABC, Generic[ConfigT]):
    """Learns with `fit`, then scores any rows with `scores`.

    Attributes:
        config: The method's own options.
        context: What the run gives.
        prompt_tokens: Learned vectors that stand before the query, or None.
        shots: Demonstrations per class, or None.
        tuning_samples: Rows that weights were tuned on, where that is a budget of its own.
        validation: What the validation rows said about the state that was kept; set by `fit`,
            at least `loss`, and `accuracy`, `auroc` or `r2` by the kind of the task.
        details: Facts for the report that are the method's own, as JSON knows them: bases that
            were shown, demonstrations that were dropped, label words that were found.
    """

    name: ClassVar[str]

    def __init__(self, config: ConfigT, context: Context) -> None:
        """Hold the options and the context, and check each option; nothing is loaded yet.

        Raises:
            InputError: If an option is none of its choices, or out of range.
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
        """Refuse what cannot work, before anything is learned or written.

        Args:
            examples: Every row of the run: train, validation and test.

        Raises:
            InputError: If options do not fit each other, or a row does not fit the backbone.
        """
        return None

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw from the training rows what `fit` will need, before anything is written.

        What cannot be drawn, or does not fit, is refused here. `fit` calls it too, for callers that
        did not; the second call with the same rows must cost nothing and change nothing.

        Raises:
            InputError: If there are too few rows to draw from, or the drawn ones do not fit.
        """
        return None

    @abstractmethod
    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Learn from `train`; `val` chooses between settings and moments, and sets `validation`."""

    @abstractmethod
    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """What the method says of each row, float64; no row depends on another.

        Log-probabilities over the classes, (N, C); for a task of several labels their log-odds,
        (N, L); for numbers the predictions, (N, 1).
        """

    def uncalibrated_scores(self, examples: Sequence[Example]) -> np.ndarray | None:
        """What `scores` would be without calibration, (N, C); None for a method without one."""
        return None

    @property
    def averages_strands(self) -> bool:
        """Whether `scores` already averages a sequence and its reverse complement."""
        return False

    def read_forward_alone(self) -> None:
        """Let `scores` read the given strand alone, in a method that averages both."""
        return None

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what a method with label words of one token answers over all tokens; else None.

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
        """Numbers that `fit` moves."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """What was learned, by name; empty where nothing is learned."""

    @abstractmethod
    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` gave, instead of `fit`.

        Raises:
            InputError: If an array is missing, unknown or misshapen.
        """

    def save_adapter(self, folder: Path) -> None:
        """Write what was learned into `folder`/adapter as PEFT knows it; nothing where it does not.

        Args:
            folder: Of the run.
        """
        return None


@dataclass(frozen=True)
class MethodEntry:
    """What the registry knows about a method.

    Attributes:
        cls: The class to build with (config, context).
        config: Class of the method's own options.
        summary: One line for the help.
        budget: What `k` means to it; None ignores `k`.
        default_budget: The budget where none is given.
        uses_backbone: Whether the backbone, and with it its weights and precision, can change the
            result.
        also: Numbers beside the budget, given by their own names; 0 where they are not.
        label_words: Whether the backbone answers with label words, so that they matter.
        kinds: Kinds of tasks that it can do.
        version: Of its results; part of the name of a run.
    """

    cls: type[Method]
    config: type[MethodConfig]
    summary: str
    budget: Budget | None
    default_budget: int
    uses_backbone: bool
    also: tuple[Budget, ...] = ()
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
    also: tuple[Budget, ...] = (),
    label_words: bool = True,
    kinds: tuple[Kind, ...] = ("classes",),
    version: int = 1,
) -> Callable[[MethodT], MethodT]:
    """Register the decorated class as `method=NAME`; its docstring's first line is the summary.

    Args:
        name: Name on the command line.
        config: Class of its options.
        budget: Which number `k` stands for.
        default_budget: That number where it is not given.
        uses_backbone: False for methods that read the sequence alone.
        also: Numbers that it takes beside the budget: ("shots",) shows demonstrations to a method
            whose budget is prompt tokens.
        label_words: False for methods that use the backbone without label words, as its states.
        kinds: Kinds of tasks that it can do.
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
            also,
            uses_backbone and label_words,
            kinds,
            version,
        )
        METHODS.add(name, entry)
        cls.name = name
        return cls

    return register
