"""The options of a run, their allowed values, and their composition on the command line.

Hydra reads two groups, `task` and `method`, with one entry per registered task and method; all
other options are fields of `RunConfig`.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from backbone.common.errors import InputError
from backbone.common.names import unknown
from backbone.common.options import check_options, option, option_lines
from backbone.common.plugins import import_plugins
from backbone.devices import device_option
from icl.controls import OTHER_TASK, applicable, check_control, controlled_backbone
from icl.method import Budget, MethodConfig, MethodEntry
from icl.methods.catalog import METHODS
from icl.tuning.config import TuningConfig
from tasks.catalog import TASKS
from tasks.division import DIVISIONS
from tasks.kinds import kind_of
from tasks.registry import (
    TaskConfig,
    build_task,
    default_options,
    options_class,
    result_options,
)
from tasks.task import Task

RESULT_VERSION = 4
"""Version of the results of all methods, part of the name of every run.

Raise it whenever results change for the same options, seed and data whatever the method: how rows
are divided, subsets and shuffled labels drawn, scores turned into metrics. What changes the results
of one method alone raises the version in its decorator. 1 stands for reports without a version.
"""

WITHOUT_THREADS = 3
"""The version of all results from which on none depends on the number of threads."""

CHANNEL_VERSION, CHANNEL_TUNING_VERSION = 3, 4
"""Versions of the results of `method.readout=channel`, in whichever method: of those that learn by
demonstrations alone, and of those that tune."""

EMBEDDING_VERSION = 2
"""Version of the mean states by which `method.chooser=nearest_embedding` chooses demonstrations.
Methods whose features they are raise their own."""

DEFAULT_BACKBONE = "bundled"

CONFIG_NAME = "run"
GROUPS = ("task", "method")


@dataclass
class VerbalizerConfig:
    """The label words."""

    words: list[str] | None = option(None, "one nucleotide word per class, as [A,N]")


@dataclass
class RunConfig:
    """Every option of `python -m icl.run`."""

    task: Any = MISSING
    method: Any = MISSING
    k: int | None = option(None, "the method's budget: prompt tokens, or shots per class", least=0)
    prompt_tokens: int | None = option(None, "learned vectors (k of the soft prompts)", least=0)
    shots: int | None = option(None, "demonstrations per class (k of few_shot)", least=0)
    seed: int = option(0, "seed of training and of everything drawn at random", least=0)
    seeds: int = option(1, "number of runs, with seed, seed+1, ...", least=1)
    split_seed: int = option(
        0, "seed of the random split, if the task has no split of its own", least=0
    )
    split: str = option(
        "official",
        "how the rows are split; clean drops test rows related to training rows",
        choices=DIVISIONS,
    )
    strict: bool = option(False, "refuse to run if test rows are copies of training rows")
    audit: str = option(
        "relatives",
        "search for evaluated rows related to training rows; none skips it",
        choices=("relatives", "none"),
    )
    n_train: int | None = option(None, "train on a stratified subset of this many rows", least=1)
    val_rows: int | None = option(
        None, "use at most this many validation rows, drawn by class under the seed", least=1
    )
    test_rows: int | None = option(
        None, "score at most this many test rows, drawn by class under the seed", least=1
    )
    truncate: str = option(
        "none",
        "which end to cut if a row is too long for the backbone",
        choices=("none", "left", "right", "center"),
    )
    max_bases: int | None = option(
        None, "with truncate: maximum length of a row in bases; by default as many as fit", least=1
    )
    controls: list[str] = option([], "also run these controls, as [a,b], or [all] that apply")
    control: str | None = option(None, "run only this control, without the plain run")
    other_task: str = option("synthetic_easy", "task whose rows demos_other_task uses")
    backbone: str = option(
        DEFAULT_BACKBONE, "a checkpoint's name, a folder, hf:FOLDER_OR_ID, or random:NAME"
    )
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option("runs", "folder in which runs are kept")
    evaluate: str = option("test", "split that is scored at the end", choices=("test", "val"))
    columns: list[str] = option([], "additional columns of predictions.tsv", choices=("sequence",))
    device: str = device_option()
    threads: int = option(2, "CPU threads; no result depends on them", least=1)
    precision: str = option("float32", "arithmetic of the backbone", choices=("float32", "bf16"))
    batch_size: int = option(64, "rows per forward pass", least=1)
    keep_gb: int | None = option(None, "memory limit in GB for cached states; default 2", least=0)
    disk_gb: int = option(
        2, "GB in the user's cache folder for states that later runs read; 0 for none", least=0
    )
    force: bool = option(False, "repeat a run that is already finished")
    plugins: list[str] = option([], "modules with methods or tasks, as [my_lab.methods]")
    verbalizer: VerbalizerConfig = option(VerbalizerConfig, "")


@dataclass
class _Command(RunConfig):
    """`RunConfig` with the list that tells Hydra of the groups."""

    defaults: list[Any] = field(
        default_factory=lambda: [
            "_self_",
            {"task": MISSING},
            {"method": MISSING},
        ]
    )


def register() -> None:
    """Tell Hydra every task, every method and the options of a run."""
    store = ConfigStore.instance()
    store.store(name=CONFIG_NAME, node=_Command)
    for name in TASKS.names():
        store.store(group="task", name=name, node=default_options(name))
    for name in METHODS.names():
        store.store(group="method", name=name, node=METHODS.get(name).config(name=name))


def configure(task: str, method: str, values: Mapping[str, Any]) -> RunConfig:
    """Return the resolved configuration of a run.

    Args:
        task: Name of the task.
        method: Name of the method.
        values: Options by their names on the command line, such as "k", "method.lr", "task.label".

    Raises:
        InputError: If a name is unknown, or a value is none that the option can have.
    """
    base = RunConfig(task=default_options(task), method=method_options(method))
    lines = [*option_lines(RunConfig), *option_lines(type(base.task), "task.")]
    lines += option_lines(type(base.method), "method.")
    known = [line.partition("=")[0] for line in lines]
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise unknown("option", name, known)
        at, _, last = name.rpartition(".")
        plain = value.replace("${", r"\${") if isinstance(value, str) else value
        (nested.setdefault(at, {}) if at else nested)[last] = plain
    try:
        merged = OmegaConf.merge(OmegaConf.structured(base), nested)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, RunConfig)
    return resolve(config)


def method_options(name: str) -> MethodConfig:
    """Return the options of a method at their defaults.

    Raises:
        InputError: If the name is unknown.
    """
    made = METHODS.get(name)
    return made.config(name=made.cls.name)


def from_hydra(cfg: DictConfig) -> RunConfig:
    """The composed configuration as plain dataclasses, checked and with its budget resolved."""
    values = {f.name: cfg[f.name] for f in fields(RunConfig)}
    objects: dict[str, Any] = {
        name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
        for name, value in values.items()
    }
    return resolve(RunConfig(**objects))


def from_dict(values: dict[str, Any]) -> RunConfig:
    """Return the configuration that a report carries, as dataclasses again.

    The plugins of the run are imported first.

    Raises:
        InputError: If an option is unknown to this version of the task or method.
    """
    import_plugins(values.get("plugins", []))
    try:
        return RunConfig(
            **{
                **values,
                "task": options_class(values["task"]["name"])(**values["task"]),
                "method": METHODS.get(values["method"]["name"]).config(**values["method"]),
                "verbalizer": VerbalizerConfig(**values["verbalizer"]),
            }
        )
    except (TypeError, KeyError) as error:
        raise InputError(f"the run's options are not those of this version: {error}") from error


def resolve(config: RunConfig) -> RunConfig:
    """Check every option, turn `k` into the method's budget, and name all controls.

    Task and method may be given by their names alone, with their options at the defaults.

    Returns:
        A copy in which `k` equals the one of `prompt_tokens` and `shots` that is the method's
        budget; the other is a number if the method takes it too, else None; all three are None for
        a method without a budget.

    Raises:
        InputError: If a value is none that a run can have, budgets disagree, or the method ignores
            an option that is given.
    """
    config = _with_objects(config)
    check_options(config)
    if config.max_bases is not None and config.truncate == "none":
        raise InputError(
            f"max_bases={config.max_bases}: choose which bases of longer rows are dropped, with "
            f"truncate=right (the end), left or center"
        )
    if config.test_rows is not None and config.evaluate == "val":
        raise InputError(
            f"test_rows={config.test_rows}: evaluate=val scores no test row; give val_rows="
        )
    made = entry(config)
    prompt_tokens, shots = resolve_budget(made, config)
    if config.verbalizer.words is not None and not made.label_words:
        raise InputError(f"verbalizer.words: method {made.cls.name} reads no label words; drop it")
    config = replace(
        config,
        k={"prompt_tokens": prompt_tokens, "shots": shots, None: None}[made.budget],
        prompt_tokens=prompt_tokens,
        shots=shots,
    )
    return replace(config, controls=_controls(config))


def _with_objects(config: RunConfig) -> RunConfig:
    """Return a configuration whose task and method are dataclasses of options, not names."""
    for name in GROUPS:
        if getattr(config, name) == MISSING:
            raise InputError(f"{name}= is missing; it must be given")
    if isinstance(config.task, str):
        config = replace(config, task=default_options(config.task))
    if isinstance(config.method, str):
        config = replace(config, method=method_options(config.method))
    return config


def resolve_budget(method: MethodEntry, config: RunConfig) -> tuple[int | None, int | None]:
    """Return what `k`, `prompt_tokens` and `shots` ask of a method: (prompt_tokens, shots).

    Raises:
        InputError: If they disagree, or the method has no such budget.
    """
    name = method.cls.name
    if method.budget is None:
        for option_name in ("k", "prompt_tokens", "shots"):
            if getattr(config, option_name) is not None:
                raise InputError(
                    f"{option_name}={getattr(config, option_name)}: method {name} has neither "
                    f"prompt tokens nor shots; drop it"
                )
        return None, None
    other: Budget = "shots" if method.budget == "prompt_tokens" else "prompt_tokens"
    beside = getattr(config, other)
    if other in method.extra_budgets:
        beside = beside or 0
    elif beside is not None:
        raise InputError(f"{other}: method {name} has none; its budget is {method.budget}")
    given = getattr(config, method.budget)
    if None not in (config.k, given) and config.k != given:
        raise InputError(
            f"k={config.k} and {method.budget}={given} disagree: for method {name} they are the "
            f"same number; give one"
        )
    value = next((v for v in (config.k, given) if v is not None), method.default_budget)
    return (value, beside) if method.budget == "prompt_tokens" else (beside, value)


def _controls(config: RunConfig) -> list[str]:
    """Return the controls that a run with a resolved budget asks for, each once.

    Of `all`, those that cannot be run are left out, with a line on standard error.
    """
    if config.control is not None and config.controls:
        raise InputError("give control=NAME for a single control, or controls=[...], not both")
    fitting = applicable(entry(config), config.shots)
    named = config.controls if config.control is None else [config.control]
    if named != ["all"]:
        for name in named:
            _check_control(name, config, fitting)
        return list(dict.fromkeys(config.controls))
    controls = []
    for name in fitting:
        try:
            _check_control(name, config, fitting)
        except InputError as reason:
            print(f"control {name} is left out: {reason}", file=sys.stderr)
        else:
            controls.append(name)
    return controls


def _check_control(name: str, config: RunConfig, fitting: list[str]) -> None:
    check_control(name, config.method.name, fitting)
    controlled_backbone(config.backbone, name)
    if name == OTHER_TASK:
        _check_other_task(config)


def _check_other_task(config: RunConfig) -> None:
    """Refuse another task that has too few classes for demonstrations of this one."""
    task, other = build_task(config.task), build_task(default_options(config.other_task))
    if other.name == task.name:
        raise InputError(f"other_task={other.name} is the task itself; give another one")
    if other.kind != "classes":
        raise InputError(
            f"other_task={other.name} is {kind_of(other).description}; give a classification task"
        )
    if len(other.labels) < len(task.labels):
        raise InputError(
            f"other_task={other.name} has {len(other.labels)} classes and {task.name} has "
            f"{len(task.labels)}; give one with as many"
        )


def check_kind(config: RunConfig, task: Task) -> None:
    """Refuses a method that cannot do the task.

    Raises:
        InputError: With the methods that suit the task.
    """
    if task.kind in entry(config).kinds:
        return
    suiting = [name for name in METHODS.names() if task.kind in METHODS.get(name).kinds]
    one_label = (
        "; task.label=NAME turns one label into a two-class task"
        if any(f.name == "label" for f in fields(config.task)) and task.kind == "multi_label"
        else ""
    )
    raise InputError(
        f"method {config.method.name} does not support task {task.name}, which is "
        f"{kind_of(task).description}; methods that do: {', '.join(suiting)}{one_label}"
    )


def entry(config: RunConfig) -> MethodEntry:
    """The registered method that a configuration asks for."""
    return METHODS.get(config.method.name)


def identity(config: RunConfig) -> dict[str, Any]:
    """Return what can change the result of a resolved configuration, as plain values.

    That is the version of the code and every setting but these: where things are kept (`out`,
    `data`, `backbone`, paths of the task: their contents count, by their sha256), how often
    (`seeds`, `force`), how many rows at once (`batch_size`), on how many `threads`, what is kept on
    disk (`disk_gb`), what is said of them (`columns`), what else is run (`controls`), what is
    refused (`strict`), the official division, options of the method that its others make idle and,
    for a method that reads the sequence alone, everything about the backbone.
    """
    own = asdict(config.method)
    own = {name: value for name, value in own.items() if name not in config.method.unused}
    settings = asdict(config) | {"task": result_options(config.task), "method": own}
    left_out = ["k", "out", "data", "backbone", "seeds", "force", "controls", "strict", "plugins"]
    left_out += ["batch_size", "threads", "columns", "disk_gb"]
    if config.split == "official":
        left_out += ["split"]
    if config.audit == "relatives":
        left_out += ["audit"]
    if not entry(config).uses_backbone:
        left_out += ["device", "precision", "keep_gb", "verbalizer"]
    if config.keep_gb is None:
        left_out += ["keep_gb"]
    if config.control != OTHER_TASK:
        left_out += ["other_task"]
    if config.truncate == "none":
        left_out += ["truncate", "max_bases"]
    left_out += [name for name in ("val_rows", "test_rows") if getattr(config, name) is None]
    kept = {name: value for name, value in settings.items() if name not in left_out}
    return kept | {"version": version(config)}


def version(config: RunConfig) -> list[int]:
    """Return the versions of the results: of all methods, of the method, of what its options use.

    That is the channel readout, or embeddings that choose demonstrations; none uses both.
    """
    found = [RESULT_VERSION, entry(config).version]
    if getattr(config.method, "readout", None) == "channel":
        tunes = isinstance(config.method, TuningConfig)
        found.append(CHANNEL_TUNING_VERSION if tunes else CHANNEL_VERSION)
    if getattr(config.method, "chooser", None) == "nearest_embedding":
        found.append(EMBEDDING_VERSION)
    return found


def earlier_identities(config: RunConfig) -> Iterator[dict[str, Any]]:
    """Yield what `identity` returned for the same settings in earlier versions of the code."""
    now = identity(config)
    # The first versions of the channel and of embeddings had no number.
    of_options = [[], *([n] for latest in now["version"][2:] for n in range(2, latest + 1))]
    for shared in range(1, RESULT_VERSION + 1):
        for own in range(1, entry(config).version + 1):
            for used in of_options:
                if [shared, own, *used] != now["version"]:
                    threads = {"threads": config.threads} if shared < WITHOUT_THREADS else {}
                    yield now | threads | {"version": [shared, own, *used]}
    unversioned = {name: value for name, value in now.items() if name != "version"}
    unversioned["threads"] = config.threads
    if entry(config).uses_backbone:
        unversioned["batch_size"] = config.batch_size
    yield unversioned


__all__ = [
    "configure",
    "method_options",
    "CHANNEL_TUNING_VERSION",
    "CHANNEL_VERSION",
    "EMBEDDING_VERSION",
    "RESULT_VERSION",
    "CONFIG_NAME",
    "GROUPS",
    "MethodConfig",
    "RunConfig",
    "TaskConfig",
    "check_kind",
    "entry",
    "from_dict",
    "from_hydra",
    "earlier_identities",
    "identity",
    "register",
    "resolve",
    "resolve_budget",
    "version",
]
