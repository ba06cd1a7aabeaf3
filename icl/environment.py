"""The machine: threads and determinism of a run, and what its report records."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from threadpoolctl import threadpool_limits
from wrapt import register_post_import_hook

from backbone.common.memory import keep_freed_memory
from backbone.devices import check_device

LIBRARIES = (
    "genomic-icl",
    "torch",
    "transformers",
    "numpy",
    "scikit-learn",
    "scipy",
    "pandas",
    "datasets",
    "hydra-core",
)


_threads: int | None = None
"""Threads that share pieces of work in this process, once a run has fixed them."""


def prepare_arithmetic(threads: int, device: str) -> None:
    """Fix the number of threads, and choose deterministic algorithms.

    On a CPU an operation of PyTorch or BLAS has one thread, and threads share pieces of work, so
    that no result depends on their number; see `backbone.side_by_side`. Memory that is freed stays
    with the process from then on, see `backbone.common.memory`.

    What is not loaded yet is prepared as soon as it is, so that a run without torch loads none.

    Raises:
        InputError: If the machine has no such device.
    """
    global _threads
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with it
    check_device(device)
    keep_freed_memory()
    _threads = threads if device == "cpu" else 1
    _prepare_loaded()


def _prepare_loaded(_: ModuleType | None = None) -> None:
    """Limit the threads of all libraries that are loaded now."""
    if _threads is None:
        return
    threadpool_limits(limits=1)
    if torch := sys.modules.get("torch"):
        from backbone.side_by_side import use_threads

        use_threads(_threads)
        torch.use_deterministic_algorithms(True)
        # Every new tensor would be filled first; nothing reads one before it is written.
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.backends.cudnn.allow_tf32 = False  # float32 means it, on a GPU too


# Each of these brings a pool of threads of its own: SciPy's BLAS is not NumPy's.
for _library in ("torch", "scipy.linalg", "sklearn.linear_model"):
    register_post_import_hook(_prepare_loaded, _library)


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of the process, or on CUDA that of all tensors, in bytes."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def git_commit() -> str | None:
    """Return the commit of this checkout, with -dirty if it was changed; None outside of one.

    It is asked once in a process, whose code stays that of its start.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed libraries."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
