"""Species of windows, from FASTA files that the tests write."""

from pathlib import Path

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.sequence.dna import gc_content, reverse_complement
from tasks.catalog import TASKS
from tasks.registry import build_task
from tasks.sets.species import ASSEMBLIES, PAPER_TEST, SpeciesConfig
from tests.tasks.sets.test_cutting import dna, fasta

GC = {"poor": 0.3, "rich": 0.7}


@pytest.fixture
def data(tmp_path) -> Path:
    """Genomes of two species: eight records of 30 % G and C, one of 70 %."""
    for number, (name, gc) in enumerate(GC.items()):
        random = np.random.default_rng(number)
        shares = [(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2]
        folder = tmp_path / "genomes" / name
        folder.mkdir(parents=True)
        sizes = [4000] * 8 if name == "poor" else [30_000]
        records = {
            f"{name}{i}": "".join(random.choice(list("ACGT"), size, p=shares))
            for i, size in enumerate(sizes)
        }
        fasta(folder / "all.fa", **records)
    return tmp_path


def task(**options):
    genomes = {name: [f"genomes/{name}/*.fa"] for name in GC}
    rows = {"train_rows": 100, "val_rows": 10, "test_rows": 40}
    return build_task(
        SpeciesConfig(**{"name": "species", "genomes": genomes, "length": 100, **rows, **options})
    )


def windows(splits, part: str) -> set[str]:
    return {min(e.sequence, reverse_complement(e.sequence)) for e in getattr(splits, part)}


def test_classes_are_the_species_in_the_order_given_and_balanced(data):
    made = task()
    splits = made.splits(0, data)
    assert made.labels == ("poor", "rich") and made.name == "species_100"
    for part, rows in (("train", 100), ("val", 10), ("test", 40)):
        labels = [e.label for e in getattr(splits, part)]
        assert labels == [0, 1] * (rows // 2)
        assert all(len(e.sequence) == 100 for e in getattr(splits, part))
    for label, gc in enumerate(GC.values()):
        mean = np.mean([gc_content(e.sequence) for e in splits.train if e.label == label])
        assert mean == pytest.approx(gc, abs=0.02)


def test_splits_share_no_window_and_no_position(data):
    splits = task().splits(3, data)
    text = {p.parent.name: p.read_text().replace("\n", "") for p in data.rglob("*.fa")}
    covered = {}
    for part in ("train", "val", "test"):
        for window in windows(splits, part):
            for name, genome in text.items():
                for strand in (window, reverse_complement(window)):
                    start = genome.find(strand)
                    if start >= 0:
                        for position in range(start, start + 100):
                            assert covered.setdefault((name, position), part) == part
    assert len(covered) == (100 + 10 + 40) * 100


def test_the_same_seed_gives_the_same_rows_and_another_one_other_regions(data):
    made = task()
    assert made.splits(1, data) == made.splits(1, data)
    first, second = made.splits(1, data), made.splits(2, data)
    assert not windows(first, "test") & windows(second, "test")
    assert first.sha256 != second.sha256


def test_windows_of_a_species_do_not_depend_on_the_others(data):
    fasta(data / "third.fa", third=dna(30_000, 5))
    genomes = {"third": ["third.fa"], "rich": ["genomes/rich"]}
    other = task(genomes=genomes).splits(0, data)
    rich = {e.sequence for e in task().splits(0, data).test if e.label == 1}
    assert {e.sequence for e in other.test if e.label == 1} == rich


def test_named_records_are_test_and_the_origin_says_so(data):
    made = task(test_records=["poor[01]"])
    splits = made.splits(0, data)
    text = (data / "genomes/poor/all.fa").read_text().split(">")
    held = "".join(text[1:3]).replace("\n", "")
    for example in (e for e in splits.test if e.label == 0):
        assert example.sequence in held or reverse_complement(example.sequence) in held
    assert "test of poor0, poor1" in splits.origin
    assert "rich: 1 record cut into stretches a window apart" in splits.origin


def test_absolute_paths_need_no_data_folder(data):
    genomes = {name: [str(data / "genomes" / name)] for name in GC}
    assert task(genomes=genomes).splits(0, None).sha256 == task().splits(0, data).sha256


def test_without_genomes_the_paper_s_five_are_asked_for(tmp_path):
    made = build_task(SpeciesConfig(name="species"))
    assert made.labels == ("human", "lemur", "mouse", "pig", "hippo") == tuple(ASSEMBLIES)
    assert made.source.test == PAPER_TEST
    with pytest.raises(InputError, match="give data=DIR") as said:
        made.splits(0, None)
    assert "GCA_009914755.4" in str(said.value)
    with pytest.raises(InputError, match="no FASTA file at .*species/human.*GCA_009914755.4"):
        made.splits(0, tmp_path)


def test_the_paper_s_chromosomes_are_read_from_their_folders(tmp_path):
    for number, name in enumerate(ASSEMBLIES):
        folder = tmp_path / "species" / name
        folder.mkdir(parents=True)
        for chromosome in (1, 2, 5):
            seed = 10 * number + chromosome
            fasta(folder / f"chr{chromosome}.fna", **{f"CM{seed}.1": dna(3000, seed)})
    for chromosome in (3, 12, 13, 7, 9, 10, 11):  # of one species is enough for the names
        fasta(tmp_path / f"species/pig/chr{chromosome}.fna", **{f"p{chromosome}": dna(90, 99)})
    rows = {"train_rows": 50, "val_rows": 10, "test_rows": 20}
    made = build_task(SpeciesConfig(name="species", length=100, **rows))
    splits = made.splits(0, tmp_path)
    for part, chromosome in (("train", 2), ("val", 1), ("test", 5)):
        text = "".join(p.read_text() for p in tmp_path.rglob(f"chr{chromosome}.fna"))
        assert all(w in text or reverse_complement(w) in text for w in windows(splits, part))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"genomes": {"poor": ["genomes/poor"]}}, "at least two species"),
        ({"genomes": {"poor": ["genomes/poor"], "rich": []}}, "each with its FASTA files"),
        ({"genomes": {"poor": ["genomes/poor"], "rich": ["nowhere/*.fa"]}}, "rich: no FASTA file"),
        ({"test_rows": 1}, "task.test_rows=1: must be at least one a species"),
        ({"length": 0}, "task.length=0"),
        ({"step": 0}, "task.step=0"),
        ({"max_unknown": 1.0}, "task.max_unknown=1.0"),
        ({"test_records": ["poor9"]}, "task.test_records: no record and no file is called poor9"),
        ({"test_records": ["*"]}, "no region is left for train"),
        ({"length": 20_000}, "poor: no region is left for"),
        ({"test_rows": 2000}, "lower task.test_rows or task.length, or .* task.step=50"),
    ],
)
def test_mistakes_are_one_line(data, options, said):
    with pytest.raises(InputError, match=said):
        task(**options).splits(0, data)


def test_a_genome_whose_files_overlap_is_refused(data):
    text = (data / "genomes/rich/all.fa").read_text().split("\n")[1]
    fasta(data / "genomes/rich/part.fa", again=text[5000:9000])
    with pytest.raises(InputError, match="rich: records .* hold the same DNA"):
        task().splits(0, data)
    both = task(test_records=["again", "rich0"], genomes={n: [f"genomes/{n}"] for n in GC})
    with pytest.raises(InputError, match="no region is left for train"):  # and not the overlap
        both.splits(0, data)


def test_the_card_names_what_is_known_to_be_wrong():
    assert "species" in TASKS.names()
    assert any("kmer_logreg" in flaw for flaw in task().flaws)


def test_real_genomes_make_the_task(shared_data):
    genomes = {
        "human": ["genomes/human/chr9_0M-1M.GRCh38.fa.gz"],
        "worm": ["genomes/other/c_elegans_1pct.fa.gz"],
        "e_coli": ["genomes/other/e_coli_k12.ASM584v2.fa.gz"],
    }
    rows = {"train_rows": 30, "val_rows": 6, "test_rows": 12}
    splits = task(genomes=genomes, length=8000, **rows).splits(0, shared_data)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 6, 12)
    genomes["worm"].append("genomes/other/c_elegans_chrI_1M.fa.gz")
    with pytest.raises(InputError, match="worm: records ce_I and ce_htsjdk_I hold the same DNA"):
        task(genomes=genomes, **rows).splits(0, shared_data)
