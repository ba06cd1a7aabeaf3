"""Small files as people have them, run from the command line."""


def test_forty_rows_of_one_pattern_get_the_interval_they_deserve(call, cases, tmp_path):
    table = cases / "tables" / "forty_rows_one_pattern.csv"
    task = ("task=table", f"task.train={table}", "evaluate=val")
    assert call(*task, "method=majority", "out=runs")[0] == 0
    code, out, err = call(*task, "method=kmer_logreg", "method.kmers=[2]", "out=runs")
    assert code == 0, err
    lines = out.splitlines()
    assert any("kmer_logreg" in line and "1.000 [0.912, 1.000]" in line for line in lines)
    assert any("majority" in line and " - " in line for line in lines)
    assert "nan" not in out and "0.000, 0.000" not in out and "1.000, 1.000" not in out
    assert "mcc of majority: not defined, all predictions are of one class" in lines
    matched = next(line for line in lines if line.startswith("GC-matched accuracy of"))
    assert "no bin of GC content holds rows of every class" in matched
