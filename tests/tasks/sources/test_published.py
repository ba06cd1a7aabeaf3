import gzip
from pathlib import Path

import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.division import same_sequence
from tasks.sources.hub import HubDataset
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task

HEADER = "sequence\tlabel\n"
TEST = "genomic_benchmarks/human_enhancers_cohn.test.tsv.gz"
TRAIN = "genomic_benchmarks/human_enhancers_cohn.train.tsv.gz"


def sequence(number: int) -> str:
    """A different sequence for each number, none the reverse complement of another."""
    return "AAAAAAAAAA" + "".join("AC"[number >> bit & 1] for bit in range(8))


def table(rows: int, start: int = 0) -> str:
    return HEADER + "".join(f"{sequence(start + i)}\t{i % 2}\n" for i in range(rows))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def cohn(data: Path, seed: int = 0):
    return TASKS.get("enhancer_cohn").splits(seed, data)


def source(*layouts: Layout) -> Task:
    return Task("mine", ("no", "yes"), PublishedSource(HubDataset("a/b"), layouts))


def test_a_test_file_alone_is_divided_and_origin_says_so(tmp_path):
    write(tmp_path / TEST, table(100))
    splits = cohn(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [70, 10, 20]
    assert splits.origin == (
        "70/10/20 of the official test split (human_enhancers_cohn.test.tsv.gz), "
        "stratified, split_seed=0"
    )
    rows = {e.sequence: e.label for e in splits.train + splits.val + splits.test}
    assert rows == {sequence(i): i % 2 for i in range(100)}
    again, other = cohn(tmp_path), cohn(tmp_path, seed=1)
    assert again == splits
    assert other.sha256 != splits.sha256 and other.test != splits.test


def test_train_and_test_files_come_before_the_pool_and_test_stays_whole(tmp_path):
    write(tmp_path / TEST, table(20))
    write(tmp_path / TRAIN, table(100, start=100))
    splits = cohn(tmp_path)
    assert [e.sequence for e in splits.test] == [sequence(i) for i in range(20)]
    assert (len(splits.train), len(splits.val)) == (90, 10)
    assert splits.origin == (
        "train and validation are 90/10 of the official train split "
        "(human_enhancers_cohn.train.tsv.gz), stratified, split_seed=0; test is the official "
        "test split (human_enhancers_cohn.test.tsv.gz)"
    )


def test_a_dev_file_is_validation_or_stands_in_for_train(tmp_path):
    train, dev, test = (Part(f"{n}.csv", f"the {n} file") for n in ("train", "dev", "test"))
    for number, part in enumerate((train, dev, test)):
        write(tmp_path / part.file, table(40, start=40 * number).replace("\t", ","))
    task = source(Layout(train=train, dev=dev, test=test))
    splits = task.splits(0, tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [40, 40, 40]
    assert splits.val[0].sequence == sequence(40)
    assert splits.origin == (
        "train is the train file (train.csv), validation the dev file (dev.csv); "
        "test is the test file (test.csv)"
    )
    task = source(Layout(train=Part("none.csv", ""), test=test), Layout(dev=dev, test=test))
    splits = task.splits(0, tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [36, 4, 40]
    assert splits.origin.startswith("no train file, so train and validation are 90/10 of the dev")
    assert task.split("val", 0, tmp_path) == splits.val


def test_equal_sequences_stay_on_one_side_and_origin_counts_them(tmp_path):
    from backbone.sequence.dna import reverse_complement

    twice = "".join(f"{reverse_complement(sequence(i))}\t{i % 2}\n" for i in range(30))
    write(tmp_path / TEST, table(60) + twice)
    splits = cohn(tmp_path)
    assert "30 rows that repeat another sequence or its reverse complement" in splits.origin
    parts = [[e.sequence for e in part] for part in (splits.train, splits.val, splits.test)]
    groups = same_sequence([s for part in parts for s in part]).tolist()
    sides = [set(groups[: len(parts[0])]), set(groups[len(parts[0]) : -len(parts[2])])]
    sides.append(set(groups[-len(parts[2]) :]))
    assert sum(map(len, sides)) == 60


def test_na_is_a_sequence_and_labels_may_be_names(tmp_path):
    names = table(40).replace("\t0\n", "\tnegative\n") + "NA\tnegative\nnan\tpositive\n"
    file = write(tmp_path / "own.tsv", names.replace("negative\nnan", "negative\nNAN"))
    splits = cohn(file)
    rows = {e.sequence: e.label for e in splits.train + splits.val + splits.test}
    assert rows["NA"] == 0 and rows["NAN"] == 1 and len(rows) == 42
    assert splits.origin == "70/10/20 of the table own.tsv, stratified, split_seed=0"


def test_sequences_are_cleaned_and_ambiguous_letters_counted(tmp_path):
    splits = cohn(write(tmp_path / "own.csv", table(40).replace("\t", ",") + "acguRYn,1\n"))
    assert "ACGTNNN" in {e.sequence for e in splits.train + splits.val + splits.test}
    assert splits.ambiguous_letters == 2


def refused(data: Path) -> str:
    with pytest.raises(InputError) as error:
        cohn(data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_absent_and_empty_folders_are_named_with_the_files_looked_for(tmp_path):
    assert "nowhere does not exist" in refused(tmp_path / "nowhere")
    assert TEST in refused(tmp_path) and TRAIN in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seq\tlabel\nACGT\t0\n", "no column sequence; the columns must include sequence,label"),
        ("a\tb\nACGT\t0\n", "no column sequence and no column label"),
        ("", "the file is empty"),
        (HEADER, "no rows below the header"),
        (table(10) + "ACGT\t2\n", "line 12 has the label '2', which the task does not declare"),
        (table(10) + "ACGT\t\n", "1 row without a label (first: line 12); fill"),
        (table(10) + "ACGT\n", "1 row without a label (first: line 12); fill"),
        (table(10) + "ACXT\t1\n", "line 12, position 3: 'X' is not a nucleotide letter"),
        (table(10) + "\t1\n", "1 row without a sequence (first: line 12); fill"),
        (table(10) + "A\t1\tb\tc\n", "line 12 has 4 cells and the header 2 columns"),
        (table(10).replace("\t1\n", "\t0\n"), "class 'positive' has no rows in train"),
        (table(4), "has no rows in val"),
    ],
)
def test_tables_that_cannot_be_used_give_one_line_with_the_file(tmp_path, text, message):
    write(tmp_path / TEST, text)
    assert message in refused(tmp_path)
    assert "human_enhancers_cohn.test.tsv.gz" in refused(tmp_path)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:40], lambda raw: b"no",
                                    lambda raw: raw[:60] + b"\xff\x00\xff" + raw[63:]])  # fmt: skip
def test_a_damaged_gz_is_named(tmp_path, damage):
    file = write(tmp_path / TEST, table(200))
    file.write_bytes(damage(file.read_bytes()))
    assert "human_enhancers_cohn.test.tsv.gz: the .gz file is truncated or corrupt" in refused(
        tmp_path
    )


def test_a_table_must_be_text_and_of_a_known_kind(tmp_path):
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as a table of text" in refused(tmp_path / "own.csv")
    assert "it must be .csv, .tsv, .txt or .jsonl" in refused(write(tmp_path / "own.xlsx", "x"))


def test_intervals_are_cut_out_of_a_genome_on_their_strand(tmp_path):
    genome = "ACGTTACCGGATTTACAGATCCTGAACGTCAAATGC"
    write(tmp_path / "g.fa", f">chr1\n{genome}\n")
    rows = [(i, i + 8, "+-"[i % 2], i % 2) for i in range(20)]
    text = "".join(f"chr1\t{s}\t{e}\t{strand}\t{label}\n" for s, e, strand, label in rows)
    header = "region\tstart\tend\tstrand\tlabel\n"
    write(tmp_path / "i.tsv", header + text)
    task = source(Layout(pool=Part("i.tsv", "the intervals", genome="g.fa")))
    splits = task.splits(0, tmp_path)
    got = {e.sequence for e in splits.train + splits.val + splits.test}
    assert "ACGTTACC" in got  # chr1:0-8 on the forward strand
    assert "CGGTAACG" in got  # chr1:1-9, CGTTACCG on the other strand
    assert splits.origin.startswith("70/10/20 of the intervals (i.tsv)")
    write(tmp_path / "i.tsv", header + text + "chr1\t30\t40\t+\t0\n")
    with pytest.raises(InputError, match="i.tsv: line 22: interval chr1:30-40 is not inside"):
        task.splits(0, tmp_path)
    write(tmp_path / "i.tsv", header + "chr1\t-1\t5\t+\t0\n")
    with pytest.raises(InputError, match="line 2 has the interval -1-5"):
        task.splits(0, tmp_path)


def test_enhancer_cohn_is_divided_evenly(shared_data):
    splits = cohn(shared_data)
    parts = (splits.train, splits.val, splits.test)
    assert [len(part) for part in parts] == [4864, 694, 1390]
    assert [sum(e.label for e in part) for part in parts] == [2432, 347, 695]
    assert len({e.sequence for part in parts for e in part}) == 6948
    assert splits.ambiguous_letters == 0 and splits.revision is None
