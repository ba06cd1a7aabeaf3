"""Any table ends in rows that a plain reading finds too, or in one InputError.

Tables are built from fragments of what people have: delimiters, line ends, quotes, blanks, cells
that are missing or too many, numbers in several spellings, codes beside names. ICL_FUZZ sets the
number of examples, 200 without it.
"""

import bz2
import csv
import gzip
import io
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from tasks.own.table import TableConfig
from tasks.registry import build_task

EXAMPLES = int(os.environ.get("ICL_FUZZ", "200"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

NAMES = ["enh", "ctrl", "Enh", "stem", "x y", "é", "1_0", "\u0661", "inf"]
NUMBERS = ["0", "1", "2", "10", "0.0", "1.0", "2.0", "01", "02", "-1", "+1", "1e0", ".5", "1."]
BITS = ["010", "0,1,0", "0;1;1", "1 1 0", "[0, 0, 1]", "1.0,0.0,0", "01", "0101", "0,1;0", "012"]
POOLS = {
    "classes": [["enh", "ctrl"], ["stem", "enh", "ctrl"], ["0", "1"], ["0.0", "1.0"], ["2", "10"],
                ["01", "02"], NAMES, NUMBERS],
    "multi_label": [["010", "110"], ["0,1,0", "1,1,1"], ["0;1;1", "1;0;0"], ["1 1 0", "010"], BITS],
    "regression": [["0.5", "-1", "2e-3", "10"], NUMBERS],
}  # fmt: skip
ODD = ["", " ", "\t", '"', 'a"b', "a,b", "a;b", "a\nb", "\u00a0", "\ufeffa", "\u2028", "\0", "#"]
ODD_SEQUENCES = ["", " ", "ACGX", "NA", "nan", "AC GT", "ac-gt", "ß", "А", "1", "ACGT\nA", '"ACGT"']
HEADERS = ["sequence", "label"]


@st.composite
def tables(draw, kind: str) -> str:
    """The text of one table, mostly of one that can be read."""
    pool = draw(st.sampled_from(POOLS[kind]))
    if len(pool) > 4:
        pool = draw(st.lists(st.sampled_from(pool), min_size=2, max_size=3, unique=True))
    labels = [
        *pool,
        *draw(st.sampled_from([[], [], [], [], ["NA"], [""], *([odd] for odd in ODD)])),
    ]
    delimiter = draw(st.sampled_from([",", "\t", ";", ",", "|", " "]))
    end = draw(st.sampled_from(["\n", "\r\n", "\n", "\r"]))
    header = list(draw(st.permutations(draw(st.sampled_from(
        [HEADERS] * 12 + [[*HEADERS, "id"], ["", *HEADERS], [*HEADERS, ""],
         ["Sequence", "LABEL"], ["sequence ", " label"], [*HEADERS, "label"], ["sequence"],
         [*HEADERS, "Label"], ["seq", "y"], ["sequence;label", "label"]]
    )))))  # fmt: skip
    count = draw(st.sampled_from([40, 40, 30, 24, 3, 0]))
    rows = []
    for number in range(count):
        sequence = "ACGT" + "".join("ACGT"[number >> 2 * bit & 3] for bit in range(4))
        # Labels take turns, so that every class is in every split.
        cells = {"sequence": sequence, "label": labels[number % len(labels)]}
        rows.append([cells.get(name.strip().lower(), str(number)) for name in header])
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])) if rows else 0):
        row = draw(st.sampled_from(rows))
        column = draw(st.integers(0, max(len(row) - 1, 0)))
        fault = draw(st.sampled_from(["cell", "sequence", "short", "long", "blanks", "duplicate"]))
        if fault == "cell" and row:
            row[column] = draw(st.sampled_from([*ODD, *NAMES, *NUMBERS]))
        elif fault == "sequence" and row:
            row[column] = draw(st.sampled_from(ODD_SEQUENCES))
        elif fault == "short" and row:
            del row[-1]
        elif fault == "long":
            row.append(draw(st.sampled_from(["", "stray"])))
        elif fault == "blanks" and row:
            row[column] = f" {row[column]} "
        else:
            rows.append(list(row))
    if draw(st.sampled_from([True, True, True, False])):
        text = io.StringIO(newline="")
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
            [header, *rows]
        )
        whole = text.getvalue()
    else:  # as a careless program writes it
        whole = end.join(delimiter.join(row) for row in [header, *rows]) + end
    if draw(st.sampled_from([False] * 9 + [True])):
        at = draw(st.integers(0, len(whole)))
        whole = (
            whole[:at] + draw(st.sampled_from(["\n", '"', delimiter, "\ufeff", " "])) + whole[at:]
        )
    return draw(st.sampled_from(["", "", "\ufeff"])) + whole


def plain_rows(text: str, kind: str, drop: bool, labels: list[str]) -> list[list[tuple]]:
    """The rows of a table as the csv module gives them: one list for every possible delimiter."""
    readings = []
    for delimiter in ",\t;| ":
        try:
            lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""),
                                    delimiter=delimiter))  # fmt: skip
        except csv.Error:
            continue
        lines = [cells for cells in lines if cells]
        header = [name.strip().lower() for name in lines[0]] if lines else []
        if header.count("sequence") != 1 or "label" not in header:
            continue
        # Where case alone tells two columns apart, the name as asked for is the one.
        exact = [name.strip() for name in lines[0]]
        place = {n: exact.index(n) if n in exact else header.index(n) for n in HEADERS}
        rows = []
        for cells in lines[1:]:
            sequence, label = (
                cells[place[n]].strip() if place[n] < len(cells) else "" for n in HEADERS
            )
            if drop and (not sequence or not label):
                continue
            rows.append((plain_sequence(sequence), label))
        with suppress(ValueError):  # text where numbers are wanted: not the right delimiter
            readings.append([(bases, plain_label(text, kind, labels)) for bases, text in rows])
    return readings


def plain_sequence(text: str) -> str:
    return "".join("N" if letter in "RYSWKMBDHV" else letter for letter in text.upper()).replace(
        "U", "T"
    )


def plain_label(text: str, kind: str, labels: list[str]):
    """What a person reads: bits, a number, or the name."""
    if kind == "multi_label":
        return tuple(int(letter) for letter in text.replace(".0", "") if letter in "01")
    if kind == "regression":
        return float(text)
    if (
        labels
        and text not in labels
        and not any(name.lstrip("+-")[:1].isdigit() for name in labels)
    ):
        return labels[int(float(text))]
    return text


def found_rows(task) -> tuple[list[tuple], list[tuple]]:
    splits = task.splits(0)
    read = [
        [(e.sequence, task.labels[e.label] if task.kind == "classes" else e.label) for e in part]
        for part in ((*splits.train, *splits.val), splits.test)
    ]
    return read[0], read[1]


def same_value(one, two) -> bool:
    """Whether two labels are the same, numbers by value."""
    if one == two or not isinstance(one, str | float):
        return one == two
    return all(set(str(text)) <= set("0123456789.e+-") for text in (one, two)) and (
        float(one) == float(two)
    )


def agree(found: list[tuple], readings: list[list[tuple]]) -> bool:
    found = sorted(found, key=lambda row: repr(row[0]))
    return any(
        len(found) == len(rows)
        and all(
            a[0] == b[0] and same_value(a[1], b[1])
            for a, b in zip(found, sorted(rows, key=lambda row: repr(row[0])), strict=True)
        )
        for rows in readings
    )


SUFFIXES = {".csv": bytes, ".TSV": bytes, ".txt": bytes, ".csv.gz": gzip.compress,
            ".tsv.bz2": bz2.compress}  # fmt: skip


def ends_well(build, check) -> None:
    """A result that the check holds for, or one InputError of one line."""
    try:
        result = build()
    except InputError as error:
        event("one line")
        assert "\n" not in str(error) and len(str(error)) < 2000
    else:
        event("rows")
        check(result)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzz
@given(
    drawn=st.sampled_from(["classes", "classes", "multi_label", "regression"]).flatmap(
        lambda kind: st.tuples(st.just(kind), tables(kind))
    ),
    missing=st.sampled_from(["error", "drop"]),
    labels=st.sampled_from([[]] * 4 + [["enh", "ctrl"], ["stem", "enh"], ["0", "1"]]),
    suffix=st.sampled_from(sorted(SUFFIXES)),
)
def test_a_table_ends_in_its_rows_or_in_one_line(folder, drawn, missing, labels, suffix):
    kind, text = drawn
    file = folder / f"t{suffix}"
    file.write_bytes(SUFFIXES[suffix](text.encode()))
    options = TableConfig(
        "table", train=str(file), kind=kind, missing=missing,
        labels=labels if kind == "classes" else [],
    )  # fmt: skip

    def check(rows) -> None:
        readings = plain_rows(text, kind, missing == "drop", options.labels)
        assert agree([*rows[0], *rows[1]], readings), (rows, readings)

    ends_well(lambda: found_rows(build_task(options)), check)


@fuzz
@given(
    drawn=st.sampled_from(["classes", "classes", "regression"]).flatmap(
        lambda kind: st.tuples(st.just(kind), tables(kind), tables(kind))
    ),
    missing=st.sampled_from(["error", "drop"]),
    labels=st.sampled_from([[], [], ["enh", "ctrl"], ["ctrl", "enh", "stem"]]),
)
def test_two_tables_end_in_their_rows_or_in_one_line(folder, drawn, missing, labels):
    kind, train, test = drawn
    (folder / "a.csv").write_text(train, newline="")
    (folder / "b.tsv").write_text(test, newline="")
    options = TableConfig(
        "table", train=str(folder / "a.csv"), test=str(folder / "b.tsv"), kind=kind,
        missing=missing, labels=labels if kind == "classes" else [],
    )  # fmt: skip

    def check(rows) -> None:
        for part, text in zip(rows, (train, test), strict=True):
            readings = plain_rows(text, kind, missing == "drop", options.labels)
            assert agree(part, readings), (part, readings)

    ends_well(lambda: found_rows(build_task(options)), check)


FRAGMENTS = ["sequence", "label", "ACGT", "acgu", ",", "\t", ";", "\n", "\r\n", '"', " ", "0", "1",
             "enh", "\ufeff", "\0", "é", "'", "\\", "NA", "\u2028", "\x1c"]  # fmt: skip


@fuzz
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join))
def test_a_heap_of_fragments_ends_in_its_rows_or_in_one_line(folder, text):
    file = folder / "heap.csv"
    file.write_bytes(text.encode())
    for kind in ("classes", "multi_label", "regression"):
        options = TableConfig("table", train=str(file), kind=kind)

        def check(rows, kind=kind) -> None:
            readings = plain_rows(text, kind, False, [])
            assert agree([*rows[0], *rows[1]], readings), (rows, readings)

        ends_well(lambda chosen=options: found_rows(build_task(chosen)), check)
