"""Real runs, killed half-way: the sweep that follows ends as if nothing had happened."""

import os
import random
import signal
import time

import pytest

from icl.run import run
from tests.experiments.sweep.sweeping import begun, done, until

LONG = "ICL_LONG_TESTS"
WORDS = (
    *("recipe=soft_prompt_curve", "task=synthetic_easy", "space.prompt_tokens=[0,4,16]"),
    *("seeds=2", "n_train=100", "method.epochs=6", "evaluate=val", "study=s"),
)


def children(pid):
    return [int(one) for one in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def epochs(out):
    """How much has been learned: reports, and states of runs that have not ended."""
    return len([*out.glob("*/*/*/report.json"), *out.glob("*/*/*/*/tuning.safetensors")])


@pytest.mark.skipif(LONG not in os.environ, reason=f"kills real runs for minutes: {LONG}=1")
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="reads /proc")
def test_real_runs_killed_half_way_end_with_the_undisturbed_table(tmp_path):
    generator = random.Random(3)
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    for out in (killed, calm):
        out.mkdir()
    url = f"sqlite:///{killed / 'studies.sqlite'}"
    for victim in ("worker", "parent", "both"):
        before = epochs(killed)
        parent = begun((*WORDS, f"out={killed}"), run, url)
        until(lambda before=before: epochs(killed) > before, seconds=600)
        time.sleep(generator.uniform(0, 3))
        workers = children(parent.pid)
        if victim != "parent":
            for pid in workers if victim == "both" else [generator.choice(workers)]:
                os.kill(pid, signal.SIGKILL)
        if victim == "worker":
            time.sleep(generator.uniform(0, 3))
        parent.kill()
        parent.wait()
    (table,) = done((*WORDS, f"out={killed}"), run, url)
    assert len([*killed.glob("*/*/*/report.json")]) == 6
    assert not [*killed.glob("*/*/*/*/tuning.safetensors")]
    (undisturbed,) = done((*WORDS, f"out={calm}"), run, f"sqlite:///{calm / 'studies.sqlite'}")
    assert table.read_bytes() == undisturbed.read_bytes()
