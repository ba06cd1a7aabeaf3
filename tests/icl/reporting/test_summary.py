"""The table that a run prints."""

from dataclasses import replace

import pytest
from rich.console import Console

from icl.reporting.report import find_reports, read_report
from icl.reporting.summary import summary_table, undefined_lines
from tasks.metrics.bootstrap import Estimate


@pytest.mark.parametrize("width", [80, 120])
def test_no_name_and_no_number_is_cut_where_a_terminal_is_narrow(
    call, tiny, tmp_path, capsys, width
):
    call("task=tiny_rows", "method=gc_only")
    (path,) = find_reports(tmp_path)
    report = read_report(path)
    setup = replace(report.setup, method="instruction_tuning", k=16)
    report = replace(report, setup=setup)
    console = Console(width=width)
    console.print(summary_table([report], []))
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [cell.strip() for cell in rows[0][:3]] == ["instruction_tuning", "16", "0"]
    accuracy = report.outcome.metrics["accuracy"]
    shown = " ".join(row[3].strip() for row in rows).split()
    assert shown == f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]".split()


def test_a_controlled_run_is_named_so_that_its_comma_is_not_one_of_a_list(call, tiny, tmp_path):
    call("task=tiny_rows", "method=gc_only")
    (path,) = find_reports(tmp_path)
    plain = read_report(path)
    figure = Estimate(0.5, float("nan"), float("nan"), reason="too few rows")
    plain = replace(plain, outcome=replace(plain.outcome, gc_matched_accuracy=figure))
    controlled = replace(plain, setup=replace(plain.setup, control="words_swapped"))
    lines = undefined_lines([plain, controlled])
    assert "GC-matched accuracy of gc_only, gc_only (words_swapped): too few rows" in lines
