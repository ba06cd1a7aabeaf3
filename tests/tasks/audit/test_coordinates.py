import gzip

import numpy as np
import pytest

from tasks.audit.coordinates import Place, overlapping, places_of, published, texts_of
from tasks.task import Example
from tests.tasks.rows import Given, task_of


def write(folder, text, name="t.tsv.gz"):
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()))
    return task_of(source=Given(files=[file]))


def test_intervals_are_read_from_columns(tmp_path):
    task = write(
        tmp_path, "sequence\tlabel\tregion\tstart\tend\nacgu\t0\tchrX\t5\t9\nAAA\t1\t7\t1\t4\n"
    )
    rows = published(task, None)
    assert places_of(rows) == {"ACGT": Place("X", 5, 9), "AAA": Place("7", 1, 4)}
    assert texts_of(rows) == {"ACGT": "acgu", "AAA": "AAA"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("chr3:32091651-32092651|1", Place("3", 32091651, 32092651)),
        ("CHR13_99137199_99137399", Place("13", 99137199, 99137399)),
        ("X:1-5", Place("X", 1, 5)),
        ("row 12", None),
        ("sample_2019_03", None),
        ("chr1:9-4", None),
    ],
)
def test_intervals_are_read_from_names(tmp_path, text, place):
    task = write(tmp_path, f"sequence\tname\nACGT\t{text}\n")
    assert [row.place for row in published(task, None)] == [place]


def test_a_source_without_tables_has_no_places():
    assert published(task_of(), None) == []


def test_shares_of_overlap_by_hand():
    at = {
        "A": Place("1", 100, 200),
        "C": Place("1", 150, 250),
        "G": Place("2", 100, 200),
        "T": Place("1", 0, 10),
        "AA": Place("1", 120, 130),
        "CC": Place("1", 240, 260),
    }
    rows = [Example(s, 0) for s in ("A", "G", "T", "AA", "CC", "unknown")]
    shares = overlapping(rows, [Example("C", 0), Example("A", 1), Example("unknown", 0)], at)
    np.testing.assert_equal(shares, [1.0, 0.0, 0.0, 1.0, 0.5, np.nan])
    np.testing.assert_equal(overlapping(rows[:2], [Example("C", 0)], at), [0.5, 0.0])
