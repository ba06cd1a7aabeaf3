"""Tables in the formats people have, and the everyday faults of tables, one line each."""

import bz2
import gzip
import json
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.own.table import TableConfig
from tasks.registry import build_task
from tasks.sources.tables import column_names, read_columns
from tasks.task import Task

ROWS = [("ACGT" + "".join("AC"[i >> bit & 1] for bit in range(6)), "yn"[i % 2]) for i in range(40)]
TEXT = "sequence,label\n" + "".join(f"{s},{y}\n" for s, y in ROWS)


def table(train, **options) -> Task:
    return build_task(TableConfig("table", train=str(train), **options))


def rows(task: Task) -> dict[str, object]:
    splits = task.splits(0)
    names = task.labels if task.kind == "classes" else None
    return {
        e.sequence: names[e.label] if names else e.label
        for e in (*splits.train, *splits.val, *splits.test)
    }


def notes(task: Task) -> str:
    return "\n".join(task.splits(0).notes)


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


def same(raw: bytes) -> bytes:
    return raw


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("name", ["t.csv", "t.TSV", "t.Txt"])
def test_the_delimiter_is_found_whatever_the_file_is_called(tmp_path, name, delimiter):
    (tmp_path / name).write_text(TEXT.replace(",", delimiter))
    task = table(tmp_path / name)
    assert task.name == "t" and rows(task) == dict(ROWS)


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [(".gz", gzip.compress), (".GZ", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)],
)
def test_compressed_tables_are_read_and_damaged_ones_named(tmp_path, suffix, packed):
    file = tmp_path / f"t.csv{suffix}"
    file.write_bytes(packed(TEXT.encode()))
    assert table(file).name == "t" and rows(table(file)) == dict(ROWS)
    for damaged in (file.read_bytes()[:-9], b"no such thing"):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=f"the {suffix.lower()} file is truncated or corrupt"):
            table(file)


def test_parquet_and_json_lines_are_read(tmp_path):
    frame = pd.DataFrame(ROWS, columns=["sequence", "label"])
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.JSONL", orient="records", lines=True)
    frame.to_json(tmp_path / "z.jsonl.gz", orient="records", lines=True)
    for name in ("t.parquet", "t.JSONL", "z.jsonl.gz"):
        assert rows(table(tmp_path / name)) == dict(ROWS)
    frame["label"] = [i % 2 if i else None for i in range(40)]  # pandas makes these 0.0 and 1.0
    frame.to_parquet(tmp_path / "n.parquet")
    with pytest.raises(InputError, match=r"n.parquet: 1 row without a label \(first: row 1\)"):
        table(tmp_path / "n.parquet").splits(0)
    assert set(rows(table(tmp_path / "n.parquet", missing="drop")).values()) == {"0.0", "1.0"}
    lists = [{"sequence": s, "label": [i % 2, 1, i // 2 % 2]} for i, (s, _) in enumerate(ROWS)]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lists)))
    found = rows(table(tmp_path / "l.jsonl", kind="multi_label"))
    assert found == {s: (i % 2, 1, i // 2 % 2) for i, (s, _) in enumerate(ROWS)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not a JSON object"),
        ("[1]", "line 3: not a JSON object with one key per column"),
        ('{"sequence": "A", "label": NaN}', "line 3: not a JSON object: NaN is not JSON"),
        ('{"sequence": "A", "label": "a", "label": "b"}', "line 3: .*a key is there twice"),
        ('{"sequence": "A", "label": {"a": 1}}', "line 3: label is .*neither text nor a number"),
        ('{"sequence": "A"}', r"1 row without a label \(first: line 3\)"),
        ('{"sequence": "A", "label": null}', r"1 row without a label \(first: line 3\)"),
        ('{"sequence": ["A"], "label": "y"}', "line 3 has .* as its sequence"),
        ("[" * 100_000, "line 3: not a JSON object"),
    ],
)
def test_faults_of_json_lines_are_one_line(tmp_path, line, message):
    good = [json.dumps({"sequence": s, "label": y}) for s, y in ROWS]
    (tmp_path / "t.jsonl").write_text("\n".join([*good[:2], line, *good[2:]]))
    with pytest.raises(InputError, match=message):
        table(tmp_path / "t.jsonl").splits(0)


def saved(folder: Path, **parts: range) -> Path:
    features = datasets.Features(
        {"sequence": datasets.Value("string"), "label": datasets.ClassLabel(names=["y", "n"])}
    )
    made = {
        name: datasets.Dataset.from_dict(
            {"sequence": [ROWS[i][0] for i in part], "label": [i % 2 for i in part]}, features
        )
        for name, part in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(folder)
    return folder


def test_a_saved_data_set_is_read_with_its_parts_and_the_names_of_its_classes(tmp_path):
    folder = saved(tmp_path / "set", train=range(20), validation=range(20, 30), test=range(30, 40))
    task = table(folder)
    splits = task.splits(0)
    assert (task.name, task.labels) == ("set", ("n", "y"))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [20, 10, 10]
    assert rows(task) == dict(ROWS)
    assert len(rows(table(folder / "train"))) == 20
    assert set(rows(table(folder / "train", test=str(folder / "test")))) == {
        s for i, (s, _) in enumerate(ROWS) if not 20 <= i < 30
    }
    published = TASKS.get("enhancer_cohn")
    with pytest.raises(InputError, match="has the label 'y', which the task does not declare"):
        published.splits(0, folder)
    with pytest.raises(InputError, match="holds the parts one, two, which are not train"):
        table(saved(tmp_path / "odd", one=range(9), two=range(9, 20)))
    with pytest.raises(InputError, match="is a folder, and not one that datasets' save_to_disk"):
        table(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\n\n"),
        TEXT.rstrip("\n"),
        '"sequence","label"\n' + "".join(f'"{s}","{y}"\n' for s, y in ROWS),
        TEXT.replace(",", " , ").replace("\n", " \n"),
        "label,more,sequence\n" + "".join(f'{y},"a, ""b""",{s}\n' for s, y in ROWS),
        TEXT.replace("sequence,label", "Sequence,LABEL"),
        ",sequence,label\n" + "".join(f"{i},{s},{y}\n" for i, (s, y) in enumerate(ROWS)),
        "sequence,label,\n" + "".join(f"{s},{y},\n" for s, y in ROWS),
        TEXT.lower(),
    ],
)
def test_everyday_tables_are_read(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, newline="")
    assert rows(table(tmp_path / "t.csv")) == dict(ROWS)


def test_what_was_read_in_another_way_than_written_is_said(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT.replace("sequence,label", "Sequence,LABEL"))
    assert notes(table(tmp_path / "t.csv")) == (
        "labels: 2 classes, names as written (n, y)\n"
        "t.csv: the column Sequence read as sequence\nt.csv: the column LABEL read as label"
    )
    body = "".join(f"{i},{s},{y}\n" for i, (s, y) in enumerate(ROWS))
    (tmp_path / "t.csv").write_text(",sequence,label\n" + body)
    assert "t.csv: column 1 without a name not read" in notes(table(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text(TEXT + "NA,y\n")
    assert "1 sequences NA or NAN of the table t.csv read as DNA (line 42)" in notes(
        table(tmp_path / "t.csv")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT + "ACGT,y,x\n", "line 42 has 3 cells and the header 2 columns"),
        (TEXT + "ACGT\n", r"1 row without a label \(first: line 42\); fill them in, or give task"),
        (TEXT + "ACGT,  \n,y\n,\n", r"1 row .* label \(first: line 42\) and 2 rows without a seq"),
        (TEXT + '"ACGT,y\n', "line 42: not a table with one row per line"),
        (TEXT + '"ACGT\nAC",y\n', "line 42: a quoted cell runs on to line 43"),
        (TEXT + 'ACGT, "y"\n', "line 42: the column label has a quotation mark inside"),
        (TEXT + "ACGX,y\n", "line 42, position 4: 'X' is not a nucleotide letter"),
        (TEXT + "A\u0410,y\n", "line 42, position 2: '\u0410' is not a nucleotide letter"),
        (TEXT.replace("sequence,label", "label,label"), "two columns are called label"),
        (TEXT.replace("sequence,label", "sequence, sequence"), "two columns are called sequence"),
        (TEXT.replace("sequence,label", "sequence,Label,LABEL"), "any of the columns Label, LABEL"),
        (TEXT.partition("\n")[2], "no column sequence .*the first line looks like a row"),
        (TEXT.replace("label", "class"), "no column label; the columns must include sequence,lab"),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("sequence,label\n", "no rows below the header"),
        ("sequence,label,;sequence;label\n", "can be told apart by comma and semicolon alike"),
        (TEXT + "AC\0GT,y\n", "it holds zero bytes"),
    ],
)
def test_faults_of_tables_are_one_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, newline="")
    with pytest.raises(InputError, match=message) as error:
        table(tmp_path / "t.csv").splits(0)
    assert "\n" not in str(error.value) and "t.csv" in str(error.value)


@pytest.mark.parametrize(
    ("header", "options", "hint"),
    [
        ("sequence,state", {}, "task.label="),
        ("dna,label", {}, "task.sequence="),
        ("dna,state", {}, "task.sequence= task.label="),
        ("sequence,label", {"group": "gene"}, "task.group="),
        ("sequence,state", {"labels": ["y", "n"]}, "task.label="),
    ],
)
def test_a_missing_column_is_answered_with_the_option_that_names_another(
    tmp_path, header, options, hint
):
    (tmp_path / "t.csv").write_text(TEXT.replace("sequence,label", header))
    with pytest.raises(InputError) as error:
        table(tmp_path / "t.csv", **options).splits(0)
    assert str(error.value).endswith(f"and are {header}; name yours with {hint}")


def test_text_in_another_encoding_and_unknown_files_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(TEXT.replace("y", "ü").encode("latin-1"))
    with pytest.raises(InputError, match="t.csv: cannot be read as a table of text.*as UTF-8"):
        table(tmp_path / "t.csv")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="it must be .csv, .tsv, .txt or .jsonl"):
        table(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="t.parquet: cannot be read as Parquet"):
        table(tmp_path / "t.parquet")


def test_a_sequence_may_be_longer_than_the_csv_module_expects(tmp_path):
    (tmp_path / "t.tsv").write_text("sequence\tlabel\n" + "ACGT" * 50_000 + "\ty\n")
    assert len(read_columns(tmp_path / "t.tsv", ["sequence"])["sequence"][0]) == 200_000
    assert column_names(tmp_path / "t.tsv") == ["sequence", "label"]


@pytest.mark.parametrize("form", ["{}{}{}", '"{},{},{}"', "{};{};{}", "{} {} {}", '"[{}, {}, {}]"'])
def test_several_labels_in_a_cell_are_read(tmp_path, form):
    bits = {s: (i % 2, i // 2 % 2, 1) for i, (s, _) in enumerate(ROWS)}
    lines = [f"{s},{form.format(*one)}" for s, one in bits.items()]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    task = table(tmp_path / "t.csv", kind="multi_label")
    assert task.labels == ("label_1", "label_2", "label_3") and rows(task) == bits
    task = table(tmp_path / "t.csv", kind="multi_label", labels=["x", "y", "z"])
    assert task.labels == ("x", "y", "z") and rows(task) == bits
    with pytest.raises(InputError, match="line 2 has the label .* which is 3 labels; the task has"):
        table(tmp_path / "t.csv", kind="multi_label", labels=["x", "y"]).splits(0)


def test_each_label_may_have_its_column(tmp_path):
    bits = {s: (i % 2, i // 2 % 2, 1) for i, (s, _) in enumerate(ROWS)}
    lines = [f"{s},{','.join(map(str, one))}" for s, one in bits.items()]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,p,q,r", *lines]) + "\n")
    task = table(tmp_path / "t.csv", kind="multi_label")
    assert task.labels == ("p", "q", "r") and rows(task) == bits
    task = table(tmp_path / "t.csv", kind="multi_label", labels=["r", "p"])
    assert rows(task) == {s: (one[2], one[0]) for s, one in bits.items()}
    (tmp_path / "t.csv").write_text("\n".join(["sequence,p,q,r", "AAA,0,,1", *lines]) + "\n")
    with pytest.raises(InputError, match=r"1 row without a label \(first: line 2\)"):
        table(tmp_path / "t.csv", kind="multi_label").splits(0)
    (tmp_path / "t.csv").write_text("\n".join(["sequence,p,q,id", "AAA,0,1,7", *lines]) + "\n")
    with pytest.raises(InputError, match="line 2 has '7' in the column id; .*task.labels="):
        table(tmp_path / "t.csv", kind="multi_label").splits(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "skip"}, "task.missing=skip: must be one of error, drop"),
        ({"labels": ["y"]}, "task.labels=.y.: give two classes"),
        ({"labels": ["y", "x"]}, "line 3 has the label 'n', which the task does not declare"),
        ({"labels": ["y", "n", "x"]}, "class 'x' has no rows in train"),
        ({"labels": ["y"], "kind": "regression"}, "task.kind=regression has no classes"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, options, message):
    (tmp_path / "t.csv").write_text(TEXT)
    with pytest.raises(InputError, match=message):
        table(tmp_path / "t.csv", **options).splits(0)


def test_declared_labels_are_classes_in_their_order(tmp_path):
    (tmp_path / "train.csv").write_text(TEXT)
    codes = TEXT.replace(",y\n", ",0\n").replace(",n\n", ",1\n").replace("\nACGT", "\nTCGT")
    (tmp_path / "test.csv").write_text(codes)
    files = dict(train=tmp_path / "train.csv", test=str(tmp_path / "test.csv"))
    with pytest.raises(InputError, match="test.csv: line 2 has the label '0', a number, where"):
        table(**files).splits(0)
    task = table(**files, labels=["y", "n"])
    assert task.labels == ("y", "n")
    assert {e.sequence: task.labels[e.label] for e in task.splits(0).test} == {
        "T" + s[1:]: y for s, y in ROWS
    }
    assert notes(task) == (
        "labels: train: 2 classes, names as written (y, n); "
        "test: numbers are positions in the task's labels (0 = y, 1 = n)"
    )


# The shared cases, as their list says.


def case(cases: Path, name: str, **options) -> Task:
    return table(cases / "tables" / name, **options)


def plain(path: Path) -> list[list[str]]:
    """The cells of a file without quotes."""
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize("name", ["missing_label.csv", "row_without_label.csv"])
def test_case_of_missing_labels(cases, name):
    lines = plain(cases / "tables" / name)
    missing = [i + 2 for i, cells in enumerate(lines) if len(cells) < 2 or not cells[1]]
    message = (
        rf"{len(missing)} rows without a label \(first: line {missing[0]}\).*task.missing=drop"
    )
    with pytest.raises(InputError, match=message):
        case(cases, name).splits(0)
    task = case(cases, name, missing="drop")
    assert task.labels == ("act", "inact")
    assert rows(task) == {cells[0]: cells[1] for cells in lines if len(cells) == 2 and cells[1]}
    said = f"{len(missing)} rows without a label (first: line {missing[0]}) dropped from the table"
    assert said in notes(task)


def test_case_of_spaces(cases):
    task = case(cases, "spaces_around_labels.csv")
    assert task.labels == ("ctrl", "enh")
    lines = plain(cases / "tables" / "spaces_around_labels.csv")
    assert rows(task) == {s: y.strip() for s, y in lines}


def test_case_of_leading_zeros(cases):
    with pytest.raises(InputError, match="line 2 has the label '01' and line 3 '1', one number"):
        case(cases, "leading_zeros.csv")


def test_case_of_floats(cases):
    test = cases / "tables" / "float_labels.test.csv"
    task = case(cases, "float_labels.train.csv", test=str(test))
    assert task.labels == tuple(f"{i}.0" for i in range(12))
    found = {e.sequence: float(task.labels[e.label]) for e in task.splits(0).test}
    assert found == {s: float(y) for s, y in plain(test)}


def test_case_of_codes_beside_names(cases):
    test = cases / "tables" / "coded_labels.test.csv"
    with pytest.raises(InputError, match="line 2 has the label '0', a number, .*task.labels="):
        case(cases, "named_labels.train.csv", test=str(test)).splits(0)
    names = ["stem", "leaf", "root"]
    task = case(cases, "named_labels.train.csv", test=str(test), labels=names)
    found = {e.sequence: task.labels[e.label] for e in task.splits(0).test}
    assert found == {s: names[int(y)] for s, y in plain(test)}
    assert "positions in the task's labels (0 = stem, 1 = leaf, 2 = root)" in notes(task)


def test_case_of_a_third_cell(cases):
    with pytest.raises(InputError, match="line 2 has 3 cells and the header 2 columns"):
        case(cases, "first_row_has_a_third_cell.csv")


def test_case_of_several_labels(cases):
    task = case(cases, "several_labels_with_commas.csv", kind="multi_label")
    lines = plain(cases / "tables" / "several_labels_with_commas.csv")
    assert rows(task) == {
        cells[0]: tuple(int(text.strip('"')) for text in cells[1:]) for cells in lines
    }
