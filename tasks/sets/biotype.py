"""Biotypes: what kind of transcript is this?

After Nguyen et al. 2023 (HyenaDNA, arXiv 2306.15794, section 4.4.1), who embed human sequences of
ten biotypes and ask a classifier. Transcripts of one gene are near copies of each other, so they
stay together. Biotypes differ in length by far: a microRNA has 80 bases and an mRNA thousands;
`lengths=matched` takes that away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backbone.common.errors import InputError
from tasks.division import divide, same_sequence
from tasks.registry import TASKS, TaskConfig, TaskFamily
from tasks.sets.transcripts import (
    TABLES,
    Transcript,
    crop,
    left_out,
    matched_lengths,
    read_transcripts,
)
from tasks.sources.published import POOL_SHARES
from tasks.task import Example, Splits, Task, make_splits

DEFAULT_FILES = ("biotype/refseq_chr22_transcripts.tsv.gz",)
REFSEQ = ("mRNA", "non-coding RNA", "microRNA")
"""The molecule types of that file with rows enough; the three others have 5, 3 and 1."""

ENSEMBL = (
    "protein_coding", "lncRNA", "processed_pseudogene", "unprocessed_pseudogene", "misc_RNA",
    "snRNA", "miRNA", "TEC", "transcribed_unprocessed_pseudogene", "snoRNA",
)  # fmt: skip
"""The ten most frequent biotypes of human genes in Ensembl."""

LENGTHS = ("whole", "matched")


FLAWS = (
    "biotypes differ in length by far, and a model learns it: task.lengths=matched crops all to "
    "the lengths of the shortest; python -m experiments.embed shows what length and GC alone give",
    "chr22 of RefSeq has 746 mRNA, 131 non-coding RNA and 32 microRNA, and of three other types 5, "
    "3 and 1 row, which cannot be divided and are left out: read macro-F1 with its interval",
    "genes of one family stay apart only if their sequences differ: python -m tasks check counts "
    "near copies across splits",
)


@dataclass(frozen=True)
class BiotypeSource:
    """Transcripts of the task's labels, divided by gene; those of other biotypes are left out.

    Attributes:
        files: Tables or FASTA files; relative ones lie in the data folder.
        gene: See `tasks.sets.transcripts.read_transcripts`.
        min_rows: Rows that each biotype must have.
        max_rows: Rows of a biotype at most, drawn at random; None for all.
        max_length: Longer sequences are cropped to it at a random place; None leaves them.
        lengths: "whole", or "matched" to make length tell nothing.
    """

    files: tuple[str, ...] = DEFAULT_FILES
    gene: str | None = "title"
    min_rows: int = 20
    max_rows: int | None = None
    max_length: int | None = None
    lengths: str = "whole"

    def read(self, data: Path | None) -> list[Transcript]:
        """All transcripts of the files.

        Raises:
            InputError: If a file is missing or cannot be used.
        """
        found = []
        for file in self.files:
            path = Path(file).expanduser()
            if data is None and not path.is_absolute():
                raise InputError(
                    f"biotypes are read from files ({', '.join(self.files)}) below a data folder: "
                    f"give data=DIR, or set ICL_DATA=DIR, or give task.files, such as Ensembl's "
                    f"Homo_sapiens.GRCh38.cdna.all.fa.gz and Homo_sapiens.GRCh38.ncrna.fa.gz"
                )
            path = (data or Path()).expanduser() / path
            if not path.is_file():
                raise InputError(f"task.files: there is no file {path}")
            found += read_transcripts(path, self.gene)
        return found

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read, crop and divide the transcripts; see `Task.splits`."""
        every = self.read(data)
        others = left_out(every, task.labels, self.min_rows)
        # What is drawn and cropped is the same in every division: `split_seed` moves rows alone.
        random = np.random.default_rng(0)
        number = {name: i for i, name in enumerate(task.labels)}
        rows = _at_most([one for one in every if one.biotype in number], self.max_rows, random)
        classes = [number[one.biotype] for one in rows]
        sequences = [one.sequence for one in rows]
        if self.max_length is not None:
            sequences = [crop(sequence, self.max_length, random) for sequence in sequences]
        if self.lengths == "matched":
            sequences = matched_lengths(sequences, classes, random)
        groups = related(rows, sequences)
        examples = [Example(s, label) for s, label in zip(sequences, classes, strict=True)]
        train, val, test = (
            [examples[row] for row in part]
            for part in divide(classes, groups, POOL_SHARES, split_seed)
        )
        words = [f"70/10/20 of {len(rows)} transcripts, by gene, split_seed={split_seed}"]
        if self.max_rows is not None:
            words.append(f"at most {self.max_rows} of a biotype")
        if self.max_length is not None:
            words.append(f"cropped to {self.max_length} bases at random places")
        if self.lengths == "matched":
            words.append("cropped at random places to the lengths of the shortest biotype")
        origin = "; ".join([*words, *([others] if others else [])])
        return make_splits(task, train, val, test, origin)


def related(transcripts: Sequence[Transcript], sequences: Sequence[str]) -> np.ndarray:
    """Numbers the rows so that one gene and one sequence (on either strand) share a number.

    Args:
        transcripts: N transcripts, for their genes.
        sequences: Their sequences, as rows will have them.

    Returns:
        (N,) numbers.
    """
    _, gene = np.unique([one.gene for one in transcripts], return_inverse=True)
    sequence = same_sequence(sequences)
    genes, count = int(gene.max()) + 1, int(gene.max() + sequence.max()) + 2
    edges = coo_array((np.ones(len(gene)), (gene, genes + sequence)), shape=(count, count))
    return connected_components(edges, directed=False)[1][gene]


def _at_most(
    rows: list[Transcript], most: int | None, random: np.random.Generator
) -> list[Transcript]:
    """At most so many rows of a biotype, drawn at random, in their old order."""
    if most is None:
        return rows
    kept: list[int] = []
    for name in dict.fromkeys(one.biotype for one in rows):
        places = [i for i, one in enumerate(rows) if one.biotype == name]
        kept += random.permutation(places)[:most].tolist()
    return [rows[i] for i in sorted(kept)]


@dataclass
class BiotypeConfig(TaskConfig):
    """Which transcripts, which biotypes, how lengths are treated."""

    files: list[str] | None = field(
        default=None,
        metadata={
            "help": "tables, or Ensembl's cdna.all and ncrna FASTA; null: chr22 of RefSeq",
            "path": True,
        },
    )
    biotypes: list[str] | None = field(
        default=None, metadata={"help": "the classes; null: those of RefSeq, or Ensembl's ten"}
    )
    gene: str | None = field(
        default="title", metadata={"help": "column that tells the gene; null: none does"}
    )
    min_rows: int = field(default=20, metadata={"help": "rows that every biotype must have"})
    max_rows: int | None = field(default=None, metadata={"help": "rows of a biotype at most"})
    max_length: int | None = field(
        default=None, metadata={"help": "crop longer transcripts to it, at random places"}
    )
    lengths: str = field(
        default="whole",
        metadata={"help": "whole, or matched: cropped to the lengths of the shortest biotype"},
    )


def build(options: BiotypeConfig) -> Task:
    """The task of some options.

    Raises:
        InputError: For options that no task can have.
    """
    files = DEFAULT_FILES if options.files is None else tuple(options.files)
    is_table = [file.endswith(TABLES) for file in files]
    if not files or any(is_table) != all(is_table):
        raise InputError("task.files: give tables, or FASTA files of Ensembl, and not both")
    labels = tuple(options.biotypes or (REFSEQ if all(is_table) else ENSEMBL))
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError("task.biotypes: give at least two, each once")
    if options.lengths not in LENGTHS:
        raise InputError(f"task.lengths={options.lengths}: must be one of {', '.join(LENGTHS)}")
    for name in ("min_rows", "max_rows", "max_length"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"task.{name}={value}: must be 1 or more")
    source = BiotypeSource(
        files, options.gene, options.min_rows, options.max_rows, options.max_length, options.lengths
    )
    name = "biotype" if options.lengths == "whole" else f"biotype_{options.lengths}"
    return Task(
        name,
        labels,
        source,
        metric="macro_f1",
        description="kind of transcript",
        citation="after Nguyen et al. 2023, HyenaDNA, arXiv 2306.15794",
        flaws=FLAWS,
        licence="RefSeq: public domain; Ensembl: no restrictions",
    )


TASKS.add("biotype", TaskFamily("biotype", BiotypeConfig, build, "kind of transcript, by gene"))
