import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backbone import likelihood
from backbone.common.errors import InputError
from backbone.engine.prefix import PrefixEngine
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.likelihood import Options, Stretch, read_stretches
from backbone.sequence.dna import reverse_complement
from backbone.sequence.stretches import stretches
from backbone.tokens import NUCLEOTIDES, encode_dna
from tests.devices import put

CONFIG = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=24, initializer_range=0.4)
LETTERS = np.random.default_rng(0).choice(list("ACGT"), size=70)
RECORD = "".join(LETTERS[:31]) + "NN" + "".join(LETTERS[33:])
FASTA = f">chr1\n{RECORD}\n>chr2\n{RECORD[5:20].lower()}\n"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> HyenaDNA:
    """A small backbone in double precision, which every command loads."""
    found = put(random_model(CONFIG, seed=1)).double().eval().requires_grad_(False)
    monkeypatch.setattr("backbone.hyena.zoo.load", lambda name, device: found)
    return found


@pytest.fixture(autouse=True)
def fasta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.fa").write_text(FASTA)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


def by_hand(model: HyenaDNA, text: str) -> list[float | None]:
    """Log P of every base of a sequence in one pass of the published form; None for no target."""
    ids = put(torch.from_numpy(encode_dna(text)))[None]
    logits = reference.logits(model, ids)[0][:, list(NUCLEOTIDES)].log_softmax(-1)
    found: list[float | None] = [None]
    for t in range(1, len(text)):
        known = text[t] in "ACGT"
        found.append(float(logits[t - 1, "ACGT".index(text[t])]) if known else None)
    return found


def windowed(model: HyenaDNA, text: str, context: int, overlap: int) -> list[float | None]:
    """The same of a sequence of any length, stretch by stretch."""
    if len(text) <= context:
        return by_hand(model, text)
    found: list[float | None] = []
    for start in range(0, len(text), context - overlap):
        before = min(start, overlap)
        piece = text[start - before : start + context - overlap]
        found += by_hand(model, piece)[before:]
    return found


def rows(path: str) -> list[dict[str, str]]:
    lines = Path(path).read_text().splitlines()
    names = lines[0].split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]


def score(*words: str) -> int:
    return likelihood.main(["fasta=x.fa", *words])


@given(length=st.integers(0, 60), context=st.integers(2, 24), data=st.data())
def test_every_base_is_in_one_stretch_that_fits_the_context(
    length: int, context: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, context - 1))
    found = list(stretches(length, context, overlap))
    assert [t for start, end in found for t in range(start, end)] == list(range(length))
    assert len(found) == 1 or all(end - start + overlap <= context for start, end in found)


@pytest.mark.parametrize(("context", "overlap"), [(24, 12), (24, 20), (10, 3)])
def test_likelihoods_of_both_strands_are_those_of_plain_passes(
    model: HyenaDNA, context: int, overlap: int
) -> None:
    assert score(f"context={context}", f"overlap={overlap}", "track=t.bedgraph") == 0
    lines = [line.split("\t") for line in Path("t.bedgraph").read_text().splitlines()]
    track = {(name, int(start)): float(value) for name, start, _, value in lines}
    assert all(int(end) == int(start) + 1 for _, start, end, _ in lines)
    for row, text in zip(rows("likelihood.tsv"), (RECORD, RECORD[5:20]), strict=True):
        length = len(text)
        forward = windowed(model, text, context, overlap)
        # The other strand's stretches end where the forward strand's begin.
        starts = [start for start, _ in stretches(length, context, overlap)]
        reverse: list[float | None] = []
        for start, end in zip(starts, [*starts[1:], length], strict=True):
            after = min(overlap, length - end)
            piece = by_hand(model, reverse_complement(text[start : end + after]))
            reverse += piece[after:][::-1]
        sums = [sum(x for x in strand if x is not None) for strand in (forward, reverse)]
        count = [sum(x is not None for x in strand) for strand in (forward, reverse)]
        assert row["bases"] == str(count[0])
        assert float(row["forward"]) == pytest.approx(sums[0], abs=1e-5)
        assert float(row["reverse"]) == pytest.approx(sums[1], abs=1e-5)
        assert float(row["log_likelihood"]) == pytest.approx(sum(sums) / 2, abs=1e-5)
        bits = -sum(sums) / sum(count) / math.log(2)
        assert float(row["bits_per_base"]) == pytest.approx(bits, abs=1e-5)
        for at, pair in enumerate(zip(forward, reverse, strict=True)):
            known = [x for x in pair if x is not None]
            value = track.pop((row["record"], at), None)
            assert (value is None) == (not known)
            if known and value is not None:
                assert value == pytest.approx(-sum(known) / len(known) / math.log(2), rel=1e-4)
    assert not track


def test_an_interval_of_the_other_strand_swaps_the_strands(model: HyenaDNA) -> None:
    Path("x.bed").write_text("chr1\t3\t20\ta\t0\t+\nchr1\t3\t20\tb\t0\t-\n")
    assert score("bed=x.bed") == 0
    one, other = rows("likelihood.tsv")
    assert (one["forward"], one["reverse"]) == (other["reverse"], other["forward"])
    assert one["log_likelihood"] == other["log_likelihood"]
    given = [float(x) for x in by_hand(model, RECORD[3:20])[1:]]  # type: ignore[arg-type]
    assert float(one["forward"]) == pytest.approx(sum(given), abs=1e-5)
    assert score("bed=x.bed", "strands=forward") == 0
    again, backwards = rows("likelihood.tsv")
    assert again["forward"] == one["forward"] and again["reverse"] == ""
    assert backwards["forward"] == other["forward"] == backwards["log_likelihood"]


def test_a_sequence_without_a_counted_base_has_empty_cells(model: HyenaDNA) -> None:
    Path("x.bed").write_text("chr1\t31\t33\nchr1\t4\t5\n")
    assert score("bed=x.bed") == 0
    for row in rows("likelihood.tsv"):
        assert (row["bases"], row["log_likelihood"], row["bits_per_base"]) == ("0", "", "")


def test_a_stretch_is_read_alike_alone_and_beside_others() -> None:
    engine = PrefixEngine(put(random_model(CONFIG, seed=1)).eval().requires_grad_(False))
    texts = [(RECORD[:24], 0), (RECORD[3:20], 4)]
    for (values, counts), text in zip(read_stretches(engine, texts), texts, strict=True):
        alone = read_stretches(engine, [text])[0]
        np.testing.assert_allclose(values, alone[0], atol=1e-6)
        np.testing.assert_array_equal(counts, alone[1])


def test_the_batch_size_changes_no_digit(model: HyenaDNA) -> None:
    found = []
    for size in (1, 7):
        assert score("context=10", f"batch_size={size}", "track=t.bedgraph") == 0
        found.append([Path(name).read_bytes() for name in ("likelihood.tsv", "t.bedgraph")])
    assert found[0] == found[1]


class Interrupted(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("after", [0, 1, 4])
def test_an_interrupted_command_goes_on_to_the_same_files(
    model: HyenaDNA, monkeypatch: pytest.MonkeyPatch, after: int, capsys: pytest.CaptureFixture
) -> None:
    words = ("context=10", "overlap=3", "track=t.bedgraph")
    assert score(*words) == 0
    whole = [Path(name).read_bytes() for name in ("likelihood.tsv", "t.bedgraph")]
    for name in ("likelihood.tsv", "t.bedgraph"):
        Path(name).unlink()
    read, done = likelihood.Scan.read, []

    def once(scan: likelihood.Scan, some: list[Stretch]) -> object:
        if len(done) == after:
            raise Interrupted
        done.append(some)
        return read(scan, some)

    monkeypatch.setattr(likelihood.Scan, "read", once)
    with pytest.raises(Interrupted):
        score(*words)
    with Path(".t.bedgraph.bedgraph").open("a") as file:
        file.write("chr1\t60")  # a line that was being written
    with Path(".likelihood.tsv.journal").open("a") as file:
        file.write("[[0, 1")
    monkeypatch.setattr(likelihood.Scan, "read", read)
    capsys.readouterr()
    assert score(*words) == 0
    assert (f"{after} of" in capsys.readouterr().err) == (after > 0)
    assert [Path(name).read_bytes() for name in ("likelihood.tsv", "t.bedgraph")] == whole
    assert not list(Path().glob(".*journal")) and not list(Path().glob(".*bedgraph"))


def test_a_journal_of_other_settings_is_not_used(
    model: HyenaDNA, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(likelihood, "table", lambda *_: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            score("context=10")
    assert score("context=12") == 0
    assert "are there" not in capsys.readouterr().err


def test_a_bigwig_holds_what_the_bedgraph_holds(model: HyenaDNA) -> None:
    pyBigWig = pytest.importorskip("pyBigWig")  # noqa: N806
    assert score("track=t.bedgraph") == 0 and score("track=t.bw") == 0
    track = pyBigWig.open("t.bw")
    assert track.chroms() == {"chr1": len(RECORD), "chr2": 15}
    for line in Path("t.bedgraph").read_text().splitlines():
        name, start, end, value = line.split("\t")
        assert track.values(name, int(start), int(end)) == [pytest.approx(float(value))]
    assert math.isnan(track.values("chr1", 31, 32)[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["context=25"], "context=25: exceeds the backbone's max_seq_len of 24"),
        (["context=8", "overlap=8"], "overlap=8: must be less than the context of 8"),
        (["track=t.wig"], "track=t.wig: the name must end in .bedgraph or .bw"),
        (["track=no/t.bw"], "track=no/t.bw: there is no folder no"),
        (["out=no/x.tsv"], "out=no/x.tsv: there is no folder no"),
        (["bed=x.bed", "track=t.bedgraph"], "intervals chr1:0-9 and chr1:4-12 overlap"),
        (["bed=y.bed"], "two naming styles"),
    ],
)
def test_a_mistake_is_one_line(
    model: HyenaDNA, words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    Path("x.bed").write_text("chr1\t4\t12\nchr1\t0\t9\n")
    Path("y.bed").write_text("1\t4\t12\n")
    assert score(*words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_a_fasta_file_the_command_says_so() -> None:
    with pytest.raises(InputError, match="fasta= is missing"):
        list(likelihood.run(Options()))
