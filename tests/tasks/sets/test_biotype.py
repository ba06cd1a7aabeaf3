"""Transcripts: how they are read, cropped, and divided by gene."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from backbone.common.errors import InputError
from tasks.registry import build_task
from tasks.sets.biotype import (
    ENSEMBL,
    BiotypeConfig,
    Transcript,
    build,
    crop,
    left_out,
    matched_lengths,
    read_transcripts,
    related,
)
from tests.tasks.sets.test_species import dna


def table(path: Path, rows) -> Path:
    lines = ["sequence\tlabel\taccession\ttitle"]
    lines += [f"{sequence}\t{label}\tX\t{title}" for sequence, label, title in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    """40 genes with three variants of mRNA each, 30 microRNA, and one row of another kind."""
    rows = [
        (dna(200 + gene, 7 * gene + v), "mRNA", f"Homo sapiens thing (G{gene}), variant {v}, mRNA")
        for gene in range(40)
        for v in range(3)
    ]
    rows += [(dna(20 + i, 900 + i), "microRNA", f"microRNA {i} (MIR{i})") for i in range(30)]
    rows.append((dna(90, 5), "antisense RNA", "an antisense RNA (AS1)"))
    table(tmp_path / "transcripts.tsv", rows)
    return tmp_path


def task(**options):
    given = {"files": ["transcripts.tsv"], "biotypes": ["mRNA", "microRNA"], **options}
    return build_task(BiotypeConfig(name="biotype", **given))


def parts(splits):
    return {name: getattr(splits, name) for name in ("train", "val", "test")}


def test_rows_of_a_table_know_their_gene(tmp_path):
    path = table(tmp_path / "t.tsv", [
        ("acgu", "mRNA", "Homo sapiens B-cell (rare) thing (BCL7A), transcript variant 2, mRNA"),
        ("AAA", "mRNA", "without brackets"),
    ])  # fmt: skip
    found = read_transcripts(path, "title")
    assert found == [
        Transcript("ACGT", "mRNA", "BCL7A"),
        Transcript("AAA", "mRNA", "without brackets"),
    ]
    assert len({one.gene for one in read_transcripts(path, None)}) == 2


def test_ensembl_s_headers_say_biotype_and_gene(tmp_path):
    path = tmp_path / "x.cdna.all.fa.gz"
    text = (
        ">ENST1.1 cdna chromosome:GRCh38:7:1:9:1 gene:ENSG7.2 gene_biotype:protein_coding "
        "transcript_biotype:retained_intron gene_symbol:ABC description:a [Source:HGNC;Acc:H:1]\n"
        "ACGT\nAC\n>ENST2.1 ncrna gene:ENSG8.1 transcript_biotype:lncRNA\nGGG\n"
    )
    path.write_bytes(gzip.compress(text.encode()))
    assert read_transcripts(path, "title") == [
        Transcript("ACGTAC", "retained_intron", "ENSG7.2"),
        Transcript("GGG", "lncRNA", "ENSG8.1"),
    ]
    (tmp_path / "y.fa").write_text(">a b\nACGT\n")
    with pytest.raises(InputError, match="record a does not give its transcript_biotype:"):
        read_transcripts(tmp_path / "y.fa", None)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as FASTA"):
        read_transcripts(path, None)


def test_genes_stay_together_and_rare_biotypes_are_left_out(data):
    splits = task().splits(0, data)
    genes = {}
    by_sequence = {t.sequence: t.gene for t in read_transcripts(data / "transcripts.tsv", "title")}
    for name, rows in parts(splits).items():
        for row in rows:
            assert genes.setdefault(by_sequence[row.sequence], name) == name
    counts = {name: Counter(row.label for row in rows) for name, rows in parts(splits).items()}
    assert counts == {"train": {0: 84, 1: 21}, "val": {0: 12, 1: 3}, "test": {0: 24, 1: 6}}
    assert "by gene" in splits.origin and "left out: antisense RNA (1)" in splits.origin


def test_a_biotype_with_one_row_cannot_be_asked_for(data):
    with pytest.raises(InputError, match="'antisense RNA' has 1 rows and task.min_rows=20"):
        task(biotypes=["mRNA", "antisense RNA"]).splits(0, data)
    assert left_out([Transcript("A", "x", "g")] * 3, ["x"], 3) == ""


def test_one_sequence_of_two_genes_joins_them():
    some = [
        Transcript(s, "x", g) for s, g in (("AAC", "a"), ("CCC", "a"), ("GTT", "b"), ("T", "c"))
    ]
    groups = related(some, [one.sequence for one in some])
    assert groups[0] == groups[1] == groups[2] != groups[3]  # GTT is AAC on the other strand


def test_matched_lengths_are_those_of_the_shortest_biotype():
    random = np.random.default_rng(0)
    labels = [0] * 400 + [1] * 100
    sequences = [dna(int(n), i) for i, n in enumerate(random.integers(150, 900, 400))]
    sequences += [dna(int(n), i) for i, n in enumerate(random.integers(20, 140, 100))]
    found = matched_lengths(sequences, labels, np.random.default_rng(1))
    assert found[400:] == sequences[400:]
    assert all(one in whole for one, whole in zip(found, sequences, strict=True))
    lengths = [len(one) for one in found]
    assert set(lengths[:400]) <= set(lengths[400:])
    assert ks_2samp(lengths[:400], lengths[400:]).pvalue > 0.05
    assert ks_2samp([len(s) for s in sequences[:400]], lengths[400:]).pvalue < 1e-9


def test_a_transcript_shorter_than_most_is_cropped_to_no_more_than_it_has():
    found = matched_lengths(["A" * 30, "C" * 50, "G" * 20, "G" * 40], [0, 0, 1, 1],
                            np.random.default_rng(0))  # fmt: skip
    assert len(found[0]) == 20 and len(found[1]) in (20, 40)


def test_crops_lie_at_random_places_and_divisions_share_them(data):
    places = {crop("ACGTTGCA", 3, np.random.default_rng(seed)) for seed in range(60)}
    assert places == {"ACG", "CGT", "GTT", "TTG", "TGC", "GCA"}
    assert crop("ACG", 5, np.random.default_rng(0)) == "ACG"
    every = [
        {row.sequence for rows in parts(task(max_length=100).splits(seed, data)).values()
         for row in rows} for seed in (0, 1)
    ]  # fmt: skip
    assert every[0] == every[1] and max(map(len, every[0])) == 100


def test_max_rows_thins_the_common_biotypes(data):
    splits = task(max_rows=40).splits(0, data)
    counts = Counter(row.label for rows in parts(splits).values() for row in rows)
    assert counts == {0: 40, 1: 30}
    assert "at most 40 of a biotype" in splits.origin


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"files": ["a.tsv", "b.fa.gz"]}, "tables, or FASTA files of Ensembl, and not both"),
        ({"files": []}, "task.files"),
        ({"biotypes": ["mRNA"]}, "give at least two"),
        ({"biotypes": ["mRNA", "mRNA"]}, "each once"),
        ({"lengths": "equal"}, "task.lengths=equal: must be one of whole, matched"),
        ({"max_length": 0}, "task.max_length=0"),
        ({"files": ["none.tsv"]}, "task.files: there is no file"),
        ({"gene": "symbol"}, "no column symbol"),
    ],
)
def test_mistakes_are_one_line(data, options, said):
    with pytest.raises(InputError, match=said):
        task(**options).splits(0, data)


def test_without_data_it_says_what_to_give():
    with pytest.raises(InputError, match="give data=DIR.*Homo_sapiens.GRCh38.cdna.all.fa.gz"):
        build(BiotypeConfig(name="biotype")).splits(0, None)


def test_fasta_files_ask_for_ensembl_s_ten():
    made = build(BiotypeConfig(name="biotype", files=["cdna.fa.gz", "ncrna.fa"]))
    assert made.labels == ENSEMBL and len(made.labels) == 10


def test_the_local_transcripts_make_the_task(shared_data):
    made = build(BiotypeConfig(name="biotype"))
    splits = made.splits(0, shared_data)
    counts = Counter(row.label for rows in parts(splits).values() for row in rows)
    assert made.labels == ("mRNA", "non-coding RNA", "microRNA")
    assert counts == {0: 746, 1: 131, 2: 32}
    left = "small nucleolar RNA (5), antisense RNA (3), small nuclear RNA (1)"
    assert left in splits.origin
