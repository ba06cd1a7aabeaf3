"""The lines of the curve and their runs: all on the same demonstrations and the same test rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.common.cells import Cell, RunOptions, configuration
from experiments.common.command import MethodOptions
from experiments.common.shot_lines import LIKELIHOODS, READOUTS
from icl.config.options import RunConfig, resolve
from icl.controls import CONTROLS
from icl.methods.markov import ORDERS
from icl.rows import Divisions
from tasks.catalog import TASKS
from tasks.registry import TaskConfig, build_task, default_options

LINES = (*READOUTS, "markov", "kmer_knn", "embedding_knn")
"""few_shot by each readout, Markov chains of each order and `auto`, nearest neighbours."""

METHODS_OF = dict.fromkeys(READOUTS, "few_shot")
"""The method of a kind of line, where it has another name."""

SWAPPED = "demo_labels_flipped"
"""The control that gives each class the demonstrations of the next: with two, it swaps them."""

AUTO = "auto"


@dataclass
class Options(RunOptions):
    """Options of the command."""

    folder: ClassVar[str] = "runs-shots"
    tasks: list[str] = option(["synthetic_easy"], "names of tasks")
    backbones: list[str] = option(
        ["bundled"], "checkpoints, as names, folders or random:NAME; baselines use the first"
    )
    lines: list[str] = option(list(LINES), "lines of the curve", choices=LINES)
    controls: list[str] = option(
        [SWAPPED], "controls of the channel and the memory; [] for none", choices=tuple(CONTROLS)
    )
    shots: list[int] = option([1, 2, 4, 8, 16, 32, 64], "demonstrations per class", least=1)
    control_shots: list[int] = option(
        [], "numbers of shots at which controls are run; [] for all", least=1
    )
    draws: int = option(3, "runs with seed=0, 1, ... of demonstrations and test rows", least=1)
    test_rows: int | None = option(
        300, "maximum number of scored test rows, drawn by seed", least=1
    )
    val_rows: int | None = option(
        50, "maximum number of validation rows, used without labels to model null queries", least=1
    )
    n_train: int | None = option(
        None, "maximum number of training rows from which demonstrations are drawn", least=1
    )

    @property
    def methods(self) -> Sequence[str]:
        """Methods that options after `method.` belong to."""
        return list(dict.fromkeys(METHODS_OF.get(kind, kind) for kind in self.lines))


@dataclass(frozen=True)
class Line:
    """A line of the curve.

    Attributes:
        kind: One of LINES.
        backbone: Name of the backbone; None if it affects only what fits the context.
        order: Of a Markov chain: 0 to 5, or `auto`.
        control: One of `icl.controls.CONTROLS`, or None.
    """

    kind: str
    backbone: str | None = None
    order: str | None = None
    control: str | None = None

    def __str__(self) -> str:
        """Return the name, as in tables and pictures."""
        order = None if self.order is None else f"order {self.order}"
        control = "swapped" if self.control == SWAPPED else self.control
        parts = (self.kind, order, self.backbone, control)
        return ", ".join(part for part in parts if part is not None)

    @property
    def method(self) -> str:
        """The method of its runs."""
        return METHODS_OF.get(self.kind, self.kind)

    @property
    def is_reference(self) -> bool:
        """Whether it decides at which shots a set counts: the channel and the Markov chains do."""
        return self.kind in ("channel", "markov") and self.control is None

    def words(self) -> Iterator[str]:
        """Yield the method's options for this line."""
        if self.method == "few_shot":
            yield f"readout={self.kind}"
        elif self.order is not None:
            yield f"order={self.order}"
        else:
            yield "readout=channel"  # what fits into the channel's prompts is drawn
            yield "temperature=demonstrations"


def lines_of(options: Options) -> list[Line]:
    """Return the lines; for random weights only likelihoods, since they know no label words.

    Raises:
        InputError: If there is none.
    """
    found = []
    for backbone in options.backbones:
        is_random = backbone.startswith("random:")
        for kind in options.lines:
            if kind in LIKELIHOODS:
                controls = [None, *([] if is_random else options.controls)]
                found += [Line(kind, backbone, control=control) for control in controls]
            elif kind in ("direct", "embedding_knn") and not is_random:
                found.append(Line(kind, backbone))
    if "markov" in options.lines:
        found += [Line("markov", order=order) for order in (*map(str, ORDERS), AUTO)]
    if "kmer_knn" in options.lines:
        found.append(Line("kmer_knn"))
    if not (found and options.tasks and options.shots):
        raise InputError("give at least one of tasks, backbones, lines and shots")
    return found


def cells(options: Options, words: MethodOptions) -> list[Cell]:
    """Return every run, with the key (task, line, shots): task by task, draw by draw.

    Args:
        options: Options of the command.
        words: Options of each method, as `NAME=VALUE`.

    Raises:
        InputError: If no run can have these options, or data are missing that `n_train` counts.
    """
    lines = lines_of(options)
    read = Divisions()
    given = default_options(TASKS.get(options.tasks[0]).name)
    configs = {line: _config(options, given, line, words) for line in lines}
    found = []
    for name in options.tasks:
        task = default_options(TASKS.get(name).name)
        if build_task(task).kind != "classes":
            raise InputError(f"task={name} has no classes that demonstrations could show")
        n_train = options.n_train
        if n_train is not None:
            rows = len(read(replace(configs[lines[0]], task=task), build_task(task)).train)
            n_train = n_train if n_train < rows else None
        for seed in range(options.draws):
            for shots in sorted(set(options.shots)):
                for line in lines:
                    if line.control and shots not in (options.control_shots or [shots]):
                        continue
                    config = replace(configs[line], task=task, seed=seed, k=shots, n_train=n_train)
                    found.append(Cell((task.name, line, shots), resolve(config)))
    return found


def _config(options: Options, task: TaskConfig, line: Line, words: MethodOptions) -> RunConfig:
    given = [*words.get(line.method, ()), *line.words()]
    backbone = line.backbone or options.backbones[0]
    config = configuration(options, task, line.method, given, backbone=backbone)
    return replace(
        config,
        control=line.control,
        test_rows=options.test_rows,
        val_rows=options.val_rows,
    )
