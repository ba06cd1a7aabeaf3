"""Embeddings of DNA from every layer of a backbone, a map, and classifiers on them.

`python -m experiments.embed task=biotype backbone=bundled data=DIR` writes to the folder `out`:
embeddings.safetensors (an array (N, D) for each layer), rows.tsv (the rows), and two figures with
their tables, a 2-D map and f1_by_layer, the macro-F1 of classifiers on every layer and of baselines
without a backbone.

`python -m experiments.embed fasta=x.fa` embeds DNA without labels and writes only embeddings and
rows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import save_arrays, write_text
from backbone.common.names import unknown
from backbone.common.options import option, read_options
from backbone.devices import device_option
from backbone.sequence.dna import gc_content
from experiments.common.command import MethodOptions, run_with_methods
from experiments.embed.classifiers import (
    CLASSIFIERS,
    KMER_COUNTS,
    KMERS,
    LENGTH_AND_GC,
    Pool,
    baselines,
    f1_table,
    pool_of,
)
from experiments.embed.picture import draw_f1, draw_map
from experiments.embed.projection import PROJECTIONS, project
from experiments.pictures.style import save
from icl.environment import prepare_arithmetic
from tasks.catalog import TASKS
from tasks.registry import build_task, options_class
from tasks.task import Task, data_folder


@dataclass
class Options:
    """Options of the command."""

    task: str = option("biotype", "name of the task")
    fasta: list[str] = option([], "instead of a task: FASTA files whose records are embedded")
    bed: str | None = option(None, "with fasta=, intervals to embed instead of whole records")
    pool: str = option(
        "mean",
        "with fasta=, one vector per sequence (mean) or per base (none)",
        choices=("mean", "none"),
    )
    format: str = option(
        "safetensors",
        "with fasta=, file format of the embeddings",
        choices=("safetensors", "parquet"),
    )
    backbone: str = option("bundled", "a checkpoint's name, a folder, or random:NAME")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option("runs-embed", "output folder")
    divisions: int = option(
        5, "number of random splits to fit on, with split_seed=0, 1, ...", least=1
    )
    layers: list[str] = option(
        [],
        "layers to embed, of embedding, block_1, ..., final_norm; [] for all, or the last "
        "with fasta=",
    )
    strands: str = option("both", "strands to average", choices=("both", "forward"))
    classifiers: list[str] = option(
        list(CLASSIFIERS), "classifiers fitted to embeddings", choices=tuple(CLASSIFIERS)
    )
    map: str = option("tsne", "method of the 2-D map", choices=(*PROJECTIONS, "none"))
    map_layer: str | None = option(None, "layer of the map; by default the best on validation")
    seed: int = option(0, "seed of the map and the classifiers", least=0)
    device: str = device_option()
    precision: str = option("float32", "arithmetic of the backbone", choices=("float32", "bf16"))
    threads: int = option(2, "CPU threads", least=1)

    @property
    def methods(self) -> Sequence[str]:
        """Names of methods that take options: none."""
        return []


def run(options: Options, words: MethodOptions) -> list[Path]:
    """Embed, classify, draw and write; return the paths of what was written.

    Args:
        options: Options of the command.
        words: Options of the task ("task"), as `NAME=VALUE`.

    Raises:
        InputError: If options, data or backbone cannot be used; nothing is then written.
    """
    if not options.classifiers:
        raise InputError(f"classifiers=[]: give some of {', '.join(CLASSIFIERS)}")
    prepare_arithmetic(options.threads, options.device)
    from backbone.models import load
    from experiments.embed.unlabelled import embed_unlabelled
    from icl.inference.embedding import Precision, Strands, embed, layer_names

    out = Path(options.out).expanduser()
    if options.fasta:
        return embed_unlabelled(
            load(options.backbone, options.device),
            options.fasta,
            options.bed,
            out,
            layers=options.layers,
            pool=options.pool,
            file_format=options.format,
            strands=cast(Strands, options.strands),
            device=options.device,
            precision=cast(Precision, options.precision),
        )
    if options.bed is not None:
        raise InputError(f"bed={options.bed} needs fasta=, whose intervals it names")
    name = TASKS.get(options.task).name
    task = build_task(
        replace(read_options(options_class(options.task), words.get("task", ())), name=name)
    )
    if task.kind != "classes":
        raise InputError(f"task={options.task} is {task.kind}: classifiers need a task of classes")
    pool = pool_of(task, data_folder(options.data), options.divisions)
    model = load(options.backbone, options.device)
    known = layer_names(model)
    if options.map_layer is not None and options.map_layer not in known:
        raise unknown("layer", options.map_layer, known)
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


def _best_layer(table: pd.DataFrame, layers: Sequence[str]) -> str:
    of_layers = table[table["features"].isin(layers)]
    best = int(of_layers["validation_f1"].to_numpy(float).argmax())
    return str(of_layers["features"].iloc[best])


def _rows(task: Task, pool: Pool) -> pd.DataFrame:
    """Return class, length, GC content and the split in every division of each row."""
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


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    forms = ("task.NAME=VALUE",)
    return run_with_methods("python -m experiments.embed", Options, run, arguments, forms=forms)


if __name__ == "__main__":
    sys.exit(main())
