"""A step in steady state asks the system for no memory.

Page faults are counted in a process of its own, in which nothing else has grown the heap. Now and
then a step still does ask for some, more rarely the longer a process runs: small blocks that the C
library keeps for the next one of their size split large free ones, so that a block of a later step
fits nowhere but at the end of the heap. Where they lie differs between processes.
"""

import gc
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from backbone.common.memory import keep_objects

ROOT = Path(__file__).resolve().parents[3]
MOST = 50
"""Page faults of three out of four steps in steady state."""

MOST_IN_THE_MEAN = 500
"""Page faults of a step in the mean, with those of the steps for which the heap grows. Where freed
memory goes back to the system every step has thousands."""

COUNT = """
import json, sys
import torch
from backbone.common.memory import keep_freed_memory, minor_faults
from experiments.speed.channel import ChannelPaths
from experiments.speed.paths import Paths, Shape
from experiments.speed.pretrain import Step

keep_freed_memory()
torch.set_num_threads(1)


def steady(work):
    "The third quartile and the mean of the faults of a step, after four steps."
    found = sorted([minor_faults(work) for _ in range(24)][4:])
    return found[14], sum(found) / len(found)


counts = {}
for tokens in (16, 512, 4096):
    paths = Paths(Shape(128, 2, tokens, 4, 256), "cpu")
    counts[f"train behind {tokens}"] = steady(lambda: paths.train("engine"))
    counts[f"score behind {tokens}"] = steady(lambda: paths.evaluate("engine"))
paths = ChannelPaths(Shape(128, 2, 64, 4, 256), 2, "cpu")
with torch.no_grad():
    states = paths.encode_contexts()
counts["train a channel"] = steady(lambda: paths.train_channel("engine"))
counts["score a channel"] = steady(lambda: paths.evaluate_channel("engine", states))
counts["pretrain"] = steady(Step("ours", (128, 2, 1024), "cpu", "float32"))
print(json.dumps(counts))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has no mallopt")
def test_steps_in_steady_state_ask_the_system_for_nothing():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=environment
    )
    counts = json.loads(done.stdout)
    assert len(counts) == 9
    assert {name: count for name, (count, _) in counts.items() if count >= MOST} == {}
    assert {name: mean for name, (_, mean) in counts.items() if mean >= MOST_IN_THE_MEAN} == {}


def test_what_is_loaded_is_left_out_of_later_searches_for_cycles():
    before = gc.get_freeze_count()
    try:
        keep_objects.__wrapped__()
        assert gc.get_freeze_count() > before and gc.isenabled()
    finally:
        gc.unfreeze()
