"""Windows: pure functions of their arguments, inside their regions, on both strands."""

from pathlib import Path

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.pretraining.windows import Division, Windows, divide
from backbone.sequence.dna import DNA, reverse_complement


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fasta(path: Path, **records: str) -> str:
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in records.items()))
    return str(path)


def random_bases(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def text(window: np.ndarray) -> str:
    return window.tobytes().decode()


def spans(regions: tuple) -> list[tuple[str, int, int]]:
    return [(region.record.name, region.start, region.end) for region in regions]


def train_windows(division: Division, max_unknown: float = 0.1) -> Windows:
    return Windows(division.genome, division.train, max_unknown)


def test_complements_every_letter() -> None:
    sequence = "ACGTNAAC"
    codes = np.frombuffer(sequence.encode(), dtype=np.uint8)
    assert text(DNA.complements[codes[::-1]]) == reverse_complement(sequence)


def test_draw_depends_on_seed_step_and_row_alone(tmp_path: Path) -> None:
    division = divide([fasta(tmp_path / "a.fa", a=random_bases(5000, 0), b=random_bases(999, 1))])
    one, other = train_windows(division), train_windows(division)
    other.draw(64, 3, 3, 3)
    assert np.array_equal(one.batch(8, 50, 0, 7), other.batch(8, 50, 0, 7))
    assert np.array_equal(one.batch(8, 50, 0, 7)[5], other.draw(50, 0, 7, 5))
    for different in ((1, 7, 5), (0, 8, 5), (0, 7, 6)):
        assert not np.array_equal(one.draw(50, *different), one.draw(50, 0, 7, 5))


def test_half_of_the_windows_are_of_the_other_strand_and_all_lie_in_their_region(
    tmp_path: Path,
) -> None:
    bases = random_bases(2000, 2)
    (tmp_path / "x.bed").write_text(
        "a\t100\t400\ttrain\na\t400\t900\tvalid\na\t1000\t1080\ttrain\n"
    )
    division = divide([fasta(tmp_path / "a.fa", a=bases)], bed=str(tmp_path / "x.bed"))
    windows = train_windows(division)
    forward, places = 0, set()
    for step in range(600):
        window = text(windows.draw(40, 0, step, 0))
        forward += window in bases
        start = bases.find(window if window in bases else reverse_complement(window))
        assert 100 <= start <= 360 or 1000 <= start <= 1040
        places.add(start)
    assert 250 < forward < 350
    assert min(places) < 110 and max(places) > 1030


def test_every_place_is_equally_likely_across_regions(tmp_path: Path) -> None:
    # 3 places in the first record and 1 in the second, by windows of 8; the short one has none.
    path = fasta(tmp_path / "a.fa", a="AAAAAAAAAA", b="CCCCCCCC", c="GATTACA")
    windows = train_windows(divide([path]))
    counts = sum(text(windows.draw(8, 0, step, 0))[0] in "AT" for step in range(2000))
    assert counts / 2000 == pytest.approx(0.75, abs=0.03)


def test_windows_rich_in_n_are_passed_over(tmp_path: Path) -> None:
    path = fasta(tmp_path / "a.fa", a="ACGT" * 20 + "N" * 80 + "ACGT" * 20)
    windows = train_windows(divide([path]), max_unknown=0.1)
    drawn = [text(windows.draw(20, 0, step, 0)).count("N") for step in range(200)]
    assert max(drawn) <= 2 < 20
    assert len(windows.tiles(20, 99)) == 8
    with pytest.raises(InputError, match="more than 10% N"):
        train_windows(divide([fasta(tmp_path / "n.fa", n="N" * 50)])).draw(20, 0, 0, 0)


def test_tiles_are_fixed_even_and_do_not_overlap(tmp_path: Path) -> None:
    bases = random_bases(105, 3)
    windows = train_windows(divide([fasta(tmp_path / "a.fa", a=bases)]))
    assert [text(tile) for tile in windows.tiles(10, 99)] == [
        bases[i : i + 10] for i in range(0, 100, 10)
    ]
    assert [text(tile) for tile in windows.tiles(10, 2)] == [bases[:10], bases[90:100]]


def test_too_long_a_window_names_the_longest_region(tmp_path: Path) -> None:
    windows = train_windows(divide([fasta(tmp_path / "a.fa", a="ACGT")]))
    with pytest.raises(InputError, match="window of 5 bases .the longest has 4"):
        windows.draw(5, 0, 0, 0)


def test_files_and_records_are_held_out(tmp_path: Path) -> None:
    a = fasta(tmp_path / "a.fa", a="ACGT", b="CCCC")
    c = fasta(tmp_path / "c.fa", c="GGGG")
    division = divide([str(tmp_path)], valid_fasta=[c], holdout=["b"])
    assert spans(division.train) == [("a", 0, 4)]
    assert spans(division.valid) == [("b", 0, 4), ("c", 0, 4)]
    with pytest.raises(InputError, match="nothing is left"):
        divide([a], holdout=["a", "b"])
    with pytest.raises(InputError, match="no record 'x'"):
        divide([a], holdout=["x"])


@pytest.mark.parametrize(
    ("bed", "message"),
    [
        ("a\t0\t10\ttrain\na\t9\t12\tvalid\n", r"a:9-12 \(valid\) overlaps an interval of train"),
        ("a\t0\t30\ttest\na\t1\t2\ttest\na\t20\t25\ttrain\n", "overlaps an interval of test"),
        ("a\t0\t10\tdev\n", "must be train, valid or test"),
        ("a\t0\t99\ttrain\n", "has 40 bases"),
        ("a\t0\t10\tvalid\n", "nothing is left"),
    ],
)
def test_bad_divisions_by_bed(tmp_path: Path, bed: str, message: str) -> None:
    (tmp_path / "x.bed").write_text(bed)
    with pytest.raises(InputError, match=message):
        divide([fasta(tmp_path / "a.fa", a="ACGT" * 10)], bed=str(tmp_path / "x.bed"))


def test_regions_that_touch_are_one_and_no_base_is_in_two(tmp_path: Path) -> None:
    (tmp_path / "x.bed").write_text(
        "a\t20\t40\ttrain\na\t0\t20\ttrain\na\t30\t50\ttrain\na\t60\t70\ttrain\nb\t0\t9\tvalid\n"
    )
    path = fasta(tmp_path / "a.fa", a="ACGT" * 25, b="C" * 9)
    division = divide([path], bed=str(tmp_path / "x.bed"))
    assert spans(division.train) == [("a", 0, 50), ("a", 60, 70)]
    windows = train_windows(division)
    assert windows.bases == 60
    assert len(windows.draw(45, 0, 0, 0)) == 45  # longer than any interval of the file


def test_an_interval_beyond_its_chromosome_names_file_and_length(tmp_path: Path) -> None:
    (tmp_path / "x.bed").write_text("a\t0\t41\ttrain\n")
    with pytest.raises(
        InputError, match=r"x.bed, line 1: interval a:0-41 is not inside .* 40 bases"
    ):
        divide([fasta(tmp_path / "a.fa", a="ACGT" * 10)], bed=str(tmp_path / "x.bed"))


def test_windows_in_lower_case_are_passed_over_and_case_is_kept_if_asked(tmp_path: Path) -> None:
    path = fasta(tmp_path / "a.fa", a="ACGT" * 20 + "acgt" * 20 + "ACGT" * 20)
    division = divide([path])
    strict = Windows(division.genome, division.train, max_soft_masked=0.1)
    assert max(sum(c.islower() for c in text(strict.draw(20, 0, i, 0))) for i in range(200)) == 2
    assert len(strict.tiles(20, 99)) == 8
    kept = Windows(division.genome, division.train, keep_case=True)
    plain = Windows(division.genome, division.train)
    for step in range(20):
        one, other = text(kept.draw(30, 0, step, 0)), text(plain.draw(30, 0, step, 0))
        assert one.upper() == other and other.isupper()
    assert any(text(kept.draw(30, 0, step, 0)).islower() for step in range(50))
    masked = divide([fasta(tmp_path / "m.fa", m="acgt" * 20)])
    with pytest.raises(InputError, match="more than 10% N or more than 50% in lower case; raise"):
        Windows(masked.genome, masked.train, max_soft_masked=0.5).draw(20, 0, 0, 0)


def test_one_usable_place_among_very_many_is_found(tmp_path: Path) -> None:
    bases = "N" * 30_000 + "ACGTTGCAAC" + "N" * 30_000
    windows = train_windows(divide([fasta(tmp_path / "a.fa", n="C" * 9, a=bases)]), 0.0)
    for step in range(5):
        assert text(windows.draw(10, 0, step, 0)) in (bases.strip("N"), "GTTGCAACGT")


def test_usable_places_are_drawn_alike_when_few(tmp_path: Path) -> None:
    bases = "N" * 20_000 + "AAAAAAAAAAAA" + "N" * 20_000 + "CCCCCCCCCC" + "N" * 20_000
    windows = train_windows(divide([fasta(tmp_path / "a.fa", a=bases)]), 0.0)
    drawn = [text(windows.draw(10, 0, step, 0))[0] in "AT" for step in range(300)]
    assert sum(drawn) / 300 == pytest.approx(0.75, abs=0.08)  # three places of A, one of C


def test_one_strand_alone_if_asked(tmp_path: Path) -> None:
    bases = random_bases(500, 4)
    windows = train_windows(divide([fasta(tmp_path / "a.fa", a=bases)]))
    batch = windows.batch(50, 30, 0, 0, both_strands=False)
    assert all(text(window) in bases for window in batch)
    assert not all(text(window) in bases for window in windows.batch(50, 30, 0, 0))
