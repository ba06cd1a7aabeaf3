"""Embeddings of DNA without labels: records of FASTA files or intervals, one after the other.

Files are written as the sequences are read, so that neither their number nor their length is
limited by the memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backbone.common.errors import InputError
from backbone.common.files import atomic_write
from backbone.common.names import unknown
from backbone.models import context_engine
from backbone.protocol import LanguageModel
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.dna import reverse_complement
from backbone.sequence.fasta import Genome, find_fasta
from icl.inference.embedding import Precision, Strands, base_states, layer_names, mean_states

if TYPE_CHECKING:
    from pyarrow import Schema

ROWS = "rows.tsv"


class Writer(Protocol):
    """Writes embeddings row after row."""

    def add(self, row: int, start: int, states: np.ndarray) -> None:
        """Write states (layers, L, D) of a row: of its bases from `start` on, or its mean (L=1)."""
        ...


def intervals_of(genome: Genome, bed: str | None) -> list[Interval]:
    """Return the intervals of a BED file, or all records that are not empty.

    Raises:
        InputError: If an interval is not on the genome.
    """
    if bed is None:
        return [Interval(r.name, 0, r.length, r.name) for r in genome.records if r.length]
    intervals = read_bed(Path(bed).expanduser())
    for interval in intervals:
        genome.check(interval)
    return intervals


def embed_unlabelled(
    model: LanguageModel,
    fasta: Sequence[str],
    bed: str | None,
    out: Path,
    *,
    layers: Sequence[str] = (),
    pool: str = "mean",
    file_format: str = "safetensors",
    strands: Strands = "both",
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[Path]:
    """Embed records or intervals; return the paths of what was written.

    Args:
        model: The backbone.
        fasta: FASTA files, folders or globs.
        bed: Intervals; by default all records.
        out: Folder of the files.
        layers: Some of the backbone's layers; by default the last.
        pool: "mean" for a vector per sequence; "none" for a vector per base.
        file_format: "safetensors" or "parquet".
        strands: "both" averages the strands, base by base without pooling.
        device: Device of the model.
        precision: Number format of the backbone's arithmetic.

    Raises:
        InputError: If a file cannot be read or written, or a layer is unknown.
    """
    known = layer_names(model)
    wanted = list(layers) or [known[-1]]
    for name in wanted:
        if name not in known:
            raise unknown("layer", name, known)
    genome = Genome(find_fasta(fasta))
    intervals = intervals_of(genome, bed)
    if not intervals:
        raise InputError("fasta= holds no base")
    lengths = [at.end - at.start if pool == "none" else 1 for at in intervals]
    path = out / f"embeddings.{file_format}"
    writers: dict[str, Any] = {"safetensors": safetensors_writer, "parquet": parquet_writer}
    engine, how = context_engine(model), (wanted, strands, device, precision)
    writer: Writer
    with writers[file_format](path, wanted, lengths, model.config.d_model) as writer:
        for row, at in enumerate(intervals):
            if pool == "mean":
                mean = mean_states(engine, genome.cut(at), *how)
                writer.add(row, 0, mean.float().numpy()[:, None])
                continue
            start = 0
            for part in base_states(engine, reader(genome, at), at.end - at.start, *how):
                writer.add(row, start, part)
                start += part.shape[1]
    write_rows(out / ROWS, intervals, lengths)
    return [path, out / ROWS]


def reader(genome: Genome, at: Interval) -> Any:
    """Return what reads bases start .. end - 1 of an interval, on its strand."""
    record = genome.record(at.record)

    def read(start: int, end: int) -> str:
        if at.strand == "-":
            letters = genome.stretch(record, at.end - end, at.end - start)
            return reverse_complement(letters.tobytes().decode("ascii"))
        letters = genome.stretch(record, at.start + start, at.start + end)
        return letters.tobytes().decode("ascii")

    return read


def write_rows(path: Path, intervals: Sequence[Interval], lengths: Sequence[int]) -> None:
    """Write which vectors of the embeddings belong to which interval: first to last - 1."""
    ends = np.cumsum(lengths)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("row\trecord\tstart\tend\tname\tstrand\tfirst\tlast\n")
        for row, (at, length, last) in enumerate(zip(intervals, lengths, ends, strict=True)):
            cells = [row, at.record, at.start, at.end, at.name, at.strand, last - length, last]
            file.write("\t".join(map(str, cells)) + "\n")


@contextmanager
def safetensors_writer(
    path: Path, layers: Sequence[str], lengths: Sequence[int], width: int
) -> Iterator[Writer]:
    """Yield what writes an array (sum of lengths, D) float32 for each layer, row after row.

    The format is a JSON header after its size, then the arrays one after the other
    (https://huggingface.co/docs/safetensors); its library writes whole arrays only.
    """
    total = int(np.sum(lengths))
    size = 4 * total * width
    header = {
        name: {
            "dtype": "F32",
            "shape": [total, width],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i, name in enumerate(layers)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    first = np.cumsum(lengths) - np.asarray(lengths)
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + size * len(layers))
        shape = (len(layers), total, width)
        array = np.memmap(temporary, np.float32, "r+", 8 + len(text), shape)

        class Rows:
            def add(self, row: int, start: int, states: np.ndarray) -> None:
                begin = int(first[row]) + start
                array[:, begin : begin + states.shape[1]] = states

        yield Rows()
        array.flush()


@contextmanager
def parquet_writer(
    path: Path, layers: Sequence[str], lengths: Sequence[int], width: int
) -> Iterator[Writer]:
    """Yield what writes a table: row, position in the row, and a list of D numbers per layer."""
    import pyarrow as pa
    from pyarrow import parquet

    vectors = [(name, pa.list_(pa.float32(), width)) for name in layers]
    schema: Schema = pa.schema([("row", pa.int64()), ("position", pa.int64()), *vectors])
    with atomic_write(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        class Rows:
            def add(self, row: int, start: int, states: np.ndarray) -> None:
                count = states.shape[1]
                columns = [
                    pa.array(np.full(count, row)),
                    pa.array(np.arange(start, start + count)),
                    *(
                        pa.FixedSizeListArray.from_arrays(pa.array(one.ravel()), width)
                        for one in states
                    ),
                ]
                writer.write_table(pa.table(columns, schema=schema))

        yield Rows()
