"""A fuzz of command lines: each ends in a result or in one line with exit code 2."""

import os

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from icl import run
from icl.config.options import resolve

EXAMPLES = int(os.environ.get("ICL_FUZZ", "200"))

NAMES = """
    task method k prompt_tokens shots seed seeds split_seed split n_train truncate max_bases
    controls control other_task backbone evaluate device threads precision batch_size keep_gb
    plugins verbalizer.words method.kmer method.kmers method.lr method.epochs method.strands
    method.calibration method.name task.label task.name data out force strict audit kk methd
    +k ~k ++seed hydra.verbose"""
VALUES = """
    0 1 2 -1 1.5 1e3 nan inf 1_0 0x10 true null [] [a] [all] [A,N] [1,2] {a:1} {a:[b]} ${k} ${
    $(x) a,b 1,2 ' " \\ [ ] { } ( ) = == # : % * ~ ~nobody/x tiny_rows tiny_row majority gc_only
    kmer_logreg soft_prompt test val cpu tpu left official clean bf16 random: bundled
    range(1,3) choice(a,b) glob(*) \u00e9 \u540d"""
FLAGS = "--help --help=all -h --bogus --cfg --cfg=job -c x = seed k= =1 -"
WORDS = st.one_of(
    st.builds(
        "{}={}".format,
        st.sampled_from(NAMES.split()),
        st.sampled_from(VALUES.split()) | st.text(max_size=6),
    ),
    st.sampled_from(FLAGS.split()),
    st.text(max_size=8),
)
LINES = st.tuples(
    st.sampled_from([["task=tiny_rows"], ["task=tiny_rows"], [], ["task=tiny"]]),
    st.sampled_from([["method=gc_only"], ["method=majority"], ["method=kmer_logreg"], []]),
    st.lists(WORDS, max_size=3),
    st.sampled_from([["--cfg", "job"], []]),
).map(lambda parts: sum(parts, []))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(LINES)
@example(["task=tiny_rows", "method=gc_only", "k=\r", "--cfg", "job"])  # quoted in a message
def test_every_command_line_ends_in_a_result_or_in_one_line(
    tiny, tmp_path, capsys, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda config, load: [] if resolve(config) else None)
    monkeypatch.setattr(run, "print_summary", lambda out, reports, folders: None)
    try:
        code = run.main(words)
    except SystemExit as stop:  # Hydra's own flags, such as --version, end like this
        code = stop.code or 0
    err = capsys.readouterr().err
    assert code in (0, 2), (words, code, err)
    if code == 2:
        last = err.splitlines()[-1] if err else ""
        assert last.startswith("error: ") and "Traceback" not in err, (words, err)
