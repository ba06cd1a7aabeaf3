"""Fixtures shared by all tests: where the real data lie, if they are there."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ICL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


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
