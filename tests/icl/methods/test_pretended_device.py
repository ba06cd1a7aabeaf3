"""Every method computes on one device alone; see `tests.devices`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WHAT = "finite_log_probability or relaxed_scores or edited_sequences"


def test_every_method_computes_on_a_device_that_does_not_mix_with_the_cpu():
    """In a process of its own: the pretended device changes how torch moves modules."""
    words = ["-q", "-p", "no:cacheprovider", "--device", "pretend", "-k", WHAT]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "tests/icl/methods/test_every_method.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
