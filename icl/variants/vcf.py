"""VCF files through pysam: alleles in their normal form, and a file with the scores.

Rows with several alternative alleles are split, and indels moved to the left. The written file has
one row per allele, without samples.
"""

import gzip
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from backbone.common.errors import InputError
from backbone.common.files import GZIP, READ_ERRORS, atomic_write
from backbone.sequence.bed import chromosome
from backbone.sequence.fasta import Genome, Record
from backbone.sequence.variants import Variant, left_normalised
from icl.variants.alleles import BASES, Allele, LeftOut, allele_in_window

if TYPE_CHECKING:
    import pysam

VCF_ERRORS = (OSError, ValueError)
"""What pysam raises for a file that it cannot read."""

OLD = "ICL_OLD"
"""INFO key of what the file said before it was split or normalised, as POS/REF/ALT."""

NOT_KEPT = ("END", "SVLEN", "SVTYPE", OLD)
"""INFO keys that describe alleles as they were given."""


class VCF:
    """Alleles of a VCF file over a genome.

    Attributes:
        header: The file's header.
    """

    def __init__(
        self, path: Path, genome: Genome, label: str | None = None, region: str | None = None
    ) -> None:
        """Open a file: plain, gzip or bgzip.

        Args:
            path: The file.
            genome: The genome that its coordinates and REF are of.
            label: INFO key of the labels; None for none.
            region: Where to read, such as chr1:1000-2000 (counted from 1), which needs an index.

        Raises:
            InputError: If pysam or the file is missing, it is not a VCF file with a header, a
            region is
                given without an index, or there is no such INFO key.
        """
        try:
            import pysam
        except ImportError as error:
            raise InputError("VCF files need pysam: pip install 'genomic-icl[variants]'") from error
        pysam.set_verbosity(0)  # htslib's own lines on standard error
        if not path.is_file():
            raise InputError(f"no VCF file at {str(path)!r}")
        self.path, self.genome, self.label, self.region = path, genome, label, region
        self._unpacked = _unpacked(path)
        name = path if self._unpacked is None else self._unpacked.name
        try:
            self._file = pysam.VariantFile(str(name))
            self.header = self._file.header
        except VCF_ERRORS as error:
            raise InputError(f"{path}: {_reason(error)}") from error
        if label is not None and label not in self.header.info:
            keys = ", ".join(self.header.info) or "none"
            raise InputError(f"label={label}: the INFO keys of {path} are {keys}")
        if region is not None and self._file.index is None:
            raise InputError(
                f"region={region} needs an index of {path}: bgzip it, then tabix -p vcf"
            )

    def alleles(self, width: int, most: int) -> Iterator[Allele | LeftOut]:
        """Yield every alternative allele, in the file's order.

        Args:
            width: Bases of the window around each.
            most: Bases that can be read at a time.

        Raises:
            InputError: If the file is damaged, or names its chromosomes in another style than the
                genome.
        """
        for row in self._rows():
            for number, alt in enumerate(row.alts or (".",)):
                found = self._allele(row, number, alt, width, most)
                if isinstance(found, str):
                    where = f"{row.chrom}:{row.pos}"
                    yield LeftOut(where, row.id or "", row.ref or ".", alt, found)
                else:
                    yield found

    def _rows(self) -> "Iterator[pysam.VariantRecord]":
        place = "the header"
        try:
            for row in self._file.fetch(region=self.region) if self.region else self._file:
                yield row
                place = f"{row.chrom}:{row.pos}"
        except VCF_ERRORS as error:
            raise InputError(f"{self.path}, after {place}: {_reason(error)}") from error

    def _allele(
        self, row: "pysam.VariantRecord", number: int, alt: str, width: int, most: int
    ) -> Allele | str:
        """Return one allele of a row, or why it cannot be scored."""
        reason = _unusable(alt)
        if reason is not None:
            return reason
        record = self._record(row.chrom)
        if record is None:
            return "the FASTA file has no such record"
        ref, start = (row.ref or "").upper(), row.start
        if start < 0 or start + len(ref) > record.length:
            return f"the record has {record.length} bases"
        there = self._bases(record, start, start + len(ref))
        if ref != there:
            return f"REF is {ref}, and the genome has {there}"
        if not BASES.issuperset(ref):
            return "REF has a base that is not known"
        given = Variant(record.name, start, ref, alt.upper())
        if given.alt == ref:
            return "ALT equals REF"
        own = left_normalised(given, lambda first, end: self._bases(record, first, end))
        changed = own != given or len(row.alts or ()) > 1
        return allele_in_window(
            self.genome,
            own,
            width,
            most,
            name=row.id or "",
            given=f"{row.pos}/{row.ref}/{','.join(row.alts or ())}" if changed else "",
            label=None if self.label is None else label_of(row, self.label, number),
            source=(row, number),
        )

    def _record(self, name: str) -> Record | None:
        """Return a record of the genome; None if nothing there has a name like it.

        Raises:
            InputError: If the genome has the chromosome under another name.
        """
        try:
            return self.genome.record(name)
        except InputError:
            others = {chromosome(record.name) for record in self.genome.records}
            if chromosome(name) in others:
                raise
            return None

    def _bases(self, record: Record, start: int, end: int) -> str:
        return self.genome.stretch(record, start, end).tobytes().decode("ascii")


def _unpacked(path: Path) -> "IO[bytes] | None":
    """Return a temporary file with the text of a plain gzip file, in which htslib cannot seek.

    None for all other files.

    Raises:
        InputError: If the file is damaged.
    """
    with path.open("rb") as file:
        start = file.read(14)
    if not start.startswith(GZIP) or start[12:14] == b"BC":
        return None
    unpacked = tempfile.NamedTemporaryFile(suffix=".vcf")  # noqa: SIM115 (it stays open)
    try:
        with gzip.open(path) as file:
            shutil.copyfileobj(file, unpacked)
    except READ_ERRORS as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    unpacked.flush()
    return unpacked


def _unusable(alt: str) -> str | None:
    """Return why an alternative allele has no sequence of its own; None if it has one."""
    if alt in (".", ""):
        return "there is no ALT"
    if alt == "*":
        return "ALT * stands for a deletion of another row"
    if alt.startswith("<") or "[" in alt or "]" in alt:
        return "ALT is symbolic"
    if not BASES.issuperset(alt.upper()):
        return "ALT has letters other than A, C, G and T"
    return None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "header" in text or "is it VCF" in text:
        return "it has no VCF header, whose first line is ##fileformat=VCFv4.2"
    return f"it is damaged or no VCF file ({text})"


def label_of(row: "pysam.VariantRecord", key: str, number: int) -> str | None:
    """Return the label of an allele: the value of an INFO key as text, None without one.

    Of a key with a value for each alternative allele it is that allele's own; a flag is 1 or 0.
    """
    declared = row.header.info[key]
    if declared.type == "Flag":
        return str(int(key in row.info))
    value = row.info.get(key)
    if isinstance(value, tuple):
        own = value[number : number + 1] if declared.number == "A" else value
        value = ",".join(str(one) for one in own if one is not None)
    return None if value in (None, "") else str(value)


@contextmanager
def vcf_writer(
    path: Path, header: "pysam.VariantHeader", genome: Genome, fields: Mapping[str, str]
) -> "Iterator[Writer]":
    """Yield what writes alleles to a VCF file, which is there once the block succeeds.

    Args:
        path: The file to write.
        header: The header of the file that was read.
        genome: Its genome.
        fields: Descriptions of the INFO keys with scores, by key.
    """
    with atomic_write(path) as temporary:
        writer = Writer(temporary, header, genome, fields)
        yield writer
        writer.close()


class Writer:
    """Writes alleles with their scores as rows of a VCF file."""

    def __init__(
        self,
        path: Path,
        header: "pysam.VariantHeader",
        genome: Genome,
        fields: Mapping[str, str],
    ) -> None:
        """Write the header; see `vcf_writer`."""
        import pysam

        own = pysam.VariantHeader()
        for record in header.records:
            if record.type != "FORMAT":
                own.add_record(record)
        for one in genome.records:
            if one.name not in own.contigs:
                own.contigs.add(one.name, length=one.length)
        for key, text in fields.items():
            own.info.remove_header(key) if key in own.info else None
            own.info.add(key, 1, "Float", text)
        if OLD not in own.info:
            own.info.add(OLD, 1, "String", "POS/REF/ALT before alleles were split and normalised")
        self._file = pysam.VariantFile(str(path), "w", header=own)
        self._header = own

    def write(self, allele: Allele, scores: Mapping[str, float]) -> None:
        """Write one allele with its scores by INFO key."""
        assert allele.source is not None
        row, number = allele.source
        variant = allele.variant
        record = self._file.new_record(
            contig=variant.record,
            start=variant.start,
            alleles=(variant.ref, variant.alt),
            id=row.id,
            qual=row.qual,
            filter=list(row.filter),
        )
        for key in row.info:
            count = row.header.info[key].number
            if key in scores or key in NOT_KEPT or count == "G":  # which pysam cannot read
                continue
            kept = _value_of(count, row.info[key], number)
            if kept is not None:
                record.info[key] = kept
        for key, score in scores.items():
            record.info[key] = score
        if allele.given:
            record.info[OLD] = allele.given.replace(",", "|")
        self._file.write(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _value_of(count: object, value: Any, number: int) -> Any:
    """Return the part of an INFO value that belongs to one alternative allele; None for none.

    Args:
        count: The key's Number: A is one value an alternative allele, R one more for REF.
        value: The value.
        number: Which alternative allele.
    """
    if count not in ("A", "R") or not isinstance(value, Sequence) or isinstance(value, str):
        return value
    if count == "A":
        return value[number : number + 1] or None
    return (value[0], value[number + 1]) if number + 1 < len(value) else None
