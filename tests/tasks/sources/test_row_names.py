"""Names of rows: an identifier, coordinates, or where the row stands."""

import pytest

from backbone.sequence.fasta import Genome
from tasks.sources.tables import read_intervals, read_table
from tasks.task import Example, Task

TASK = Task("x", ("a", "b"), source=None)


@pytest.mark.parametrize(
    ("header", "first", "second", "names"),
    [
        ("sequence,label", "ACGT,a", "CCGT,b", ["line 2", "line 3"]),
        ("id,sequence,label", "one,ACGT,a", ",CCGT,b", ["one", "line 3"]),
        ("name,sequence,label", "one,ACGT,a", "two,CCGT,b", ["one", "two"]),
        (
            "region,start,end,strand,sequence,label",
            "chr1,3,7,-,ACGT,a",
            "chr2,0,4,+,CCGT,b",
            ["chr1:3-7(-)", "chr2:0-4(+)"],
        ),
        # A column that cannot be read, and that nobody asked for, is no hindrance.
        ("id,sequence,label", 'o"n"e,ACGT,a', "two,CCGT,b", ["line 2", "line 3"]),
        ("id,sequence,name", "one,ACGT,a", "two,CCGT,b", ["one", "two"]),
    ],
)
def test_rows_of_a_table(tmp_path, header, first, second, names):
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\n{first}\n{second}\n")
    label = "label" if "label" in header else "name"
    rows = read_table(path, TASK, "x", label=label).examples
    assert [row.name for row in rows] == names
    assert [(row.sequence, row.label) for row in rows] == [("ACGT", 0), ("CCGT", 1)]


def test_rows_that_are_cut_out_of_a_genome(tmp_path):
    (tmp_path / "x.fa").write_text(">chr1\nACGTACGTAC\n")
    (tmp_path / "x.csv").write_text("region,start,end,strand,label\nchr1,1,4,-,a\nchr1,2,6,+,b\n")
    rows = read_intervals(tmp_path / "x.csv", tmp_path / "x.fa", TASK, "x").examples
    assert [row.name for row in rows] == ["chr1:1-4(-)", "chr1:2-6(+)"]
    genome = Genome([tmp_path / "x.fa"])
    assert genome.sequence("chr1", 1, 4, "-") == rows[0].sequence


def test_the_name_of_a_row_is_no_part_of_it():
    assert Example("ACGT", 0, "one") == Example("ACGT", 0, "two")
