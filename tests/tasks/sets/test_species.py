"""Species of windows, from FASTA files that the tests write."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import gc_content, reverse_complement
from backbone.sequence.fasta import Genome, Record, Region
from tasks.catalog import TASKS
from tasks.registry import build_task
from tasks.sets.species import (
    ASSEMBLIES,
    PAPER_TEST,
    SHARES,
    SpeciesConfig,
    cut_windows,
    hold_out,
    names_record,
    shared_ends,
)


def dna(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def fasta(path: Path, **records: str) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return path


def cut(genome, start, end, length, rows, seed=0, **options):
    stretches = [Region(genome.records[0], start, end)]
    random = np.random.default_rng(seed)
    return cut_windows(genome, stretches, length, rows, random, **options)


def place(window: str, sequence: str) -> tuple[int, str]:
    """Where a window of a random sequence was cut, and on which strand."""
    if window in sequence:
        return sequence.index(window), "+"
    return sequence.index(reverse_complement(window)), "-"


def test_windows_lie_in_their_stretch_on_both_strands_and_never_overlap(tmp_path):
    sequence = dna(5000)
    genome = Genome([fasta(tmp_path / "a.fa", one=sequence)])
    windows = cut(genome, 1000, 4037, 50, 50)
    places = [place(window, sequence) for window in windows]
    starts = np.sort([start for start, _ in places])
    assert all(len(window) == 50 for window in windows)
    assert starts[0] >= 1000 and starts[-1] <= 4037 - 50
    assert np.diff(starts).min() >= 50
    assert 15 <= sum(strand == "-" for _, strand in places) <= 35


def test_every_place_can_be_drawn(tmp_path):
    sequence = dna(60)
    genome = Genome([fasta(tmp_path / "a.fa", one=sequence)])
    starts = {place(cut(genome, 10, 40, 20, 1, seed)[0], sequence)[0] for seed in range(200)}
    assert starts == set(range(10, 21))


def test_step_lets_windows_overlap(tmp_path):
    sequence = dna(300)
    genome = Genome([fasta(tmp_path / "a.fa", one=sequence)])
    with pytest.raises(InputError, match="8 windows of 50 bases are wanted and there are [56] "):
        cut(genome, 0, 300, 50, 8)
    starts = np.sort([place(w, sequence)[0] for w in cut(genome, 0, 300, 50, 20, step=10)])
    assert np.diff(starts).min() == 10


def test_windows_rich_in_n_are_passed_over(tmp_path):
    sequence = dna(100) + "N" * 30 + dna(100, 1)
    genome = Genome([fasta(tmp_path / "a.fa", one=sequence)])
    some = cut(genome, 0, 230, 20, 150, step=1, max_unknown=0.25)
    assert max(window.count("N") for window in some) == 5
    none = cut(genome, 0, 230, 20, 150, step=1, max_unknown=0)
    assert not any("N" in window for window in none)


def test_a_stretch_is_the_same_alone_as_out_of_the_whole_record(tmp_path):
    sequence = dna(500)
    genome = Genome([fasta(tmp_path / "a.fa", one=sequence.lower())])
    record = genome.records[0]
    alone = genome.stretch(record, 17, 93)
    assert alone.tobytes().decode() == sequence[17:93]
    assert np.array_equal(genome.letters(record)[17:93], alone)


def test_records_of_two_files_that_share_their_dna_are_found(tmp_path):
    whole, other = dna(9000), dna(4000, 1)
    a = fasta(tmp_path / "a.fa", a=whole, c=other)
    for name, text in (("inside", whole[3:4003]), ("overlap", whole[-2500:] + dna(3000, 2))):
        b = fasta(tmp_path / f"{name}.fa", b=text)
        pairs = {(one.name, other.name) for one, other in shared_ends(Genome([a, b]))}
        assert pairs and pairs <= {("a", "b"), ("b", "a")}
    assert not list(shared_ends(Genome([a, fasta(tmp_path / "d.fa", d=dna(5000, 3))])))
    assert not list(shared_ends(Genome([a])))


def records(*lengths: int, file: str = "genome.fa") -> list[Record]:
    return [Record(f"chr{i}", Path(file), length) for i, length in enumerate(lengths, 1)]


def divided(some, length, seed=0, **named):
    return hold_out(some, length, np.random.default_rng(seed), **named)


def bases(regions, part) -> int:
    return sum(stretch.end - stretch.start for stretch in regions[part])


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    length=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_splits_never_share_a_position_and_lie_a_window_apart(lengths, length, seed):
    try:
        regions = divided(records(*lengths), length, seed)
    except InputError:
        return
    assert set(regions) == set(SHARES)
    every = [(one, part) for part, some in regions.items() for one in some]
    for one, part in every:
        assert one.start >= 0 and one.start + length <= one.end <= one.record.length
        for other, another in every:
            if part != another and one.record == other.record:
                apart = max(one.start - other.end, other.start - one.end)
                assert apart >= length


def test_whole_records_are_held_out_where_there_are_enough():
    some = records(*[1000] * 10)
    regions = divided(some, 100)
    assert {part: len(regions[part]) for part in SHARES} == {"train": 7, "val": 1, "test": 2}
    assert all(s.start == 0 and s.end == 1000 for part in SHARES for s in regions[part])
    assert sorted(s.record.name for part in SHARES for s in regions[part]) == sorted(
        record.name for record in some
    )
    others = [{s.record.name for s in divided(some, 100, seed)["test"]} for seed in range(20)]
    assert len({frozenset(names) for names in others}) > 5


def test_one_record_is_cut_into_three_stretches_with_a_gap_of_a_window():
    regions = divided(records(10_000), 100)
    found = sorted((s.start, s.end, part) for part in SHARES for s in regions[part])
    # 7,000, 1,000 and 2,000 bases in a drawn order; 50 bases are left out at either side of a cut.
    ends = np.cumsum([{"train": 7000, "val": 1000, "test": 2000}[part] for _, _, part in found])
    assert [start for start, _, _ in found] == [0, ends[0] + 50, ends[1] + 50]
    assert [end for _, end, _ in found] == [ends[0] - 50, ends[1] - 50, 10_000]
    first = {min(divided(records(10_000), 100, s).items(), key=lambda i: i[1][0].start)[0]
             for s in range(20)}  # fmt: skip
    assert first == set(SHARES)


def test_one_chromosome_that_is_most_of_a_genome_is_cut():
    regions = divided(records(10_000, 400, 300), 100)
    assert all(regions[part][0].record.name == "chr1" for part in SHARES if len(regions[part]) == 1)
    assert bases(regions, "train") > 4 * bases(regions, "val") > 0


def test_a_record_that_is_much_larger_than_its_share_stays_in_train():
    for seed in range(10):
        regions = divided(records(4100, *[500] * 12), 50, seed)
        assert "chr1" in {s.record.name for s in regions["train"]}
        assert bases(regions, "test") <= 2500


@pytest.mark.parametrize("lengths", [(10_000,), (1000,) * 6 + (40, 70)])
def test_regions_stay_where_windows_grow(lengths):
    short, long = (divided(records(*lengths), length) for length in (10, 80))
    for part in SHARES:
        middle = {s.record.name: (s.start + s.end) / 2 for s in short[part] if s.end > 80}
        assert {s.record.name: (s.start + s.end) / 2 for s in long[part]} == pytest.approx(
            middle, abs=40
        )


def test_records_are_held_out_by_their_names_or_files():
    some = [
        *records(1000, 1000, 1000, file="data/a.fa.gz"),
        Record("x", Path("data/chr5.fna.gz"), 900),
    ]
    regions = divided(some, 100, test=["chr5"], val=["chr[23]"])
    assert [s.record.name for s in regions["test"]] == ["x"]
    assert [s.record.name for s in regions["val"]] == ["chr2", "chr3"]
    assert [s.record.name for s in regions["train"]] == ["chr1"]


def test_what_is_not_named_is_divided_among_the_other_splits():
    regions = divided(records(*[1000] * 9), 100, test=["chr1"])
    assert [s.record.name for s in regions["test"]] == ["chr1"]
    assert (len(regions["train"]), len(regions["val"])) == (7, 1)


def test_patterns_mean_names_and_file_names_without_their_suffix():
    record = Record("NC_1.1", Path("species/pig/chr10.fna.gz"), 5)
    assert all(names_record(p, record) for p in ("NC_1.1", "NC_*", "chr10", "chr1?", "*.fna.gz"))
    assert not any(names_record(p, record) for p in ("chr1", "NC_1", "pig"))


def test_a_record_cannot_be_held_out_twice():
    with pytest.raises(InputError, match="chr1 is named for validation and for test"):
        divided(records(100, 100), 10, val=["chr1"], test=["chr1"])


@pytest.mark.parametrize("lengths", [(100,), (20, 20, 20)])
def test_too_little_sequence_is_said_with_its_numbers(lengths):
    said = f"windows of 50 bases .the longest record has {max(lengths)}"
    with pytest.raises(InputError, match=said):
        divided(records(*lengths), 50)


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
        ({"test_rows": 1}, "task.test_rows=1: must be at least one per species"),
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
