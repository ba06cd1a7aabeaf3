"""What a run shows while it encodes and scores."""

import io

from rich.console import Console

from icl.progress import shown
from tests.icl.methods.test_soft_prompt import build, model, rows  # noqa: F401


def lines_of(work):
    console = Console(file=io.StringIO(), width=100)
    with shown("title", console) as show:
        work(show)
    return console.file.getvalue().splitlines()


def test_plain_lines_tell_each_tenth_of_many_rows():
    def work(show):
        for done in range(64, 20_000, 64):
            show.rows("scoring", done, 20_000)
        show.rows("scoring", 20_000, 20_000)

    title, *lines = lines_of(work)
    assert title == "title" and len(lines) == 10
    assert lines[0] == "scoring 2,048 of 20,000 rows"
    assert lines[-1] == "scoring 20,000 of 20,000 rows"


def test_plain_lines_leave_out_few_rows():
    assert lines_of(lambda show: show.rows("scoring", 500, 500)) == ["title"]


def test_a_prompt_tells_how_many_rows_are_encoded_and_scored(model):  # noqa: F811
    seen, made = [], build(model, batch_size=4)
    object.__setattr__(made.context, "rows_done", lambda *row: seen.append(row))
    made.scores(rows(6, seed=11))
    of_work = {work: [row for row in seen if row[0] == work] for work in ("encoding", "scoring")}
    for work, told in of_work.items():
        assert len(told) > 1 and told[-1] == (work, 12, 12)
        counts = [row[1] for row in told]
        assert counts == sorted(set(counts))
