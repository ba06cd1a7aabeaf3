"""Fixtures shared by all tests: where the real data lie, if they are there."""

import os
from pathlib import Path

import pytest

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
