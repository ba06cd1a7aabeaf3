"""Windows that are cut from regions: where they lie, on which strand, how much N they hold."""

from pathlib import Path

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from backbone.sequence.fasta import Genome
from tasks.sets.cutting import cut_windows, shared_ends
from tasks.sets.regions import Stretch


def dna(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def fasta(path: Path, **records: str) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return path


def cut(genome, start, end, length, rows, seed=0, **options):
    stretches = [Stretch(genome.records[0], start, end)]
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
