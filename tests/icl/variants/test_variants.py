"""Hand-made VCF files over a genome of 30 bases, and everything that is written about them.

                1         2         3
       123456789012345678901234567890     (as VCF counts)
chr1   ACGTTTTGCACACACGGNACGATCGTTAGC
"""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.sequence.dna import reverse_complement
from backbone.tokens import NUCLEOTIDES, encode_dna
from icl.reporting.report import find_reports
from icl.variants import __main__ as variants
from tests.devices import put

pysam = pytest.importorskip("pysam")

GENOME = "ACGTTTTGCACACACGGNACGATCGTTAGC"

HEADER = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=30>
##FILTER=<ID=low,Description="of low quality">
##INFO=<ID=AC,Number=A,Type=Integer,Description="an allele's count">
##INFO=<ID=AD,Number=R,Type=Integer,Description="depth of each allele">
##INFO=<ID=GL,Number=G,Type=Integer,Description="of genotypes">
##INFO=<ID=DP,Number=1,Type=Integer,Description="depth">
##INFO=<ID=SET,Number=1,Type=String,Description="a label">
##INFO=<ID=OF,Number=A,Type=String,Description="an allele's label">
##INFO=<ID=DB,Number=0,Type=Flag,Description="known">
##ALT=<ID=DEL,Description="a deletion">
##FORMAT=<ID=GT,Number=1,Type=String,Description="genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""

ROWS = """chr1\t3\trs1\tG\tA\t50\tlow\tDP=7;SET=bad
chr1\t6\t.\tTT\tT\t.\tPASS\tSET=good
chr1\t9\tmany\tC\tT,CAC\t.\t.\tAC=4,5;AD=1,2,3;GL=1,2,3,4,5,6;SET=bad
chr1\t14\t.\tACG\tA\t.\t.\tSET=good
chr1\t11\tmnv\tcac\tctg\t.\t.\tSET=good
chr1\t20\twrong\tA\tG\t.\t.\t.
chr1\t21\tsv\tG\t<DEL>\t.\t.\tEND=25
chr1\t21\tbreak\tG\tG[chr1:9[\t.\t.\t.
chr1\t22\tstar\tA\tG,*\t.\t.\tSET=good
chr1\t23\tnone\tT\t.\t.\t.\t.
chr1\t24\tiupac\tC\tR\t.\t.\t.
chr1\t18\tn\tN\tA\t.\t.\t.
chr1\t25\tequal\tG\tG\t.\t.\t.
chr1\t30\tend\tCA\tC\t.\t.\t.
chr9\t3\taway\tG\tA\t.\t.\t.
"""

SCORED = [
    # pos, id, ref, alt, given, kind
    ("3", "rs1", "G", "A", "", "snv"),
    ("3", "", "GT", "G", "6/TT/T", "deletion"),
    ("9", "many", "C", "T", "9/C/T,CAC", "snv"),
    ("8", "many", "G", "GCA", "9/C/T,CAC", "insertion"),
    ("14", "", "ACG", "A", "", "deletion"),
    ("12", "mnv", "AC", "TG", "11/cac/ctg", "mnv"),
    ("22", "star", "A", "G", "22/A/G,*", "snv"),
]
"""Worked out by hand, in the order of the rows."""

LEFT_OUT = [
    ("chr1:20", "wrong", "A", "G", "REF is A, and the genome has C"),
    ("chr1:21", "sv", "G", "<DEL>", "ALT is symbolic"),
    ("chr1:21", "break", "G", "G[chr1:9[", "ALT is symbolic"),
    ("chr1:22", "star", "A", "*", "ALT * stands for a deletion of another row"),
    ("chr1:23", "none", "T", ".", "there is no ALT"),
    ("chr1:24", "iupac", "C", "R", "ALT has letters other than A, C, G and T"),
    ("chr1:18", "n", "N", "A", "REF has a base that is not known"),
    ("chr1:25", "equal", "G", "G", "ALT equals REF"),
    ("chr1:30", "end", "CA", "C", "the record has 30 bases"),
    ("chr9:3", "away", "G", "A", "the FASTA file has no such record"),
]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> HyenaDNA:
    """A small backbone in double precision, which the command loads."""
    config = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=70, initializer_range=0.4)
    found = put(random_model(config, seed=1)).double().eval().requires_grad_(False)
    monkeypatch.setattr("backbone.hyena.zoo.load", lambda name, device: found)
    return found


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls the command in a folder with the genome and the file x.vcf."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(variants, "prepare_arithmetic", lambda *_: None)
    Path("genome.fa").write_text(f">chr1\n{GENOME[:20].lower()}\n{GENOME[20:]}\n")
    Path("x.vcf").write_text(HEADER + ROWS)
    return lambda *words: variants.main(
        ["vcf=x.vcf", "fasta=genome.fa", "out=o", "window=60", *words]
    )


def table(path: str) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file, delimiter="\t"))


def by_hand(model: HyenaDNA, text: str) -> tuple[float, np.ndarray]:
    """Log-likelihood of all bases but the first, and final states, in the published form."""
    ids = put(torch.from_numpy(encode_dna(text)))[None]
    hidden = reference.encode(model, model.embed(ids))
    logits = model.logits(hidden)[0][:, list(NUCLEOTIDES)].log_softmax(-1)
    known = [(t, "ACGT".index(text[t])) for t in range(1, len(text)) if text[t] in "ACGT"]
    return float(sum(logits[t - 1, letter] for t, letter in known)), hidden[0].cpu().numpy()


def changes_by_hand(model: HyenaDNA, ref: str, alt: str, start: int) -> tuple[float, float]:
    """Change of the log-likelihood, and distance of mean states from `start` on, of one strand."""
    (own, states), (other, changed) = by_hand(model, ref), by_hand(model, alt)
    gap = changed[start:].mean(axis=0) - states[start:].mean(axis=0)
    return other - own, float(np.linalg.norm(gap))


def test_every_allele_is_scored_or_named_with_its_reason(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert score() == 0
    found, left = table("o/variants.tsv"), table("o/left_out.tsv")
    columns = ("pos", "id", "ref", "alt", "given", "kind")
    assert [tuple(row[name] for name in columns) for row in found] == SCORED
    assert [tuple(row.values()) for row in left] == LEFT_OUT
    alleles = sum(len(row.split("\t")[4].split(",")) for row in ROWS.splitlines())
    assert alleles == len(found) + len(left) == 17
    out, err = capsys.readouterr()
    assert out == "7 alleles scored: o/variants.tsv, 10 left out: o/left_out.tsv\n"
    lines = err.splitlines()
    assert lines[0] == "left out: chr1:20 A>G: REF is A, and the genome has C"
    assert len(lines) == len(LEFT_OUT)


@pytest.mark.parametrize("window", [12, 30, 70])
def test_scores_are_those_of_plain_passes_over_both_alleles_and_strands(
    model: HyenaDNA, score: Callable[..., int], window: int
) -> None:
    assert score(f"window={window}") == 0
    for row in table("o/variants.tsv"):
        ref, alt, at = row["ref"], row["alt"], int(row["pos"]) - 1
        while ref and alt and ref[0] == alt[0]:
            ref, alt, at = ref[1:], alt[1:], at + 1
        first, last = max(0, at - window // 2), at - window // 2 + window
        before, after = GENOME[first:at], GENOME[at + len(ref) : last]
        one, other = before + ref + after, before + alt + after
        found = [changes_by_hand(model, one, other, len(before))]
        one, other = reverse_complement(one), reverse_complement(other)
        found.append(changes_by_hand(model, one, other, len(after)))
        expected = np.mean(found, axis=0)
        values = [float(row["delta_log_likelihood"]), float(row["state_distance"])]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_the_written_vcf_has_a_row_for_each_allele_with_its_own_values(
    model: HyenaDNA, score: Callable[..., int]
) -> None:
    assert score() == 0
    rows = list(pysam.VariantFile("o/variants.vcf"))
    named = [(str(r.pos), r.id or "", r.ref, r.alts[0], r.info.get("ICL_OLD", "")) for r in rows]
    assert named == [(p, i, r, a, g.replace(",", "|")) for p, i, r, a, g, _ in SCORED]
    assert rows[0].qual == 50 and list(rows[0].filter) == ["low"] and rows[0].info["DP"] == 7
    split = rows[2:4]
    assert [r.info["AC"] for r in split] == [(4,), (5,)]
    assert [r.info["AD"] for r in split] == [(1, 2), (1, 3)]
    assert all("GL" not in r.info and r.info["SET"] == "bad" for r in split)
    for row, line in zip(rows, table("o/variants.tsv"), strict=True):
        assert row.info["ICL_DLL"] == pytest.approx(float(line["delta_log_likelihood"]), rel=1e-4)
        assert row.info["ICL_DIST"] == pytest.approx(float(line["state_distance"]), rel=1e-4)
    assert "both strands" in rows[0].header.info["ICL_DLL"].description


@pytest.mark.parametrize("form", ["gzip", "bgzip", "bgzip with another name"])
def test_compressed_files_are_read_alike(
    model: HyenaDNA, score: Callable[..., int], form: str
) -> None:
    assert score() == 0
    expected = Path("o/variants.tsv").read_text()
    name = "y.vcf" if form.endswith("name") else "y.vcf.gz"
    if form == "gzip":
        Path(name).write_bytes(gzip.compress((HEADER + ROWS).encode()))
    else:
        pysam.tabix_compress("x.vcf", name)
    assert score(f"vcf={name}", "out=p") == 0
    assert Path("p/variants.tsv").read_text() == expected


def test_a_region_of_an_indexed_file_is_read_alone(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    ordered = sorted(ROWS.splitlines(), key=lambda row: (row[:4], int(row.split("\t")[1])))
    Path("y.vcf").write_text(HEADER + "\n".join(ordered) + "\n")
    pysam.tabix_index("y.vcf", preset="vcf", force=True)
    assert score("vcf=y.vcf.gz", "region=chr1:3-9") == 0
    assert [row["pos"] for row in table("o/variants.tsv")] == ["3", "3", "9", "8"]
    capsys.readouterr()
    assert score("region=chr1:3-9") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_alleles_far_behind_a_variant_may_be_left_unread(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert score("after=3") == 0
    assert capsys.readouterr().out.startswith("after=3: of the first 7 alleles' delta_log_like")
    row = table("o/variants.tsv")[0]  # chr1:3 G>A
    forward = changes_by_hand(model, GENOME[:6], GENOME[:2] + "A" + GENOME[3:6], 2)
    other = reverse_complement(GENOME)
    backward = changes_by_hand(model, other, other[:27] + "T" + other[28:], 27)
    expected = np.mean([forward, backward], axis=0)
    values = [float(row["delta_log_likelihood"]), float(row["state_distance"])]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_after_everything_is_no_cut(model: HyenaDNA, score: Callable[..., int]) -> None:
    assert score() == 0 and score("after=40", "out=p") == 0
    assert Path("o/variants.tsv").read_text() == Path("p/variants.tsv").read_text()


def test_a_table_of_sequences_is_scored_alike(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert score() == 0
    expected = table("o/variants.tsv")[0]
    alt = GENOME[:2] + "A" + GENOME[3:]
    rows = [(GENOME.lower(), alt), (GENOME, GENOME), ("ACXT", "ACGT"), ("", "A"), ("A" * 71, "A")]
    Path("x.csv").write_text("ref,alt,kept\n" + "".join(f"{a},{b},1\n" for a, b in rows))
    capsys.readouterr()
    assert variants.main(["table=x.csv", "out=p"]) == 0
    (found,) = table("p/variants.tsv")
    for name in ("delta_log_likelihood", "state_distance", "kind", "gc_change"):
        assert found[name] == expected[name]
    reasons = [row["reason"] for row in table("p/left_out.tsv")]
    assert reasons[0] == "alt equals ref" and "position 3: 'X' is not" in reasons[1]
    assert reasons[2:] == [
        "ref is empty",
        "71 bases exceed the 70 that can be read at a time",
    ]
    assert not Path("p/variants.vcf").exists()


def finished(call: Callable[..., object], tmp_path: Path, *words: str) -> Path:
    call("task=tiny_rows", f"out={tmp_path / 'runs'}", *words)
    (path,) = find_reports(tmp_path / "runs")
    return path.parent


def alleles_in_windows(row: dict[str, str]) -> list[str]:
    """Both alleles of a row of the table in a window of 30 bases, by slices of the genome."""
    ref, alt, at = row["ref"], row["alt"], int(row["pos"]) - 1
    while ref and alt and ref[0] == alt[0]:
        ref, alt, at = ref[1:], alt[1:], at + 1
    first, last = max(0, at - 15), at + 15
    return [GENOME[first:at] + x + GENOME[at + len(ref) : last] for x in (ref, alt)]


@pytest.mark.parametrize(
    "words",
    [
        ("method=kmer_logreg", "method.kmer=2"),
        ("method=soft_prompt", "k=2", "method.epochs=1", "threads=1"),
        ("method=few_shot", "k=1", "method.readout=channel", "threads=1"),
    ],
)
def test_a_runs_log_odds_are_those_of_its_predictions(
    call: Callable[..., object], tiny: object, tmp_path: Path, score: Callable[..., int],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    from icl.predict import load_method, predict

    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=150, initializer_range=0.4)
    put(random_model(shape, 0)).save_pretrained(tmp_path / "small")
    run = finished(call, tmp_path, f"backbone={tmp_path / 'small'}", *words)
    assert score(f"run={run}", "window=30", f"backbone={tmp_path / 'small'}") == 0
    method, report = load_method(run)
    labels = list(report.setup.labels)
    for row in table("o/variants.tsv"):
        texts = alleles_in_windows(row)
        answers = predict(method, texts)[:, labels.index("rich")]
        odds = np.log(answers / (1 - answers))
        assert float(row["log_odds_ref"]) == pytest.approx(odds[0], abs=1e-4)
        assert float(row["delta_log_odds"]) == pytest.approx(odds[1] - odds[0], abs=1e-4)
    assert score(f"run={run}", "window=30", "class=poor", "backbone=none", "out=p") == 0
    for one, other in zip(table("o/variants.tsv"), table("p/variants.tsv"), strict=True):
        opposite = -float(other["delta_log_odds"])
        assert float(one["delta_log_odds"]) == pytest.approx(opposite, abs=1e-4)
        assert "delta_log_likelihood" not in other


@pytest.mark.parametrize("method", ["kmer_logreg", "gc_only"])
def test_a_regression_gives_the_change_of_its_number(
    model: HyenaDNA, tmp_path: Path, score: Callable[..., int], capsys: pytest.CaptureFixture,
    method: str,
) -> None:  # fmt: skip
    from icl.predict import load_method, predict

    run = regression(tmp_path, method)
    assert score(f"run={run}", "window=30", "label=SET", "positive=[bad]") == 0
    learned, _ = load_method(run)
    for row in table("o/variants.tsv"):
        texts = alleles_in_windows(row)
        own, other = predict(learned, texts)[:, 0]
        assert float(row["number_ref"]) == pytest.approx(own, rel=1e-4)
        assert float(row["delta_number"]) == pytest.approx(other - own, rel=1e-3, abs=1e-5)
    assert {"number gained", "number changed"} <= {row["score"] for row in table("o/metrics.tsv")}
    (line,) = [
        text for text in Path("o/variants.vcf").read_text().splitlines() if "ID=ICL_DNUM" in text
    ]
    assert "Change of the number of gc under" in line
    capsys.readouterr()
    assert score(f"run={run}", "window=30", "class=gc") == 2
    assert "predicts a number" in capsys.readouterr().err


def regression(tmp_path: Path, method: str) -> Path:
    """A run that has learned to predict 100 + 20 times the share of G and C from a table."""
    draw = np.random.default_rng(0)
    texts = ["".join(draw.choice(list("ACGT"), size=30)) for _ in range(60)]
    lines = [f"{text},{100 + 20 * sum(map(text.count, 'CG')) / 30:.4f}" for text in texts]
    path = tmp_path / "numbers.csv"
    path.write_text("sequence,gc\n" + "\n".join(lines) + "\n")
    from icl import run

    words = ["task=table", f"task.train={path}", "task.label=gc", "task.kind=regression"]
    assert run.main([*words, f"method={method}", "audit=none", f"out={tmp_path / 'runs'}"]) == 0
    (found,) = find_reports(tmp_path / "runs")
    return found.parent


def test_labels_give_metrics_by_kind_and_beside_baselines(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert score("label=SET", "positive=[bad]") == 0
    found = table("o/metrics.tsv")
    assert {row["kind"] for row in found} >= {"all", "snv", "deletion", "transition", "at CpG"}
    every = [row for row in found if row["kind"] == "all"]
    assert {row["alleles"] for row in every} == {"7"} and {r["positives"] for r in every} == {"3"}
    scores = table("o/variants.tsv")
    lost = [(-float(row["delta_log_likelihood"]), row["label"] == "bad") for row in scores]
    pairs = [(a > b) for a, bad in lost if bad for b, other in lost if not other]
    (auroc,) = [row["auroc"] for row in every if row["score"] == "likelihood lost"]
    assert float(auroc) == pytest.approx(np.mean(pairs), abs=1e-5)
    out = capsys.readouterr().out
    assert "3 positive and 4 negative alleles: o/metrics.tsv" in out
    assert "  likelihood lost " in out and "baseline: GC change" in out


def test_mistakes_are_one_line(
    model: HyenaDNA, score: Callable[..., int], capsys: pytest.CaptureFixture,
    call: Callable[..., object], tiny: object, tmp_path: Path,
) -> None:  # fmt: skip
    run = finished(call, tmp_path, "method=gc_only")
    Path("bare.vcf").write_text(ROWS)
    Path("damaged.vcf.gz").write_bytes(gzip.compress((HEADER + ROWS * 50).encode())[:-40])
    Path("ensembl.fa").write_text(f">1\n{GENOME}\n")
    capsys.readouterr()
    for words, part in (
        (["region=chr1:1-9"], "region=chr1:1-9 needs an index of x.vcf"),
        (["fasta=ensembl.fa"], "two naming styles"),
        (["window=71"], "window=71: exceeds the 70 bases that can be read at a time"),
        (["vcf=bare.vcf"], "bare.vcf: it has no VCF header"),
        ([f"run={run}", "class=rch"], "unknown class 'rch'; did you mean rich"),
        (["vcf=no.vcf"], "no VCF file at 'no.vcf'"),
        (["fasta=no.fa"], "no FASTA file at 'no.fa'"),
        (["vcf=damaged.vcf.gz"], "damaged"),
        (["vcf=genome.fa"], "genome.fa: it"),
        (["label=CLNSIG"], "label=CLNSIG: the INFO keys of x.vcf are AC, AD"),
        (["label=SET"], "the labels are bad, good: say which are positive"),
        (["label=SET", "positive=[worse]"], "no allele has the label 'worse'"),
        (["class=rich"], "class=rich: is a class of a run; give run= too"),
        (["backbone=none"], "backbone=none leaves nothing to score with"),
        (["positive=[bad]"], "are values of label="),
        (["table=x.csv"], "give vcf=FILE and fasta=GENOME, or table=FILE"),
        (["windw=9"], "did you mean window?"),
    ):
        assert score(*words) == 2, words
        lines = [line for line in capsys.readouterr().err.splitlines() if "left out" not in line]
        assert len(lines) == 1 and lines[0].startswith("error: ") and part in lines[0], words
