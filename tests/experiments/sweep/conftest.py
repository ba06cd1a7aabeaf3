"""No process outlives the test that started it."""

import pytest

from tests.experiments.sweep.sweeping import Forked


@pytest.fixture(autouse=True)
def no_process_is_left():
    """Kill the processes that a failed test leaves behind."""
    yield
    for process in Forked.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    Forked.started.clear()
