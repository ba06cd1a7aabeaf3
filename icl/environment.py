"""The machine: threads and determinism of a run, and what its report records."""

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from backbone.common.errors import InputError

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


def prepare_arithmetic(threads: int, device: str) -> None:
    """Fix the number of threads of PyTorch and BLAS, and choose deterministic algorithms.

    Raises:
        InputError: If the machine has no such device.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with it
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise InputError(f"device={device}: not on this machine, which has {there}")
    torch.set_num_threads(threads)
    # Limits reach only libraries that are loaded: scikit-learn brings NumPy's and SciPy's BLAS.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(limits=threads)
    torch.use_deterministic_algorithms(True)


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
