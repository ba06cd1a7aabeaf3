"""Fixtures shared by all tests: where the real data lie, if they are there; and which are slow.

A test is marked `slow` if its function stands in tests/slow.txt, or its file does not, which
`pytest --write-slow [PATHS]` writes: every test function whose calls take more than LIMIT seconds
of CPU together, with those of its children, and every file that was measured. So a file is slow
until it is measured. `make test-fast` leaves out what is slow.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")
settings.register_profile("few", deadline=None, max_examples=5)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait take no CPU
LIMIT = 0.2
SLOW = Path(__file__).with_name("slow.txt")
SPENT = pytest.StashKey[dict[str, float]]()
SHARED = Path(os.environ.get("ICL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session", autouse=True)
def empty_cache(tmp_path_factory):
    """What an earlier version of the code found is not taken from the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.audit.kinship.cache_folder", lambda kind: folder)
        patch.setattr("backbone.digests.cache_folder", lambda kind: folder)
        yield


@pytest.fixture(autouse=True)
def drawn_alike():
    """A test that draws tensors without a generator draws the same ones in every run."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def one_thread():
    """A test starts with one thread, whatever the commands of earlier tests have set."""
    from backbone.side_by_side import use_threads

    use_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real DNA beside the checkout."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real data (shared/data beside the checkout) are not here")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference checkpoints and outputs beside the checkout."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("the reference outputs (shared/golden beside the checkout) are not here")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small everyday files, beside the checkout."""
    folder = SHARED / "cases"
    if not folder.is_dir():
        pytest.skip("the everyday files (shared/cases beside the checkout) are not here")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-slow", action="store_true", help="measure and write tests/slow.txt for these tests"
    )
    parser.addoption(
        "--device",
        default="cpu",
        choices=("cpu", "cuda", "mps", "pretend"),
        help="device of models and tensors; pretend is the CPU, which mixes with it like a GPU",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SPENT] = defaultdict(float)
    if (device := config.getoption("--device")) != "cpu":
        choose_device(device)


def choose_device(device: str) -> None:
    """Let the tests compute on another device than the CPU."""
    import torch

    from backbone.devices import DEVICES
    from tests import devices

    devices.choose(device)
    settings.load_profile("few")  # small operations take longer to start than to compute
    if not torch.get_device_module(device).is_available():
        raise pytest.UsageError(f"--device {device}: not on this machine")
    if device not in DEVICES:
        DEVICES.append(device)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known, device = read_slow(), config.getoption("--device")
    skip = pytest.mark.skip(reason="only about the CPU")
    for item in items:
        if function_of(item) in known or file_of(function_of(item)) not in known:
            item.add_marker(pytest.mark.slow)
        if device != "cpu" and item.get_closest_marker("cpu"):
            item.add_marker(skip)


def file_of(function: str) -> str:
    """The file of a test function."""
    return function.partition("::")[0]


def read_slow() -> dict[str, str]:
    """Slow functions with their seconds of CPU, and measured files with a dash."""
    lines = SLOW.read_text().splitlines() if SLOW.is_file() else []
    return {name: seconds for seconds, name in map(str.split, lines)}


def function_of(item: pytest.Item) -> str:
    """The test function of an item, without its parameters."""
    return item.nodeid.partition("[")[0]


def cpu_seconds() -> float:
    """Seconds of CPU of this process, and of its children that ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = cpu_seconds()
    try:
        return (yield)
    finally:
        item.config.stash[SPENT][function_of(item)] += cpu_seconds() - before


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the slow functions and the files that ran; what did not run stays as it is."""
    if not session.config.getoption("--write-slow"):
        return
    spent = session.config.stash[SPENT]
    found = {name: seconds for name, seconds in read_slow().items() if name not in spent}
    found |= dict.fromkeys(map(file_of, spent), "-")
    found |= {name: f"{seconds:.1f}" for name, seconds in spent.items() if seconds > LIMIT}
    SLOW.write_text("".join(f"{seconds:>6} {name}\n" for name, seconds in sorted(found.items())))
