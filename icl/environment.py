"""What a run asks of its machine, and what the report says about it."""

import os
import platform
import resource
import subprocess
import sys
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
        InputError: If the device is not there.
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
    """Most memory the process has held, or on CUDA most that tensors have held."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def git_commit() -> str | None:
    """Commit of the checkout this code runs from, with -dirty if it was changed; else None."""
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


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
