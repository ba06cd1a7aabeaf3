"""python -m icl.run task=TASK method=METHOD k=16: fit one method on one task and report.

Stages of a run: rows -> method -> check -> identity -> fit -> scores -> metrics -> files.
Nothing is written before all checks have passed.
"""

import functools
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from omegaconf import DictConfig
from rich.console import Console

from backbone.common.command import emit, entry_point, exit_code
from backbone.common.errors import DoesNotFit, InputError
from backbone.common.files import save_arrays, write_text
from backbone.common.memory import keep_objects, without_collection
from backbone.digests import weights_digest
from backbone.state_store import StateStore
from icl.config import options
from icl.config.help import help_text
from icl.config.hydra_cli import Command, Group, composed, launch
from icl.config.options import RunConfig, check_kind
from icl.config.product import is_product, product
from icl.controls import (
    OTHER_TASK,
    controlled_backbone,
    controlled_words,
)
from icl.environment import git_commit, peak_memory_bytes, prepare_arithmetic, versions
from icl.method import ADAPTER, Context, Method
from icl.methods.catalog import METHODS
from icl.progress import ALONE, Watch, shown
from icl.reporting import comparison
from icl.reporting.clean_rows import clean_outcome, exposure_details, relations
from icl.reporting.report import (
    LEARNED,
    PREDICTIONS,
    REPORT,
    RESUME,
    Environment,
    Outcome,
    Report,
    Setup,
    add_columns,
    damage_of,
    read_report,
    run_hash,
    write_report,
)
from icl.reporting.summary import print_summary, terminal
from icl.rows import Divisions, Rows, divided, rows_of
from icl.truncation import cut_of
from tasks.catalog import TASKS
from tasks.kinds import kind_of
from tasks.metrics.classification import evaluate
from tasks.registry import build_task, default_options, options_class
from tasks.task import Example, Splits, Task, data_folder, truth

if TYPE_CHECKING:
    from backbone.protocol import LanguageModel


LOADED = 2
"""Backbones that are kept between the runs of one process: one, and its random control."""

_LOADED: "dict[str, LanguageModel]" = {}


@dataclass(frozen=True)
class Finished:
    """A finished run: its report, its folder, and whether it was there before."""

    report: Report
    folder: Path
    was_there: bool


def run(
    config: RunConfig,
    watch: Watch = ALONE,
    read: Callable[[RunConfig, Task], Splits] = divided,
    load: "Callable[[str, str], LanguageModel] | None" = None,
) -> list[Finished]:
    """Run a configuration: `seeds` runs, then as many runs of every control.

    A finished run is not repeated, unless the code has changed its results since, or one of its
    files is missing or damaged; then a line on standard error says so.

    Args:
        config: The options.
        watch: What else sees the runs.
        read: Returns the rows of the task, divided; `icl.rows.Divisions` keeps them between calls.
        load: Returns a backbone by its name and device; `shared_backbone` if not given.

    Raises:
        InputError: If options, data or backbone cannot be used; nothing is then written.
    """
    config = options.resolve(config)
    prepare_arithmetic(config.threads, config.device)
    task = build_task(config.task)
    check_kind(config, task)
    splits = read(config, task)
    finished = []
    for one in [config, *(replace(config, control=name) for name in config.controls)]:
        load_backbone = functools.cache(
            functools.partial(
                load or shared_backbone, controlled_backbone(one.backbone, one.control), one.device
            )
        )
        for seed in range(config.seed, config.seed + config.seeds):
            single = replace(one, seed=seed, seeds=1, controls=[])
            finished.append(_run_once(single, task, splits, load_backbone, watch))
    return finished


def _run_once(
    config: RunConfig,
    task: Task,
    splits: Splits,
    load_backbone: "Callable[[], LanguageModel]",
    watch: Watch,
) -> Finished:
    rows = rows_of(config, splits)
    cut = cut_of(config, task, load_backbone)
    notes = [*splits.notes, *_backbone_notes(config)]
    facts: dict[str, Any] = {"notes": notes} if notes else {}
    if cut is not None:
        parts = (rows.train, rows.val, rows.evaluated)
        facts |= {"rows_cut": sum(map(cut.count, parts)), "max_bases": cut.most}
        train, val, evaluated = map(cut.rows, parts)
        rows = replace(rows, train=train, val=val, evaluated=evaluated)
    method = _method(config, task, load_backbone, rows)
    weights = _weights_sha256(config, load_backbone)
    named = functools.partial(
        run_hash,
        data_sha256=splits.sha256,
        data_revision=splits.revision,
        weights_sha256=weights,
    )
    hashed = config if cut is None else replace(config, max_bases=cut.most)
    name = named(options.identity(hashed))
    runs = Path(config.out).expanduser() / task.name / method.name
    with watch.claim(name):
        if (runs / name / REPORT).exists() and not config.force:
            damage = damage_of(runs / name, len(rows.evaluated))
            if damage is None:
                add_columns(runs / name, rows.evaluated, config.columns)
                return Finished(read_report(runs / name), runs / name, was_there=True)
            _say(f"{damage}; the run is repeated")
        elif not config.force:
            for earlier in map(named, options.earlier_identities(hashed)):
                if (runs / earlier / REPORT).exists():
                    _say(
                        f"{runs / earlier} is of an earlier version of the code, whose results may "
                        f"differ; the run is done again in {runs / name}"
                    )
        watch.start()
        method.check([*rows.train, *rows.val, *rows.evaluated])
        if weights:
            _check_backbone(config, load_backbone, rows.train[0].sequence)
        method.prepare(rows.train, rows.val)
        report = _learn(config, task, splits, rows, method, weights, runs / name, facts, watch)
        return Finished(report, runs / name, was_there=False)


def _backbone_notes(config: RunConfig) -> list[str]:
    """Return a line that recommends a backbone better suited to the method than the default."""
    suited, used = (
        config.method.suited_backbone,
        controlled_backbone(config.backbone, config.control),
    )
    if suited is None or used != options.DEFAULT_BACKBONE:
        return []
    return [
        f"backbone={suited} learns more from the demonstrations of method={config.method.name} "
        f"with these options than backbone={used} (docs/results)"
    ]


def _say(line: str) -> None:
    Console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)


def _learn(
    config: RunConfig,
    task: Task,
    splits: Splits,
    rows: Rows,
    method: Method,
    weights: str | None,
    folder: Path,
    facts: dict[str, Any],
    watch: Watch,
) -> Report:
    """Fit, score and write; the report, with the `facts` known before, comes last."""
    console = Console(stderr=True)
    budget = "" if config.k is None else f" k={config.k}"
    changed = "" if config.control is None else f", {config.control}"
    title = f"{method.name}{budget} on {task.name}, seed {config.seed}{changed}"
    relation = relations(config, splits, rows.scored)
    with _folder(folder, config) as resume, shown(title, console, watch) as show:
        method.context = replace(
            method.context, run_dir=resume, progress=show.epoch, rows_done=show.rows
        )
        start = time.perf_counter()
        method.fit(rows.train, rows.val)
        scores = method.scores(rows.evaluated)
        full_vocabulary = method.full_vocabulary_accuracy(rows.evaluated)
        seconds = time.perf_counter() - start
        metrics, details = kind_of(task).measure(task, rows.evaluated, scores)
        if weights:
            from backbone.models import backbone_details

            details |= exposure_details(config, task, splits, rows.scored, scores)
            details |= backbone_details(method.context.load_backbone())
        before = _uncalibrated(method, rows.evaluated)
        report = Report(
            setup=Setup(
                task=task.name,
                method=method.name,
                k=config.k,
                prompt_tokens=method.prompt_tokens,
                shots=method.shots,
                tuning_samples=method.tuning_samples,
                control=config.control,
                seed=config.seed,
                split_seed=config.split_seed,
                backbone=controlled_backbone(config.backbone, config.control) if weights else None,
                weights_sha256=weights,
                labels=task.labels,
                kind=task.kind,
                best_accuracy=task.best_accuracy,
                evaluated_on=config.evaluate,
                n_train=len(rows.train),
                n_val=len(rows.val),
                n_test=len(splits.test),
                split_origin=splits.origin,
                data_sha256=splits.sha256,
                data_revision=splits.revision,
                config=asdict(config),
                n_scored=len(rows.scored),
            ),
            outcome=Outcome(
                metrics=metrics,
                validation=method.validation,
                details=facts | method.details | before | details,
                gc_matched_accuracy=kind_of(task).gc_matched_accuracy(rows.evaluated, scores),
                full_vocabulary_accuracy=full_vocabulary,
                trainable_parameters=method.trainable_parameters,
                **clean_outcome(task, rows.evaluated, scores, relation, metrics),
            ),
            environment=Environment(
                device=config.device if weights else "cpu",
                threads=config.threads,
                seconds=seconds,
                peak_memory_bytes=peak_memory_bytes(config.device),
                git_commit=git_commit(),
                versions=versions() | {"results": result_version(config)},
            ),
        )
        # An older report must not exist next to newer predictions, not even for a moment.
        (folder / REPORT).unlink(missing_ok=True)
        table = kind_of(task).predictions(task, rows.evaluated, scores, config.columns)
        write_text(folder / PREDICTIONS, table)
        save_arrays(folder / LEARNED, method.state())
        method.save_adapter(folder)
        if (folder / ADAPTER).is_dir():
            _name_backbone(folder / ADAPTER, config)
        write_report(folder, report)
        shutil.rmtree(resume)
    return report


def _name_backbone(adapter: Path, config: RunConfig) -> None:
    from icl.tuning.peft_export import name_backbone

    name_backbone(adapter, controlled_backbone(config.backbone, config.control))


def _uncalibrated(method: Method, examples: Sequence[Example]) -> dict[str, Any]:
    """Return the calibration error before calibration, for a method that calibrates."""
    scores = method.uncalibrated_scores(examples)
    if scores is None:
        return {}
    return {"ece_before_calibration": evaluate(truth(examples), scores)["ece"].value}


def result_version(config: RunConfig) -> str:
    """Return the versions of the results, as `2.1`; see `options.version`."""
    return ".".join(map(str, options.version(config)))


def _method(
    config: RunConfig, task: Task, load_backbone: "Callable[[], LanguageModel]", rows: Rows
) -> Method:
    context = Context(
        labels=task.labels,
        kind=task.kind,
        seed=config.seed,
        load_backbone=load_backbone,
        device=config.device,
        precision=cast(Literal["float32", "bf16"], config.precision),
        batch_size=config.batch_size,
        prompt_tokens=config.prompt_tokens,
        shots=config.shots,
        label_words=controlled_words(config.verbalizer.words, config.control, len(task.labels)),
        control=config.control,
        other_rows=other_rows(config),
        queries=[e.sequence for e in (*rows.val, *rows.evaluated)],
        kept_bytes=None if config.keep_gb is None else config.keep_gb * 10**9,
        store=_store(config),
    )
    return options.entry(config).cls(config.method, context)


def _store(config: RunConfig) -> StateStore | None:
    """Return where a run's encoded rows are kept on disk: on a CPU, where they can be repeated."""
    if config.disk_gb == 0 or config.device != "cpu" or not options.entry(config).uses_backbone:
        return None
    return StateStore(config.disk_gb * 10**9)


def shared_backbone(name: str, device: str) -> "LanguageModel":
    """Return a frozen backbone of DNA; runs of one process share it and its encoded rows.

    Raises:
        InputError: If it cannot be loaded, or reads another alphabet.
    """
    with without_collection():
        from backbone.models import load, weights_sha256
    from backbone.tokens import TOKENS

    model = load(name, device)
    if model.config.vocab_size != len(TOKENS):
        raise InputError(
            f"backbone={name} has {model.config.vocab_size} tokens, those of another alphabet; "
            f"tasks are DNA, whose backbones have {len(TOKENS)}"
        )
    shared = _LOADED.setdefault(f"{weights_sha256(model)} {device}", model)
    while len(_LOADED) > LOADED:
        del _LOADED[next(iter(_LOADED))]
    return shared


def _check_backbone(
    config: RunConfig, load_backbone: "Callable[[], LanguageModel]", sequence: str
) -> None:
    from icl.inference.embedding import check_backbone

    precision = cast(Literal["float32", "bf16"], config.precision)
    check_backbone(load_backbone(), sequence, device=config.device, precision=precision)


def _weights_sha256(config: RunConfig, load_backbone: "Callable[[], LanguageModel]") -> str | None:
    if not options.entry(config).uses_backbone:
        return None

    def compute() -> str:
        from backbone.models import weights_sha256

        return weights_sha256(load_backbone())

    return weights_digest(controlled_backbone(config.backbone, config.control), compute)


def other_rows(config: RunConfig) -> Callable[[], Sequence[Example]] | None:
    """Return the training rows of the other task, if the run's control uses them."""
    if config.control != OTHER_TASK:
        return None
    other, data = build_task(default_options(config.other_task)), data_folder(config.data)
    return functools.cache(lambda: other.splits(config.split_seed, data).train)


@contextmanager
def _folder(folder: Path, config: RunConfig) -> Iterator[Path]:
    """Creates a run's folder, and yields the folder for its resumable state.

    If the block fails, the folders that were made and are still empty are removed.
    """
    resume = folder / RESUME
    made = [path for path in (resume, *resume.parents) if not path.exists()]
    if config.force:
        shutil.rmtree(resume, ignore_errors=True)
    try:
        resume.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out={config.out}: cannot write there ({error.strerror})") from error
    try:
        yield resume
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _load_in_command(name: str, device: str) -> "LanguageModel":
    """Return a backbone, and leave what is loaded by then out of later searches for cycles.

    For the command line, whose process does nothing else; a caller of `run` may.
    """
    model = shared_backbone(name, device)
    keep_objects()
    return model


def job(cfg: DictConfig) -> None:
    """Run what Hydra composed, and show the table."""
    config = options.from_hydra(cfg)
    finished = run(config, load=_load_in_command)
    for done in finished:
        if done.was_there:
            print(f"already there: {done.folder} (force=true repeats it)")
    reports, folders = [done.report for done in finished], [done.folder for done in finished]
    print_summary(Path(config.out).expanduser(), reports, folders)
    emit({"runs": comparison.as_records(list(zip(reports, folders, strict=True)))})


def run_product(words: Sequence[str]) -> list[object]:
    """Run every task with every method, show one table, and write it, for each task as well.

    Combinations that a method does not support, or that do not fit the backbone, are left out with
    a line on standard error. Nothing runs before all options of all runs are checked.

    Returns:
        The tables' paths, and the runs for `--json`.

    Raises:
        InputError: If an option or the data cannot be used, or no run is left.
    """
    configs = [options.from_hydra(composed(COMMAND, line)) for line in product(words)]
    finished: list[Finished] = []
    read = Divisions()
    for number, config in enumerate(configs, start=1):
        task = build_task(config.task)
        title = f"[{number}/{len(configs)}] {config.method.name} on {task.name}"
        if task.kind not in options.entry(config).kinds:
            _say(f"{title}: left out, the method does not do {kind_of(task).description}")
            continue
        _say(title)
        try:
            finished += run(config, read=read, load=_load_in_command)
        except DoesNotFit as reason:
            _say(f"    left out: {reason}")
    if not finished:
        raise InputError("no run is left; the lines above say why each was left out")
    runs = [(done.report, done.folder) for done in finished]
    terminal().print(comparison.comparison_table(runs))
    return [*_write_summaries(configs[0], runs), {"runs": comparison.as_records(runs)}]


def _write_summaries(config: RunConfig, runs: Sequence[comparison.Run]) -> list[Path]:
    """Write the table of these runs, and that of each task in its folder."""
    out, table = Path(config.out).expanduser(), comparison.comparison(runs)
    parts = {out: table} | {out / str(task): part for task, part in table.groupby("task")}
    for folder, part in parts.items():
        write_text(folder / comparison.SUMMARY, part.to_csv(index=False))
    return [folder / comparison.SUMMARY for folder in parts]


COMMAND = Command(
    config_name=options.CONFIG_NAME,
    schema=RunConfig,
    groups={
        "task": Group(
            canonical=lambda name: TASKS.get(name).name,
            schema=options_class,
            names=TASKS.names,
        ),
        "method": Group(
            canonical=lambda name: METHODS.get(name).cls.name,
            schema=lambda name: METHODS.get(name).config,
            names=METHODS.names,
        ),
    },
    required=(),
    help_text=help_text,
    job=job,
    register=options.register,
)


@entry_point
def main(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    if is_product(argv) and not {"-m", "--multirun", "--help", "-h"} & set(argv):
        return exit_code(lambda: run_product(argv))
    return launch(COMMAND, argv)


if __name__ == "__main__":
    sys.exit(main())
