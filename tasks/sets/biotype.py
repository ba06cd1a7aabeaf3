"""Biotypes: the kind of a transcript.

After Nguyen et al. 2023 (HyenaDNA, arXiv 2306.15794, section 4.4.1), who classify embeddings of
human sequences of ten biotypes. Transcripts of one gene are near copies of each other, so they
stay in one split. Biotypes differ widely in length: a microRNA has 80 bases and an mRNA thousands;
`lengths=matched` removes the difference.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import scipy

from backbone.common.errors import InputError
from backbone.common.files import READ_ERRORS, open_text
from backbone.common.options import option
from backbone.common.streams import stream
from backbone.sequence.dna import normalise
from backbone.sequence.fasta import is_fasta
from tasks.division import divide, same_sequence
from tasks.registry import TASKS, TaskConfig, TaskFamily
from tasks.sources.published import POOL_SHARES
from tasks.sources.tables import read_columns
from tasks.task import Example, Splits, Task, make_splits

DEFAULT_FILES = ("biotype/refseq_chr22_transcripts.tsv.gz",)
REFSEQ = ("mRNA", "non-coding RNA", "microRNA")
"""The molecule types of that file with enough rows; the three others have 5, 3 and 1."""

ENSEMBL = (
    "protein_coding", "lncRNA", "processed_pseudogene", "unprocessed_pseudogene", "misc_RNA",
    "snRNA", "miRNA", "TEC", "transcribed_unprocessed_pseudogene", "snoRNA",
)  # fmt: skip
"""The ten most frequent biotypes of human genes in Ensembl."""

FLAWS = (
    "biotypes differ widely in length, and a model learns that: task.lengths=matched crops all to "
    "the lengths of the shortest; python -m experiments.embed shows what length and GC alone give",
    "chr22 of RefSeq has 746 mRNA, 131 non-coding RNA and 32 microRNA, and of three other types 5, "
    "3 and 1 row, which cannot be divided and are left out: read macro-F1 with its interval",
    "genes of one family stay apart only if their sequences differ: python -m tasks check counts "
    "near copies across splits",
)


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript: its cleaned sequence, its biotype, and its gene."""

    sequence: str
    biotype: str
    gene: str


@dataclass(frozen=True)
class BiotypeSource:
    """Transcripts of the task's labels, divided by gene; those of other biotypes are left out.

    Attributes:
        files: Tables or FASTA files; relative ones lie in the data folder.
        gene: See `read_transcripts`.
        min_rows: Rows that each biotype must have.
        max_rows: Most rows of a biotype, drawn at random; None for all.
        max_length: Longer sequences are cropped to it at a random place; None leaves them.
        lengths: "whole", or "matched" to make length uninformative.
    """

    files: tuple[str, ...] = DEFAULT_FILES
    gene: str | None = "title"
    min_rows: int = 20
    max_rows: int | None = None
    max_length: int | None = None
    lengths: str = "whole"

    def read(self, data: Path | None) -> list[Transcript]:
        """Return all transcripts of the files.

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
        # Draws and crops are the same in every division: `split_seed` only divides the rows.
        random = stream(0, "transcripts")
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


def read_transcripts(path: Path, gene: str | None) -> list[Transcript]:
    """Read a table, or a FASTA file of Ensembl (cdna.all or ncrna, as it is or unpacked).

    Args:
        path: A table with the columns `sequence` and `label`; or FASTA whose headers hold
            `transcript_biotype:` and `gene:`.
        gene: Column of a table with the gene, or with a RefSeq title that has it in its last
            brackets, such as "... (BCL7A), transcript variant 2, mRNA". None: each row of a table
            is a gene of its own.

    Raises:
        InputError: If the file cannot be read, or a row cannot be used.
    """
    rows = _ensembl(path) if is_fasta(path) else _table(path, gene)
    found = []
    for number, one in enumerate(rows):
        try:
            sequence, _ = normalise(one.sequence.strip(), number)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if not sequence:
            raise InputError(f"{path}: row {number} has an empty sequence; remove the row")
        found.append(replace(one, sequence=sequence))
    if not found:
        raise InputError(f"{path}: no transcript in it")
    return found


def _table(path: Path, gene: str | None) -> Iterator[Transcript]:
    names = ["sequence", "label"] + ([] if gene is None else [gene])
    table = read_columns(path, names)
    genes = [""] * len(table) if gene is None else table[gene]
    rows = zip(table["sequence"], table["label"], genes, strict=True)
    for number, (sequence, label, text) in enumerate(rows):
        yield Transcript(sequence, label, _symbol(text) or f"row {number}")


def _symbol(title: str) -> str:
    """Return the content of a title's last brackets, or the title where there are none."""
    before, closed, _ = title.rpartition(")")
    return before.rpartition("(")[2] if closed and "(" in before else title


def _ensembl(path: Path) -> Iterator[Transcript]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    try:
        with open_text(path) as file:
            records = list(SimpleFastaParser(file))
    except READ_ERRORS as error:
        raise InputError(f"{path}: cannot be read as FASTA: {error}") from error
    for title, sequence in records:
        facts = dict(word.split(":", 1) for word in title.split() if ":" in word)
        if "transcript_biotype" not in facts or "gene" not in facts:
            raise InputError(
                f"{path}: record {title.split(' ')[0]} does not give its transcript_biotype: and "
                f"gene:, as the headers of Ensembl's cdna.all and ncrna files do"
            )
        yield Transcript(sequence, facts["transcript_biotype"], facts["gene"])


def left_out(transcripts: Sequence[Transcript], biotypes: Sequence[str], min_rows: int) -> str:
    """Describe the biotypes that a task leaves out, with their rows.

    Args:
        transcripts: All transcripts.
        biotypes: The task's biotypes.
        min_rows: Rows that each of them must have: one row cannot be divided into three splits.

    Raises:
        InputError: If one of them has fewer.
    """
    counts = Counter(one.biotype for one in transcripts)
    for name in biotypes:
        if counts[name] < min_rows:
            there = ", ".join(f"{one} ({count})" for one, count in counts.most_common())
            raise InputError(
                f"biotype {name!r} has {counts[name]} rows and task.min_rows={min_rows}: leave it "
                f"out of task.biotypes; there are {there}"
            )
    rest = [f"{name} ({count})" for name, count in counts.most_common() if name not in biotypes]
    return f"left out: {', '.join(rest)}" if rest else ""


def matched_lengths(
    sequences: Sequence[str], labels: Sequence[int], random: np.random.Generator
) -> list[str]:
    """Crop so that length is nearly uninformative about the class.

    The class with the shortest median is left alone. Every other sequence is cropped, at a random
    place, to a length drawn from those of that class that do not exceed its own.

    Args:
        sequences: N sequences.
        labels: Their classes.
        random: Source of the draws.

    Returns:
        The N sequences, cropped.
    """
    lengths, label = np.array([len(s) for s in sequences]), np.asarray(labels)
    shortest = min(np.unique(label).tolist(), key=lambda one: np.median(lengths[label == one]))
    pool = np.sort(lengths[label == shortest])
    cropped = []
    for sequence, one in zip(sequences, label.tolist(), strict=True):
        fitting = int(np.searchsorted(pool, len(sequence), side="right"))
        if one == shortest or not fitting:
            cropped.append(sequence)
            continue
        cropped.append(crop(sequence, int(pool[random.integers(fitting)]), random))
    return cropped


def crop(sequence: str, length: int, random: np.random.Generator) -> str:
    """Return a part of at most `length` letters, at a random place."""
    if len(sequence) <= length:
        return sequence
    start = int(random.integers(len(sequence) - length + 1))
    return sequence[start : start + length]


def related(transcripts: Sequence[Transcript], sequences: Sequence[str]) -> np.ndarray:
    """Number the rows so that those of one gene or one sequence (on either strand) share a number.

    Args:
        transcripts: N transcripts, for their genes.
        sequences: Their sequences, as rows will have them.

    Returns:
        (N,) numbers.
    """
    _, gene = np.unique([one.gene for one in transcripts], return_inverse=True)
    sequence = same_sequence(sequences)
    genes, count = int(gene.max()) + 1, int(gene.max() + sequence.max()) + 2
    edges = scipy.sparse.coo_array(
        (np.ones(len(gene)), (gene, genes + sequence)), shape=(count, count)
    )
    return scipy.sparse.csgraph.connected_components(edges, directed=False)[1][gene]


def _at_most(
    rows: list[Transcript], most: int | None, random: np.random.Generator
) -> list[Transcript]:
    """Draw at most `most` rows of each biotype; they keep their order."""
    if most is None:
        return rows
    kept: list[int] = []
    for name in dict.fromkeys(one.biotype for one in rows):
        places = [i for i, one in enumerate(rows) if one.biotype == name]
        kept += random.permutation(places)[:most].tolist()
    return [rows[i] for i in sorted(kept)]


@dataclass
class BiotypeConfig(TaskConfig):
    """Options of `task=biotype`."""

    files: list[str] | None = field(
        default=None,
        metadata={
            "help": "tables, or Ensembl's cdna.all and ncrna FASTA; null: chr22 of RefSeq",
            "path": True,
        },
    )
    biotypes: list[str] | None = option(None, "classes; null: RefSeq's three, or Ensembl's ten")
    gene: str | None = option("title", "column of the gene; null if there is none")
    min_rows: int = option(20, "minimum rows per biotype", least=1)
    max_rows: int | None = option(None, "maximum rows per biotype", least=1)
    max_length: int | None = option(
        None, "crop longer transcripts to this length, at random positions", least=1
    )
    lengths: str = option(
        "whole",
        "matched crops transcripts to the lengths of the shortest biotype",
        choices=("whole", "matched"),
    )


def build(options: BiotypeConfig) -> Task:
    """Return the task of some options.

    Raises:
        InputError: If no task can have these options.
    """
    files = DEFAULT_FILES if options.files is None else tuple(options.files)
    is_table = [not is_fasta(Path(file)) for file in files]
    if not files or any(is_table) != all(is_table):
        raise InputError("task.files: give tables, or FASTA files of Ensembl, and not both")
    labels = tuple(options.biotypes or (REFSEQ if all(is_table) else ENSEMBL))
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError("task.biotypes: give at least two, each once")
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


TASKS.add(
    "biotype", TaskFamily("biotype", BiotypeConfig, build, "biotype of transcripts, split by gene")
)
