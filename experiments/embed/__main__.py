"""The backbone as a featurizer: embeddings of every layer, a map, and what classifiers find.

`python -m experiments.embed task=biotype backbone=bundled data=DIR` writes, below `out`,
embeddings.safetensors (an array (N, D) a layer), rows.tsv (what row is what), and two pictures with
their tables: f1_by_layer, the macro-F1 of classifiers on every layer and on baselines that read no
backbone, and a 2-D map.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import save_arrays, write_text
from backbone.common.options import help_text, option, read_options
from backbone.hyena.zoo import load
from backbone.sequence.dna import gc_content
from backbone.sequence.kmers import kmer_frequencies
from experiments.common.command import exit_code
from experiments.embed.classifiers import CLASSIFIERS
from experiments.embed.picture import draw_f1, draw_map
from experiments.embed.projection import PROJECTIONS, project
from experiments.pictures.style import save
from icl.environment import prepare_arithmetic
from icl.inference.embedding import Precision, Strands, embed, layer_names
from tasks.catalog import TASKS
from tasks.metrics.bootstrap import mean_over_divisions
from tasks.metrics.classification import evaluate
from tasks.registry import build_task, options_class
from tasks.task import Task, data_folder

COMMAND = "python -m experiments.embed"
CHOICES = {"strands": ("both", "forward"), "precision": ("float32", "bf16")}
KMERS = (3, 4, 5)
"""Lengths of the counts that stand beside the layers; validation chooses between them."""

KMER_COUNTS, LENGTH_AND_GC = "k-mer counts", "length and GC"


@dataclass
class Options:
    """What the command line can set, beside `task.NAME=VALUE`."""

    task: str = option("biotype", "the task")
    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option("runs-embed", "folder of what is written")
    divisions: int = option(5, "split_seed=0, 1, ...: classifiers are fitted on each")
    layers: list[str] = option([], "some of embedding, block_1, ..., final_norm; [] for all")
    strands: str = option("both", "both (averaged), or forward")
    classifiers: list[str] = option(list(CLASSIFIERS), "what is fitted on the embeddings")
    map: str = option("tsne", f"the 2-D map: {' or '.join(PROJECTIONS)}, or none")
    map_layer: str | None = option(None, "layer of the map; by default the best on validation")
    seed: int = option(0, "moves the map and the classifiers")
    device: str = option("cpu", "cpu, cuda or mps")
    precision: str = option("float32", "float32 or bf16")
    threads: int = option(2, "threads of the arithmetic")


@dataclass(frozen=True)
class Pool:
    """All rows of a task, each once, and where every division puts them.

    Attributes:
        sequences: (N,) distinct pairs of sequence and class.
        labels: (N,) classes.
        divisions: For each division the row numbers of train, val and test.
        origin: Where the rows of the first division come from.
    """

    sequences: list[str]
    labels: np.ndarray
    divisions: list[dict[str, np.ndarray]]
    origin: str


def pool_of(task: Task, data: Path | None, divisions: int) -> Pool:
    """The rows of several divisions as one pool."""
    place: dict[tuple[str, int], int] = {}
    found = []
    origin = ""
    for seed in range(divisions):
        splits = task.splits(seed, data)
        origin = origin or splits.origin
        parts = {"train": splits.train, "val": splits.val, "test": splits.test}
        found.append(
            {
                name: np.array([place.setdefault((r.sequence, r.label), len(place)) for r in rows])
                for name, rows in parts.items()
            }
        )
    sequences, labels = zip(*place, strict=True)
    return Pool(list(sequences), np.array(labels), found, origin)


def f1_table(
    features: Mapping[str, Sequence[np.ndarray]],
    pool: Pool,
    classifiers: Sequence[str],
    classes: int,
    seed: int,
) -> pd.DataFrame:
    """Macro-F1 of classifiers on features, on the test rows of every division.

    Args:
        features: By name one table (N, F) of the pool's rows, or several, between which the
            validation rows of each division choose.
        pool: The rows.
        classifiers: Their names.
        classes: Number of classes.
        seed: Of the classifiers.

    Returns:
        A row for each name and classifier: features, classifier, f1, low, high, accuracy,
        validation_f1, divisions. The interval is Student's t over divisions; of one division it is
        the bootstrap over its test rows.
    """
    rows = []
    for name, tables in features.items():
        for classifier in classifiers:
            found = [
                _scored(tables, pool, d, CLASSIFIERS[classifier], classes, seed)
                for d in pool.divisions
            ]
            f1 = mean_over_divisions([metrics["macro_f1"] for _, metrics in found])
            rows.append(
                {
                    "features": name,
                    "classifier": classifier,
                    "f1": f1.value,
                    "low": f1.low,
                    "high": f1.high,
                    "accuracy": float(np.mean([m["accuracy"].value for _, m in found])),
                    "validation_f1": float(np.mean([validation for validation, _ in found])),
                    "divisions": len(found),
                }
            )
    return pd.DataFrame(rows)


def _scored(
    tables: Sequence[np.ndarray],
    pool: Pool,
    division: Mapping[str, np.ndarray],
    fit: Any,
    classes: int,
    seed: int,
) -> tuple[float, dict[str, Any]]:
    """Validation F1 and test metrics of the table that is best on validation."""
    train, val, test = (division[name] for name in ("train", "val", "test"))
    best: tuple[float, dict[str, Any]] | None = None
    for table in tables:
        learned = (table[train], pool.labels[train]), (table[val], pool.labels[val])
        scores = fit(*learned, table[np.concatenate([val, test])], classes, seed)
        validation = evaluate(pool.labels[val], scores[: len(val)], resamples=1)["macro_f1"].value
        if best is None or validation > best[0]:
            best = validation, evaluate(pool.labels[test], scores[len(val) :])
    assert best is not None
    return best


def baselines(sequences: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """What can be said without a backbone: counts of k-mers, and length with GC content alone."""
    simple = np.array([[np.log(len(s)), gc_content(s)] for s in sequences])
    counts = [kmer_frequencies(sequences, kmer) for kmer in KMERS]
    return {KMER_COUNTS: counts, LENGTH_AND_GC: [simple]}


def run(options: Options, own: Sequence[str] = ()) -> list[Path]:
    """Embeds, classifies, draws and writes; returns the paths of what was written.

    Args:
        options: What the command line set.
        own: Options of the task, as `name=value`.

    Raises:
        InputError: If options, data or backbone cannot be used; nothing is then written.
    """
    _check(options)
    prepare_arithmetic(options.threads, options.device)
    name = TASKS.get(options.task).name
    task = build_task(replace(read_options(options_class(options.task), own), name=name))
    if task.kind != "classes":
        raise InputError(f"task={options.task} is {task.kind}: classifiers need a task of classes")
    pool = pool_of(task, data_folder(options.data), options.divisions)
    model = load(options.backbone, options.device)
    known = layer_names(model)
    if options.map_layer is not None and options.map_layer not in known:
        raise InputError(f"map_layer={options.map_layer}: layers are {', '.join(known)}")
    print(f"{len(pool.sequences)} rows of {task.name}, {pool.origin}", flush=True)
    states = embed(
        model,
        pool.sequences,
        options.layers or None,
        strands=cast(Strands, options.strands),
        device=options.device,
        precision=cast(Precision, options.precision),
    )
    beside = baselines(pool.sequences)
    features = {**{layer: [table] for layer, table in states.items()}, **beside}
    table = f1_table(features, pool, options.classifiers, len(task.labels), options.seed)
    print(table.round(3).to_string(index=False), flush=True)

    out = Path(options.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    save_arrays(
        out / "embeddings.safetensors", {n: t.astype(np.float32) for n, t in states.items()}
    )
    write_text(out / "rows.tsv", _rows(task, pool).to_csv(sep="\t", index=False))
    facts = f"backbone {options.backbone} · {len(pool.sequences):,} rows"
    figure = draw_f1(table, task.name, list(states), [KMER_COUNTS, LENGTH_AND_GC], facts)
    written = [out / "embeddings.safetensors", out / "rows.tsv"]
    written += save(figure, table, f"f1_by_layer_{task.name}", out)
    if options.map != "none":
        layer = options.map_layer or _best_layer(table, list(states))
        maps = {
            f"{layer} of the backbone": project(states[layer], options.map, options.seed),
            "4-mer counts": project(beside[KMER_COUNTS][KMERS.index(4)], options.map, options.seed),
        }
        places = pd.concat(
            [pd.DataFrame({"map": title, "row": range(len(xy)), "x": xy[:, 0], "y": xy[:, 1]})
             for title, xy in maps.items()]
        )  # fmt: skip
        figure = draw_map(maps, [task.labels[i] for i in pool.labels], task, options.map, facts)
        written += save(figure, places.round(3), f"map_{task.name}", out)
    return written


def _check(options: Options) -> None:
    for name, choices in CHOICES.items():
        if getattr(options, name) not in choices:
            raise InputError(f"{name}={getattr(options, name)}: must be {' or '.join(choices)}")
    if options.map not in (*PROJECTIONS, "none"):
        raise InputError(f"map={options.map}: must be {', '.join(PROJECTIONS)} or none")
    if not options.classifiers or not set(options.classifiers) <= set(CLASSIFIERS):
        given = ", ".join(options.classifiers)
        raise InputError(f"classifiers=[{given}]: give some of {', '.join(CLASSIFIERS)}")
    if options.divisions < 1:
        raise InputError(f"divisions={options.divisions}: must be 1 or more")


def _best_layer(table: pd.DataFrame, layers: Sequence[str]) -> str:
    of_layers = table[table["features"].isin(layers)]
    best = int(of_layers["validation_f1"].to_numpy(float).argmax())
    return str(of_layers["features"].iloc[best])


def _rows(task: Task, pool: Pool) -> pd.DataFrame:
    """What row is what: class, length, GC content, and its split in every division."""
    table = pd.DataFrame(
        {
            "row": range(len(pool.sequences)),
            "label": [task.labels[i] for i in pool.labels],
            "length": [len(sequence) for sequence in pool.sequences],
            "gc": [round(gc_content(sequence), 4) for sequence in pool.sequences],
        }
    )
    for seed, division in enumerate(pool.divisions):
        split = np.full(len(table), "", dtype=object)
        for name, rows in division.items():
            split[rows] = name
        table[f"split_{seed}"] = split
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print(help_text(Options, COMMAND))
        print(f"  {'task.NAME=VALUE':<32} an option of the task, as task.lengths=matched")
        return 0
    own = [word.removeprefix("task.") for word in arguments if word.startswith("task.")]
    rest = [word for word in arguments if not word.startswith("task.")]
    return exit_code(lambda: run(read_options(Options, rest), own))


if __name__ == "__main__":
    sys.exit(main())
